"""What is behind every proxy: a tool server on the official SDK, and a model provider that says what it always says.

One process, one port, two endpoints: `/mcp` and `/v1/chat/completions`. Both answer at once and repeat the
number they were asked with, so that an answer can be told from a remembered one.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator

import uvicorn
from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from benchmarks._gateway.party import serve_here

TEXT = ("the quick brown fox jumps over the lazy dog; " * 10)[:400]
STREAM_PARTS = 20
_NUMBER = re.compile(rb"order (\d+)")
_CHAT = {"id": "chatcmpl-1", "created": 1760000000, "model": "tiny"}
_USAGE = {"prompt_tokens": 11, "completion_tokens": 90, "total_tokens": 101}


async def serve() -> None:
    """Serve until ended."""
    server = MCPServer("shop")

    @server.tool()
    async def look(order: int) -> str:
        """Look at an order."""
        return f"order {order}: {TEXT}"

    @server.tool()
    async def pay(order: int) -> str:
        """Pay for an order."""
        raise AssertionError("nobody asks")

    mcp = server.streamable_http_app(json_response=True, stateless_http=True)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with mcp.router.lifespan_context(mcp):
            yield

    routes = [Route("/v1/chat/completions", _complete, methods=["POST"]), *mcp.routes]
    await serve_here(uvicorn.Config(Starlette(routes=routes, lifespan=lifespan), log_config=None, access_log=False))


async def _complete(request: Request) -> Response:
    body = await request.body()
    found = _NUMBER.search(body)
    said = f"order {found.group(1).decode() if found else '?'}: {TEXT}"
    if json.loads(body).get("stream"):
        return StreamingResponse(_stream(said), media_type="text/event-stream")
    choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
    answer = {**_CHAT, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
    return Response(json.dumps(answer), media_type="application/json")


async def _stream(said: str) -> AsyncIterator[bytes]:
    size = -(-len(said) // STREAM_PARTS)
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": said[at : at + size]} for at in range(0, len(said), size)]
    for delta in deltas:
        yield _event([{"index": 0, "delta": delta, "finish_reason": None}])
        await asyncio.sleep(0)
    yield _event([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    yield _event([], usage=_USAGE)
    yield b"data: [DONE]\n\n"


def _event(choices: list[object], usage: object = None) -> bytes:
    said = {**_CHAT, "object": "chat.completion.chunk", "choices": choices, "usage": usage}
    return b"data: " + json.dumps(said).encode() + b"\n\n"
