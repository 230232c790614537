"""The endpoints `/mcp` and `/mcp/{server}`: who asks, and whether the answer arrived."""

import contextlib
import hmac
from collections.abc import AsyncIterator, Sequence

import anyio
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from answerable.app import Gate
from answerable.core import AnswerableError, Refused, RunId, TenantId
from answerable.server._errors import KeyMissing, KeyRefused
from answerable.server._front import agent_of
from answerable.server._mcp._drivers import McpWire
from answerable.server._mcp._relay import GateRelay

__all__ = ["mcp_routes"]

_STATES = RunId("run_mcp_request_state")
_NOBODY = -32001


@contextlib.asynccontextmanager
async def mcp_routes(gate: Gate, *, hosts: Sequence[str] = ()) -> AsyncIterator[list[BaseRoute]]:
    """The routes of a running gate's MCP endpoints, while the block lasts.

    Args:
        hosts: the only names that requests may call the gate by (`127.0.0.1:*`); any, where it is empty.
    """
    # From the record's own key, so that what a client was told outlives this process.
    key = hmac.digest(gate.desk.ledger.run_key(TenantId("default"), _STATES), b"mcp/requestState", "sha256")
    async with contextlib.AsyncExitStack() as stack:
        routes: list[BaseRoute] = []
        for server in ("", *(each.name for each in gate.tools.servers())):
            wire = McpWire(GateRelay(gate, server), name=server or "answerable", state_key=key, hosts=hosts)
            await stack.enter_async_context(wire.running())
            routes.append(Route(f"/mcp/{server}" if server else "/mcp", _Endpoint(gate, wire)))
        yield routes


class _Endpoint:
    """One endpoint, as an ASGI application."""

    def __init__(self, gate: Gate, wire: McpWire) -> None:
        self._gate = gate
        self._wire = wire

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            agent = agent_of(self._gate, Request(scope).headers)
        except AnswerableError as error:
            await _refusal(error)(scope, receive, send)
            return
        answer = _Answer(receive, send)
        with self._wire.asking(scope, agent) as (asked, told, on_delivered):
            answer.told = told
            await self._wire.handle(asked, answer.receive, answer.send)
        if await answer.arrived():
            for mark in on_delivered:
                mark()


class _Answer:
    """Watches one answer on its way."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.told: dict[str, str] = {}
        self._receive = receive
        self._send = send
        self._is_whole = False
        self._has_left = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._is_whole:
            self._has_left = True
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name.encode(), value.encode()) for name, value in self.told.items()]
            message = {**message, "headers": [*message.get("headers", ()), *headers]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._look()
            self._is_whole = True
        await self._send(message)

    async def arrived(self) -> bool:
        """Whether all of it was written while the client was still there."""
        return self._is_whole and not self._has_left

    async def _look(self) -> None:
        """A server drops what is sent to a client that has left, and does not say so."""
        with anyio.CancelScope() as scope:
            scope.cancel()
            await self.receive()


def _refusal(error: AnswerableError) -> Response:
    said = {"jsonrpc": "2.0", "id": None, "error": {"code": _NOBODY, "message": error.message, "data": error.to_json()}}
    is_nobody = isinstance(error, KeyMissing | KeyRefused)
    status = 401 if is_nobody else 403 if isinstance(error, Refused) else 500
    headers = {"www-authenticate": "Bearer"} if is_nobody else {}
    return Response(orjson.dumps(said), status, headers, media_type="application/json")
