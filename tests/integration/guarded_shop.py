"""A tool server that lets in who carries a good token, and a gate with credentials before it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from answerable import Answerable, Gate
from answerable.core import AnswerableError, Effect
from answerable.tools import ToolDeclaration

__all__ = ["Shop", "an_app", "ask", "open_shop", "through"]

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "shop", "version": "1"}}
TOOLS = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("look", "pay")]}


@dataclass
class Shop:
    """An MCP server that lets in who carries a good token, and repeats all that it was sent."""

    is_good: Callable[[str], bool]
    seen: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""
    streams: bool = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if request.method != "POST":
            return web.Response(status=405)
        said = await request.json()
        name = said.get("params", {}).get("name", "")
        self.seen.append((name or said["method"], token))
        if not self.is_good(token):
            return web.json_response({"error": "invalid_token", "sent": token}, status=401)
        if said["method"] == "initialize":
            result: Any = HELLO
        elif said["method"] == "tools/list":
            result = TOOLS
        elif said["method"] == "tools/call":
            result = {"content": [{"type": "text", "text": f"{name} done; you sent {dict(request.headers)}"}]}
        elif "id" in said:
            return web.json_response({"jsonrpc": "2.0", "id": said["id"], "error": {"code": -32601, "message": "no"}})
        else:
            return web.Response(status=202)
        body = {"jsonrpc": "2.0", "id": said["id"], "result": result}
        if not self.streams:
            return web.json_response(body)
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b"data: " + json.dumps(body).encode() + b"\n\n")
        return stream

    def called(self) -> list[str]:
        return [what for what, _ in self.seen if what in ("look", "pay")]


@contextlib.asynccontextmanager
async def open_shop(shop: Shop) -> AsyncIterator[Shop]:
    app = web.Application()
    app.router.add_route("*", "/mcp", shop.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    shop.url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    try:
        yield shop
    finally:
        await runner.cleanup()


def an_app(
    folder: Path,
    at: Shop,
    credential: str | list[str],
    *,
    environment: str = "",
    agents: Mapping[str, dict[str, Any]] | None = None,
    credentials: Mapping[str, dict[str, Any]] | None = None,
) -> Answerable:
    """A gate in front of the shop, and agents that look and pay; its `credentials` are declared so."""
    (folder / "policy" / "authorize").mkdir(parents=True, exist_ok=True)
    (folder / "policy" / "authorize" / "all.cedar").write_text('@id("all") permit (principal, action, resource);')
    app = Answerable(data=folder / "data", policy=folder / "policy", environment=environment)
    for name, said in (credentials or {}).items():
        app.credential(name, **said)
    look = ToolDeclaration(effect=Effect.READ)
    app.mcp(
        "shop", url=at.url, credential=credential, declare={"look": look, "pay": ToolDeclaration(effect=Effect.WRITE)}
    )

    async def acts(run: Any, tool: str) -> Any:
        return await run.tool(f"shop.{tool}")

    for name, of_agent in ({"clerk": {}, "porter": {}} if agents is None else agents).items():
        app.agent(acts, name=name, **of_agent)
    return app


async def ask(gate: Gate, agent: str, tool: str) -> Any:
    try:
        return await gate.result(await gate.start(agent, tool))
    except AnswerableError as error:
        return error


def through(shop: Shop, story: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        async with asyncio.timeout(40), open_shop(shop):
            return await story()

    return asyncio.run(run())
