"""Whoever sends requests."""

from answerable.http._drivers._client import HttpAnswer, HttpClient

__all__ = ["HttpAnswer", "HttpClient"]
