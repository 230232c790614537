"""FastMCP's own proxy, as its documentation has it, without state, so that each side gets the revision it asks for."""

import uvicorn
from fastmcp.server import create_proxy

from benchmarks._gateway.party import serve_here


async def serve(upstream: str) -> None:
    """Serve until ended."""
    proxy = create_proxy(upstream + "/mcp", name="shop")
    app = proxy.http_app(path="/mcp", stateless_http=True, json_response=True)
    await serve_here(uvicorn.Config(app, log_config=None, access_log=False))
