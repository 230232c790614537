"""Serves a gate over HTTP until a signal, and then lets what is under way end."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from answerable.server._listen import listen_until_signal

if TYPE_CHECKING:
    from answerable.app import Gate

__all__ = ["serve_gate"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_BY_LOOPBACK = ("127.0.0.1:*", "localhost:*", "[::1]:*")


async def serve_gate(gate: "Gate", *, host: str, port: int, on_listening: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, or until cancelled.

    Args:
        port: 0 for any free one.
        on_listening: called with the address once connections are taken.
    """
    # Here, because every command imports this package and only one needs a web server.
    from answerable.server._http import http_app
    from answerable.server._log import log_routes, publishing_logs
    from answerable.server._mcp import mcp_routes

    # A page in a browser on this machine must not reach the gate by a name of its own.
    hosts = _BY_LOOPBACK if host in _LOOPBACK else ()
    data = gate.reader.directory
    async with mcp_routes(gate, hosts=hosts) as mounted, publishing_logs(data):
        app = http_app(gate, mounted=[*mounted, *log_routes(data)])
        await listen_until_signal(app, host=host, port=port, on_listening=on_listening)
