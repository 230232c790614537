"""MCP servers at a URL that forget, break off, refuse and send elsewhere: real HTTP, in the test's own process."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from answerable.tools import Answer, ToolServerLost, ToolServerUnavailable
from answerable.tools._drivers import Http, McpServer

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "far", "version": "1"}}
TOOLS = {"tools": [{"name": "pay", "inputSchema": {"type": "object"}}]}
DONE: dict[str, Any] = {"content": [{"type": "text", "text": "paid"}]}
Answering = Callable[["Far", web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


class Far:
    """A server of the handshake era; how it answers a call is the test's."""

    def __init__(self, answering: Answering) -> None:
        self.sessions = 0
        self.calls = 0
        self.seen: list[tuple[str, str]] = []
        self._answering = answering

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.headers.get("last-event-id", "")))
        if request.method == "GET":
            return await self._come_back(request)
        if request.method == "DELETE":
            return web.Response()
        said = await request.json()
        if said["method"] == "initialize":
            self.sessions += 1
            return answer(said, HELLO, {"mcp-session-id": f"s{self.sessions}"})
        if said["method"] == "tools/list":
            return answer(said, TOOLS)
        if said["method"] == "tools/call":
            return await self._answering(self, request, said)
        if "id" not in said:
            return web.Response(status=202)
        error = {"code": -32601, "message": "no such method"}
        return web.json_response({"jsonrpc": "2.0", "id": said["id"], "error": error}, status=400)

    async def _come_back(self, request: web.Request) -> web.StreamResponse:
        if not request.headers.get("last-event-id"):
            return web.Response(status=405)
        return await streamed(request, b"id: 2\r\ndata: " + whole(self.last) + b"\r\n\r\n")

    last: Any = None


def whole(said: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": said["id"], "result": DONE}).encode()


def answer(said: dict[str, Any], result: Any, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": said["id"], "result": result}, headers=headers)


async def streamed(request: web.Request, *parts: bytes) -> web.StreamResponse:
    stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await stream.prepare(request)
    for part in parts:
        await stream.write(part)
    return stream


def calling(answering: Answering) -> tuple[Far, Answer | Exception]:
    """What a call comes to, and what the server saw of it."""
    far = Far(answering)

    async def run() -> Answer | Exception:
        app = web.Application()
        app.router.add_route("*", "/mcp", far.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
        limit = timedelta(seconds=10)
        where = Http(url=url, headers={"authorization": "Bearer secret"})
        server = McpServer("far", transport=where, startup_timeout=limit, call_timeout=limit)
        try:
            await server.connect()
            return await server.call("pay", {}, timeout=None)
        except Exception as error:  # noqa: BLE001 - it is what the test looks at
            return error
        finally:
            await server.close()
            await runner.cleanup()

    async def bounded() -> Answer | Exception:
        async with asyncio.timeout(30):
            return await run()

    return far, asyncio.run(bounded())


@pytest.mark.requirement("TL-2")
def test_a_server_that_forgot_the_session_gets_a_new_one_and_the_call_once() -> None:
    async def forgetful(far: Far, request: web.Request, said: dict[str, Any]) -> web.StreamResponse:
        if request.headers["mcp-session-id"] == "s1":
            return web.Response(status=404)
        far.calls += 1
        return answer(said, DONE)

    far, came = calling(forgetful)

    assert isinstance(came, Answer)
    assert came.texts == ("paid",)
    assert (far.sessions, far.calls) == (2, 1)


@pytest.mark.requirement("RT-3")
def test_a_stream_that_breaks_off_where_nobody_can_come_back_leaves_the_call_in_doubt() -> None:
    async def breaking(far: Far, request: web.Request, said: dict[str, Any]) -> web.StreamResponse:
        return await streamed(request, b": nothing yet\n\n")

    far, came = calling(breaking)

    assert isinstance(came, ToolServerLost)
    assert [method for method, _ in far.seen].count("POST") == 5


def test_a_stream_that_breaks_off_is_taken_up_where_it_was_left_and_the_call_not_made_again() -> None:
    async def breaking(far: Far, request: web.Request, said: dict[str, Any]) -> web.StreamResponse:
        far.calls += 1
        far.last = said
        return await streamed(request, b"id: 1\r\nretry: 10\r", b"\ndata: \r\n\r\n")

    far, came = calling(breaking)

    assert isinstance(came, Answer)
    assert came.texts == ("paid",)
    assert far.calls == 1
    assert ("GET", "1") in far.seen


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [(401, ToolServerUnavailable, "HTTP 401"), (307, ToolServerLost, ""), (503, ToolServerLost, "")],
)
def test_an_answer_that_is_none_is_told_for_what_it_is_and_a_redirect_not_followed(
    status: int, kind: type[Exception], words: str
) -> None:
    async def refusing(far: Far, request: web.Request, said: dict[str, Any]) -> web.StreamResponse:
        far.calls += 1
        return web.Response(status=status, headers={"location": "/mcp"})

    far, came = calling(refusing)

    assert isinstance(came, kind)
    assert words in str(came)
    assert far.calls == 1
