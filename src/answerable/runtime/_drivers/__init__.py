"""Engines that are systems of their own.

Empty on purpose: each imports its own client, which only those who chose that engine have installed.
"""
