"""The way out of service: what is under way goes on for a while, nothing new is begun, and readiness says so."""

import asyncio

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from answerable.server._errors import GateStopping
from answerable.server._telling import tell

__all__ = ["Draining"]

_ALWAYS = ("/healthz", "/readyz")
_BUSY = -32000  # JSON-RPC 2.0, "Error object": server-defined


class Draining:
    """Around a gate's ASGI application: counts what is under way.

    A `GET` is not counted: an MCP client keeps one open for as long as it lives.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self._under_way = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    def begin(self) -> None:
        """Let nothing new in."""
        self.has_begun = True

    async def quiet(self) -> None:
        """Returns once nothing is under way."""
        await self._quiet.wait()

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, watched."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] in _ALWAYS:
                await app(scope, receive, send)
            elif self.has_begun:
                await _refusal(scope["path"])(scope, receive, send)
            elif scope["method"] == "GET":
                await app(scope, receive, send)
            else:
                await self._count(app, scope, receive, send)

        return watched

    async def _count(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        self._under_way += 1
        self._quiet.clear()
        try:
            await app(scope, receive, send)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._quiet.set()


def _refusal(path: str) -> Response:
    error = GateStopping()
    headers = {"retry-after": "1", "connection": "close"}
    if path.startswith("/v1/"):
        told = tell(error, "messages" if path == "/v1/messages" else "chat")
        return Response(told.body, told.status, {**told.headers, **headers}, media_type="application/json")
    said: dict[str, object] = {"error": error.to_json()}
    if path.startswith("/mcp"):
        fault = {"code": _BUSY, "message": error.message, "data": {"answerable/error": error.to_json()}}
        said = {"jsonrpc": "2.0", "id": None, "error": fault}
    return Response(orjson.dumps(said), 503, headers, media_type="application/json")
