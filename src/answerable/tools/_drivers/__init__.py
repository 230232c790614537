"""Whoever reaches a tool outside this process."""

from answerable.tools._drivers._mcp_stdio import McpStdio

__all__ = ["McpStdio"]
