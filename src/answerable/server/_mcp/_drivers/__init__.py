"""Whoever speaks the protocol."""

from answerable.server._mcp._drivers._wire import McpWire

__all__ = ["McpWire"]
