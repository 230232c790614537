"""The endpoints `/mcp` and `/mcp/{server}`: who asks, by what name, and in which of the protocol's two ways.

Source: Model Context Protocol, "Transports: Streamable HTTP", "Security Warning" (names and origins).
"""

import contextlib
import hmac
from collections.abc import AsyncIterator, Mapping, Sequence

import orjson
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from answerable.app import Gate
from answerable.core import AnswerableError, Refused, RunId, TenantId
from answerable.server._errors import KeyMissing, KeyRefused
from answerable.server._front import agent_of
from answerable.server._mcp._drivers import HANDSHAKE
from answerable.server._mcp._handshake import HandshakeEra
from answerable.server._mcp._modern import ModernEra
from answerable.server._mcp._relay import GateRelay
from answerable.server._mcp._reply import plain
from answerable.server._mcp._state import StateSeal

__all__ = ["mcp_routes"]

_STATES = RunId("run_mcp_request_state")
_NOBODY, _PARSE_ERROR = -32001, -32700
_MOST_BYTES = 32 << 20
_VERSION = "mcp-protocol-version"


@contextlib.asynccontextmanager
async def mcp_routes(gate: Gate, *, hosts: Sequence[str] = ()) -> AsyncIterator[list[BaseRoute]]:
    """The routes of a running gate's MCP endpoints, while the block lasts.

    Args:
        hosts: the only names that requests may call the gate by (`127.0.0.1:*`); any, where it is empty.
    """
    # From the record's own key, so that what a client was told outlives this process.
    key = hmac.digest(gate.desk.ledger.run_key(TenantId("default"), _STATES), b"mcp/requestState", "sha256")
    names = ("", *(each.name for each in gate.tools.servers()))
    endpoints = {name: _Endpoint(gate, name, key=key, hosts=hosts) for name in names}
    methods = ["GET", "POST", "DELETE"]
    try:
        yield [
            Route(f"/mcp/{name}" if name else "/mcp", each, methods=methods, include_in_schema=False)
            for name, each in endpoints.items()
        ]
    finally:
        for each in endpoints.values():
            each.close()


class _Endpoint:
    """One endpoint, as an ASGI application."""

    def __init__(self, gate: Gate, server: str, *, key: bytes, hosts: Sequence[str]) -> None:
        self._gate = gate
        self._hosts = tuple(hosts)
        self._relay = relay = GateRelay(gate, server, seal=StateSeal(key, audience=server or "answerable"))
        self._handshake = HandshakeEra(relay)
        self._modern = ModernEra(relay)

    def close(self) -> None:
        """End every stream, and every wait for a client."""
        self._relay.close()
        self._handshake.close()
        self._modern.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): said.decode("latin-1").strip() for name, said in scope["headers"]}
        if (status := self._misplaced(scope["method"], headers)) is not None:
            await plain(send, status, b"", {})
            return
        try:
            agent = await agent_of(self._gate, headers)
        except AnswerableError as error:
            await _refuse(send, error)
            return
        version = headers.get(_VERSION)
        if scope["method"] != "POST":
            if version is not None and version not in HANDSHAKE:
                await plain(send, 405, b"", {"allow": "POST"})
            elif scope["method"] == "GET":
                await self._handshake.get(agent, headers, receive, send)
            else:
                await self._handshake.delete(agent, headers, send)
            return
        body = await _body(receive)
        if body is None:
            await plain(send, 413, b"", {})
            return
        try:
            message = orjson.loads(body)
        except orjson.JSONDecodeError:
            said = {"jsonrpc": "2.0", "id": None, "error": {"code": _PARSE_ERROR, "message": "Parse error"}}
            await plain(send, 400, orjson.dumps(said), {})
            return
        if version is None or version in HANDSHAKE:
            await self._handshake.post(message, agent, headers, receive, send)
        else:
            await self._modern.post(message, agent, headers, scope, receive, send)

    def _misplaced(self, method: str, headers: Mapping[str, str]) -> int | None:
        """The status that refuses a request which is not meant for this endpoint."""
        if method == "POST" and not headers.get("content-type", "").lower().startswith("application/json"):
            return 400
        accepted = headers.get("accept", "*/*")
        wanted = "application/json" if method == "POST" else "text/event-stream"
        if method != "DELETE" and wanted not in accepted and "*/*" not in accepted:
            return 406
        # SECURITY: a page in a browser on this machine must not reach the gate by a name of its own.
        if self._hosts and not _is_one_of(headers.get("host", ""), self._hosts):
            return 421
        origin = headers.get("origin", "")
        if self._hosts and origin and not _is_one_of(origin.removeprefix("http://"), self._hosts):
            return 403
        return None


def _is_one_of(host: str, allowed: Sequence[str]) -> bool:
    return any(host == each or (each.endswith(":*") and host.startswith(each[:-1])) for each in allowed)


async def _body(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > _MOST_BYTES:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _refuse(send: Send, error: AnswerableError) -> None:
    said = {"jsonrpc": "2.0", "id": None, "error": {"code": _NOBODY, "message": error.message, "data": error.to_json()}}
    is_nobody = isinstance(error, KeyMissing | KeyRefused)
    status = 401 if is_nobody else 403 if isinstance(error, Refused) else 500
    await plain(send, status, orjson.dumps(said), {"www-authenticate": "Bearer"} if is_nobody else {})
