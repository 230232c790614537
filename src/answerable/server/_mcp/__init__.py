"""`/mcp`: the gate's tools for any client that speaks MCP, every call on the road."""

from answerable.server._mcp._endpoint import mcp_routes

__all__ = ["mcp_routes"]
