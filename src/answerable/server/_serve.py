"""Serves a gate over HTTP until a signal, and then lets what is under way end, for a while."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from answerable.server._listen import listen_until_signal

if TYPE_CHECKING:
    from answerable.app import Gate
    from answerable.server._drivers._unix import PeerSocket

__all__ = ["serve_gate"]

_CUT_S = 1  # for what is still under way after the drain
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_BY_LOOPBACK = ("127.0.0.1:*", "localhost:*", "[::1]:*")


async def serve_gate(
    gate: "Gate",
    *,
    host: str = "",
    port: int = 0,
    at: "PeerSocket | None" = None,
    on_listening: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM, or until cancelled.

    After a signal nothing new is begun and `/readyz` says so; calls and streams under way may end, as long
    as `gate.times.drain` lets them. A second signal cuts them.

    Args:
        port: 0 for any free one.
        at: instead of host and port: a socket for agents of other users (`separate_socket`).
        on_listening: called with the address once connections are taken.
    """
    # Here, because every command imports this package and only one needs a web server.
    from answerable.server._draining import Draining
    from answerable.server._http import http_app
    from answerable.server._log import log_routes, publishing_logs
    from answerable.server._mcp import mcp_routes

    draining = Draining()

    async def drain() -> None:
        draining.begin()
        gate.sessions.hurry()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(draining.quiet(), gate.times.drain.total_seconds())

    # A page in a browser on this machine must not reach the gate by a name of its own.
    hosts = _BY_LOOPBACK if at is None and host in _LOOPBACK else ()
    data = gate.reader.directory
    async with mcp_routes(gate, hosts=hosts) as mounted, publishing_logs(data, on_behind=gate.desk.ledger.halt):
        app = http_app(gate, draining, mounted=[*mounted, *log_routes(data)])
        await listen_until_signal(
            app, host=host, port=port, at=at, on_listening=on_listening, before_end=drain, patience_s=_CUT_S
        )
