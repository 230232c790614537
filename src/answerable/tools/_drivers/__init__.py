"""Whoever reaches a tool outside this process."""

from answerable.tools._drivers._mcp import McpServer
from answerable.tools._drivers._transports import Http, Stdio

__all__ = ["Http", "McpServer", "Stdio"]
