"""Whoever reaches a tool outside this process."""

from answerable.tools._drivers._http import Http
from answerable.tools._drivers._mcp import McpServer
from answerable.tools._drivers._stdio import Stdio

__all__ = ["Http", "McpServer", "Stdio"]
