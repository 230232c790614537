"""Serves a gate over HTTP until a signal, and then lets what is under way end, for a while."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from answerable.app import Gate

__all__ = ["serve_gate"]

_CUT_S = 1  # for what is still under way after the drain
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_BY_LOOPBACK = ("127.0.0.1:*", "localhost:*", "[::1]:*")


async def serve_gate(gate: "Gate", *, host: str, port: int, on_listening: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, or until cancelled.

    After a signal nothing new is begun and `/readyz` says so; calls and streams under way may end, as long
    as `gate.times.drain` lets them. A second signal cuts them.

    Args:
        port: 0 for any free one.
        on_listening: called with the address once connections are taken.
    """
    # Here, because every command imports this package and only one needs a web server.
    import uvicorn

    from answerable.server._draining import Draining
    from answerable.server._http import http_app
    from answerable.server._mcp import mcp_routes

    class Quiet(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn would raise the signal again at its end, before the gate has closed its record.
            yield

    loop = asyncio.get_running_loop()
    # A page in a browser on this machine must not reach the gate by a name of its own.
    hosts = _BY_LOOPBACK if host in _LOOPBACK else ()
    async with contextlib.AsyncExitStack() as stack:
        draining = Draining()
        mounted = await stack.enter_async_context(mcp_routes(gate, hosts=hosts))
        config = uvicorn.Config(
            http_app(gate, draining, mounted=mounted),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_CUT_S,
        )
        server = Quiet(config)
        stops: list[asyncio.Task[None]] = []

        async def drain() -> None:
            draining.begin()
            gate.sessions.hurry()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(draining.quiet(), gate.times.drain.total_seconds())
            server.should_exit = True

        def stop() -> None:
            if stops:
                server.should_exit = True
            else:
                stops.append(asyncio.create_task(drain()))

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
            stack.callback(loop.remove_signal_handler, number)
        serving = asyncio.create_task(server.serve())
        try:
            while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            if server.started:
                bound = server.servers[0].sockets[0].getsockname()
                on_listening(f"http://{bound[0]}:{bound[1]}")
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            await serving
            for task in stops:
                task.cancel()
