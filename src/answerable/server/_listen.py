"""An ASGI application on a port, until a signal."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from answerable.server._separate import NotSeparate

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from answerable.server._drivers._unix import PeerSocket

__all__ = ["listen_until_signal"]


async def listen_until_signal(
    app: "ASGIApp",
    *,
    host: str = "",
    port: int = 0,
    at: "PeerSocket | None" = None,
    on_listening: Callable[[str], None],
    before_end: Callable[[], Awaitable[None]] | None = None,
    patience_s: int = 10,
    limit: int | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, or until cancelled.

    Args:
        port: 0 for any free one.
        at: a socket that listens already, instead of host and port.
        on_listening: called with the address once connections are taken.
        before_end: awaited after the first signal, while connections are still taken; a second signal cuts it short.
        patience_s: how long requests that are still under way then may take.
        limit: connections at a time, beyond which more are refused.

    Raises:
        NotSeparate: this event loop would let everybody in at such a socket.
    """
    if at is not None and not isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop):
        # SECURITY: another loop takes connections past the socket's own `accept`, which asks who connects.
        raise NotSeparate(problem="this event loop does not ask who connects; asyncio's own does")
    # Here, because every command imports this package and only some need a web server.
    import uvicorn

    class Quiet(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn would raise the signal again at its end, before its owner has put things away.
            yield

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=patience_s,
        limit_concurrency=limit,
    )
    server = Quiet(config)
    loop = asyncio.get_running_loop()
    ending: list[asyncio.Task[None]] = []

    async def end() -> None:
        try:
            if before_end is not None:
                await before_end()
        finally:
            server.should_exit = True

    def stop() -> None:
        if ending:
            server.should_exit = True
        else:
            ending.append(asyncio.create_task(end()))

    with contextlib.ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
            stack.callback(loop.remove_signal_handler, number)
        serving = asyncio.create_task(server.serve(sockets=[at] if at is not None else None))
        try:
            while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            if server.started:
                bound = server.servers[0].sockets[0].getsockname()
                on_listening(bound if at is not None else f"http://{bound[0]}:{bound[1]}")
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            await serving
            for task in ending:
                task.cancel()
