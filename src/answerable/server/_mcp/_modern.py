"""`/mcp` as 2026-07-28 has it: every request stands by itself.

Source: Model Context Protocol 2026-07-28, "Transports: Streamable HTTP", "Discovery", "Subscriptions", "Caching".
"""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from answerable.server._mcp._clients import is_at_least
from answerable.server._mcp._drivers import (
    CAPABILITIES,
    LOG_LEVEL,
    MODERN,
    SERVER_INFO,
    SUBSCRIPTION,
    check_envelope,
    check_parameters,
    status_of,
)
from answerable.server._mcp._ports import INVALID_PARAMS, METHOD_NOT_FOUND, Asked, RpcFailed
from answerable.server._mcp._relay import GateRelay
from answerable.server._mcp._reply import Reply, plain
from answerable.server._mcp._streams import EventStream
from answerable.tools import NobodyAsked

__all__ = ["ModernEra"]

_INVALID_REQUEST = -32600
_CHANGES = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}
_CACHEABLE = {
    "server/discover",
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
}


class ModernEra:
    """One endpoint for clients of that revision."""

    def __init__(self, relay: GateRelay) -> None:
        self._relay = relay
        self._listeners: dict[EventStream, tuple[Any, Mapping[str, Any]]] = {}
        relay.news.append(self._news)

    async def post(
        self, message: Any, agent: str, headers: Mapping[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Take one message."""
        if (
            not isinstance(message, dict)
            or message.get("jsonrpc") != "2.0"
            or not isinstance(message.get("method"), str)
        ):
            await _refuse(send, None, RpcFailed(_INVALID_REQUEST, "the body is one JSON-RPC request"))
            return
        if "id" not in message:
            await plain(send, 202, b"", {})  # there is nothing a client notes in this revision
            return
        number, method = message["id"], message["method"]
        if not isinstance(number, str | int) or isinstance(number, bool):
            await _refuse(send, None, RpcFailed(_INVALID_REQUEST, "an id is text or a whole number"))
            return
        try:
            check_envelope(message, headers, scope["headers"])
            params = message["params"]
            if method == "tools/call" and (schema := self._relay.schema(params.get("name"))) is not None:
                check_parameters(schema, params.get("arguments") or {}, headers)
        except RpcFailed as failed:
            await _refuse(send, number, failed)
            return
        if method == "subscriptions/listen":
            await self._listen(number, params, receive, send)
            return
        accepted = headers.get("accept", "*/*")
        can_stream = "text/event-stream" in accepted or "*/*" in accepted
        reply = Reply(receive, send, number=number, can_stream=can_stream)
        capabilities = params["_meta"][CAPABILITIES]
        asked = Asked(
            method=method,
            params=params,
            headers=headers,
            agent=agent,
            is_modern=True,
            capabilities=capabilities if isinstance(capabilities, dict) else {},
            voice=_Voice(reply, params["_meta"]),
        )
        await reply.give(asked, self._result(asked), status_of)

    async def _result(self, asked: Asked) -> dict[str, Any]:
        if asked.method == "server/discover":
            face = await self._relay.face(is_modern=True)
            result: dict[str, Any] = {"supportedVersions": list(MODERN), "capabilities": face.capabilities}
            result.update({"instructions": face.instructions} if face.instructions else {})
        elif self._relay.serves(asked.method):
            result = await self._relay.answer(asked)
        else:
            raise RpcFailed(METHOD_NOT_FOUND, f"Method not found: {asked.method}")
        result["_meta"] = {SERVER_INFO: self._relay.info, **result.get("_meta", {})}
        if asked.method in _CACHEABLE and result.get("resultType") != "input_required":
            result.setdefault("ttlMs", 0)
            result["cacheScope"] = "private"  # what one agent may see is not for every agent
        return {"resultType": "complete", **result}

    async def _listen(self, number: Any, params: Mapping[str, Any], receive: Receive, send: Send) -> None:
        wanted = params.get("notifications")
        if not isinstance(wanted, dict):
            await _refuse(send, number, RpcFailed(INVALID_PARAMS, "`notifications` is missing"))
            return
        kept = {name: True for name in _CHANGES.values() if wanted.get(name) is True}
        uris = wanted.get("resourceSubscriptions")
        uris = [uri for uri in uris if isinstance(uri, str)] if isinstance(uris, list) else []
        filter = {**kept, **({"resourceSubscriptions": uris} if uris else {})}
        stream = EventStream()
        stream.add(_note("notifications/subscriptions/acknowledged", {"notifications": filter}, number))
        followed: list[str] = []
        self._listeners[stream] = (number, filter)
        try:
            for uri in uris:
                await self._relay.follow(uri, is_wanted=True)
                followed.append(uri)
            await stream.write_until_left(send, receive, {})
        except RpcFailed as failed:
            await _refuse(send, number, failed)
        finally:
            del self._listeners[stream]
            for uri in followed:
                await self._relay.follow(uri, is_wanted=False)

    def _news(self, method: str, params: Mapping[str, Any]) -> None:
        for stream, (number, filter) in self._listeners.items():
            named = _CHANGES.get(method)
            is_wanted = filter.get(named) if named else params.get("uri") in filter.get("resourceSubscriptions", ())
            if is_wanted:
                stream.add(_note(method, params, number))

    def close(self) -> None:
        """End every stream, and say so."""
        for stream, (number, _) in self._listeners.items():
            result = {"resultType": "complete", "_meta": {SUBSCRIPTION: number}}
            stream.add({"jsonrpc": "2.0", "id": number, "result": result})
            stream.end()


class _Voice:
    """How a server speaks to a client of this revision: notes on the answer's way, nothing else."""

    def __init__(self, reply: Reply, meta: Mapping[str, Any]) -> None:
        self._reply = reply
        self._level = str(meta.get(LOG_LEVEL) or "")

    def note(self, method: str, params: Mapping[str, Any]) -> None:
        if method != "notifications/message" or (self._level and is_at_least(str(params.get("level")), self._level)):
            self._reply.note({"jsonrpc": "2.0", "method": method, "params": dict(params)})

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        raise NobodyAsked(METHOD_NOT_FOUND, "a client of this revision is asked by an answer")

    def prime(self, retry_ms: int | None) -> None:
        """There is no coming back to a stream in this revision."""

    def pause(self) -> None:
        """There is no coming back to a stream in this revision."""


def _note(method: str, params: Mapping[str, Any], number: Any) -> dict[str, Any]:
    meta = {**(params.get("_meta") or {}), SUBSCRIPTION: number}
    return {"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": meta}}


async def _refuse(send: Send, number: Any, failed: RpcFailed) -> None:
    said = {"jsonrpc": "2.0", "id": number, "error": failed.to_json()}
    await plain(send, status_of(failed.code), orjson.dumps(said), {})
