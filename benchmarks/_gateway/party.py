"""How a party of the comparison serves: on a free port of loopback, which it prints."""

import asyncio
import sys

import uvicorn

__all__ = ["say", "serve_here"]


def say(line: str) -> None:
    """One line for the process that started this one."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def serve_here(config: uvicorn.Config) -> None:
    """Serve, and print the address once connections are taken."""
    config.host, config.port = "127.0.0.1", 0
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    if server.started:
        say(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    await serving
