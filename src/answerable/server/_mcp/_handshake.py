"""`/mcp` as revisions up to 2025-11-25 have it: a handshake, a session, and streams beside requests.

Source: Model Context Protocol 2025-11-25, "Lifecycle", "Transports: Streamable HTTP".
"""

import asyncio
import contextlib
import secrets
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Receive, Send

from answerable.server._mcp._clients import LEVELS, Client, Clients, ClientVoice, is_at_least
from answerable.server._mcp._drivers import HANDSHAKE
from answerable.server._mcp._ports import INVALID_PARAMS, METHOD_NOT_FOUND, Asked, RpcFailed
from answerable.server._mcp._relay import GateRelay
from answerable.server._mcp._reply import Reply, plain
from answerable.server._mcp._streams import EventStream
from answerable.tools import ServerFace

__all__ = ["HandshakeEra"]

_INVALID_REQUEST = -32600
_SESSION = "mcp-session-id"
_VERSION = "mcp-protocol-version"


class HandshakeEra:
    """One endpoint for clients of that era."""

    def __init__(self, relay: GateRelay) -> None:
        self._relay = relay
        self._clients = Clients()
        self._face = ServerFace()
        relay.news.append(self._news)

    async def post(self, message: Any, agent: str, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        """Take one message."""
        if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
            await _refuse(send, 400, _INVALID_REQUEST, "the body is one JSON-RPC message")
            return
        if message.get("method") == "initialize" and "id" in message:
            await self._open(message, agent, headers, receive, send)
            return
        client = await self._client(agent, headers, send)
        if client is None:
            return
        if "method" not in message:
            client.answered(message)
        elif "id" in message:
            await self._answer(client, message, agent, headers, receive, send)
            return
        await plain(send, 202, b"", {})

    async def get(self, agent: str, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        """Let a client hear what the gate says without being asked, or come back to a stream."""
        client = await self._client(agent, headers, send)
        if client is None:
            return
        stream: EventStream = client.news
        after = 0
        if last := headers.get("last-event-id"):
            found = client.stream_after(last)
            if found is None:
                await _refuse(send, 404, _INVALID_REQUEST, "there is no such event any more")
                return
            stream, after = found
        elif client.news.is_read:
            await _refuse(send, 409, _INVALID_REQUEST, "this session has its stream already")
            return
        await stream.write_until_left(send, receive, {_SESSION: client.id}, after=after)

    async def delete(self, agent: str, headers: Mapping[str, str], send: Send) -> None:
        """End a session."""
        client = await self._client(agent, headers, send)
        if client is not None:
            self._clients.drop(client)
            for uri in client.followed:
                await self._relay.follow(uri, is_wanted=False)
            await plain(send, 200, b"", {})

    async def _client(self, agent: str, headers: Mapping[str, str], send: Send) -> Client | None:
        id = headers.get(_SESSION)
        version = headers.get(_VERSION)
        if not id:
            await _refuse(send, 400, _INVALID_REQUEST, "a session is missing: `initialize` opens one")
        elif version is not None and version not in HANDSHAKE:
            await _refuse(send, 400, _INVALID_REQUEST, f"sessions have one of the revisions {', '.join(HANDSHAKE)}")
        elif (client := self._clients.of(agent, id)) is None:
            await _refuse(send, 404, _INVALID_REQUEST, "Session not found")
        else:
            return client
        return None

    async def _open(
        self, message: Mapping[str, Any], agent: str, headers: Mapping[str, str], receive: Receive, send: Send
    ) -> None:
        params = message.get("params") or {}
        asked_for = params.get("protocolVersion")
        revision = asked_for if asked_for in HANDSHAKE else HANDSHAKE[-1]
        capabilities = params.get("capabilities")
        client = Client(agent, revision, capabilities if isinstance(capabilities, dict) else {})
        reply = Reply(receive, send, number=message["id"], can_stream=False)
        asked = self._asked(client, message, agent, headers, reply)

        async def hello() -> dict[str, Any]:
            face = self._face = await self._relay.face(is_modern=False)
            self._clients.add(client)
            asked.told[_SESSION] = client.id
            said = {"protocolVersion": revision, "capabilities": face.capabilities, "serverInfo": face.info}
            return {**said, **({"instructions": face.instructions} if face.instructions else {})}

        await reply.give(asked, hello())

    async def _answer(
        self,
        client: Client,
        message: Mapping[str, Any],
        agent: str,
        headers: Mapping[str, str],
        receive: Receive,
        send: Send,
    ) -> None:
        accepted = headers.get("accept", "*/*")
        can_stream = "text/event-stream" in accepted or "*/*" in accepted
        reply = Reply(receive, send, number=message["id"], can_stream=can_stream, name=secrets.token_hex(6))
        asked = self._asked(client, message, agent, headers, reply)
        asked.told[_SESSION] = client.id
        await reply.give(asked, self._result(client, asked))

    async def _result(self, client: Client, asked: Asked) -> dict[str, Any]:
        if asked.method == "ping":
            return {}
        if asked.method == "logging/setLevel":
            level = asked.params.get("level")
            if level not in LEVELS:
                raise RpcFailed(INVALID_PARAMS, f"a level is one of {', '.join(LEVELS)}")
            client.level = str(level)
            await self._relay.log(self._level())
            return {}
        if asked.method in ("resources/subscribe", "resources/unsubscribe"):
            await self._follow(client, asked)
            return {}
        if not self._relay.serves(asked.method):
            raise RpcFailed(METHOD_NOT_FOUND, f"Method not found: {asked.method}")
        if asked.method.endswith("/list") and self._face.streams:
            asked.voice.prime(self._face.retry_ms)  # as its server answers; what the gate itself knows has no stream
        return await self._relay.answer(asked)

    async def _follow(self, client: Client, asked: Asked) -> None:
        uri = asked.params.get("uri")
        if not isinstance(uri, str):
            raise RpcFailed(INVALID_PARAMS, "`uri` is missing")
        is_wanted = asked.method == "resources/subscribe"
        if (uri in client.followed) is not is_wanted:
            await self._relay.follow(uri, is_wanted=is_wanted)
            (client.followed.add if is_wanted else client.followed.discard)(uri)

    def _level(self) -> str:
        """The least severe that any client wants: a server has one level for all that come through the gate."""
        wanted = [client.level for client in self._clients if client.level]
        return next(level for level in LEVELS if any(is_at_least(level, each) for each in wanted))

    def _asked(
        self, client: Client, message: Mapping[str, Any], agent: str, headers: Mapping[str, str], reply: Reply
    ) -> Asked:
        params = message.get("params")
        return Asked(
            method=str(message["method"]),
            params=params if isinstance(params, dict) else {},
            headers=headers,
            agent=agent,
            is_modern=False,
            capabilities=client.capabilities,
            voice=ClientVoice(client, reply),
        )

    def _news(self, method: str, params: Mapping[str, Any]) -> None:
        message = {"jsonrpc": "2.0", "method": method, **({"params": dict(params)} if params else {})}
        for client in self._clients:
            if method != "notifications/resources/updated" or params.get("uri") in client.followed:
                client.news.add(message)

    def close(self) -> None:
        """End every stream."""
        for client in self._clients:
            self._clients.drop(client)


async def _refuse(send: Send, status: int, code: int, message: str) -> None:
    said = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    with contextlib.suppress(asyncio.CancelledError):
        await plain(send, status, orjson.dumps(said), {})
