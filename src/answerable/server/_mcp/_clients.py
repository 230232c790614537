"""Clients of the handshake era: a session each, streams they can come back to, and questions that wait for them.

Source: Model Context Protocol 2025-11-25, "Transports: Session Management", "Logging", "Resources: Subscriptions".
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from answerable.server._mcp._reply import Reply
from answerable.server._mcp._streams import EventStream
from answerable.tools import NobodyAsked

__all__ = ["Client", "ClientVoice", "Clients"]

_MOST_CLIENTS = 10_000
_MOST_STREAMS = 32
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


class Client:
    """One session.

    Args:
        agent: whose key opened it; nobody else may use it.
        level: least severe line of a server's log that it wants; empty leaves it to the server.
        news: what the gate says without being asked.
        followed: resources whose changes it wants.
    """

    def __init__(self, agent: str, revision: str, capabilities: Mapping[str, Any]) -> None:
        self.id = secrets.token_hex(16)
        self.agent = agent
        self.revision = revision
        self.capabilities = capabilities
        self.level = ""
        self.news = EventStream()
        self.followed: set[str] = set()
        self._streams: OrderedDict[str, EventStream] = OrderedDict()
        self._questions: dict[str, asyncio.Future[dict[str, Any]]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether somebody reads what the gate says, or is asked something."""
        return self.news.is_read or bool(self._questions)

    def keep(self, stream: EventStream) -> None:
        """Remember a stream that its reader may come back to."""
        self._streams[stream.name] = stream
        while len(self._streams) > _MOST_STREAMS:
            self._streams.popitem(last=False)

    def stream_after(self, event: str) -> tuple[EventStream, int] | None:
        """The stream that an event is of, and how many events that reader has."""
        name, _, count = event.rpartition("-")
        return (self._streams[name], int(count)) if name in self._streams and count.isdecimal() else None

    async def ask(self, stream: Reply, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The client's answer.

        Raises:
            NobodyAsked: it refuses.
        """
        number = f"gate-{secrets.token_hex(8)}"
        self._questions[number] = asyncio.get_running_loop().create_future()
        try:
            stream.note({"jsonrpc": "2.0", "id": number, "method": method, "params": dict(params)})
            return await self._questions[number]
        finally:
            del self._questions[number]

    def answered(self, message: Mapping[str, Any]) -> None:
        """An answer came; one that nobody waits for is dropped."""
        waiting = self._questions.get(str(message.get("id")))
        if waiting is None or waiting.done():
            return
        error = message.get("error")
        if isinstance(error, dict):
            code = error.get("code")
            code = code if isinstance(code, int) else -1
            waiting.set_exception(NobodyAsked(code, str(error.get("message", ""))))
        else:
            result = message.get("result")
            waiting.set_result(result if isinstance(result, dict) else {})

    def leave(self) -> None:
        """It will answer nothing any more."""
        for waiting in self._questions.values():
            if not waiting.done():
                waiting.set_exception(NobodyAsked(-32000, "the client has left"))

    def wants(self, params: Mapping[str, Any]) -> bool:
        """Whether it wants a line of a log."""
        return not self.level or is_at_least(str(params.get("level")), self.level)


def is_at_least(level: str, limit: str) -> bool:
    """Whether a line of a log is as severe as asked for."""
    return level not in LEVELS or limit not in LEVELS or LEVELS.index(level) >= LEVELS.index(limit)


class ClientVoice:
    """How a server speaks to a client of the handshake era while it answers a request."""

    def __init__(self, client: Client, reply: Reply) -> None:
        self._client = client
        self._reply = reply

    def note(self, method: str, params: Mapping[str, Any]) -> None:
        if method != "notifications/message" or self._client.wants(params):
            self._reply.note({"jsonrpc": "2.0", "method": method, "params": dict(params)})

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if not self._reply.can_stream:
            raise NobodyAsked(-32601, "the client takes no stream, and cannot be asked")
        return await self._client.ask(self._reply, method, params)

    def prime(self, retry_ms: int | None) -> None:
        self._reply.prime(retry_ms)
        if self._reply.stream is not None and self._reply.stream.name:
            self._client.keep(self._reply.stream)

    def pause(self) -> None:
        self._reply.pause()


class Clients:
    """The sessions of one endpoint, in memory: a client whose session is not known opens another."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, Client] = OrderedDict()

    def __iter__(self) -> "Any":
        return iter(list(self._by_id.values()))

    def add(self, client: Client) -> None:
        """Keep a session; the one that was longest unused makes room."""
        self._by_id[client.id] = client
        for old in list(self._by_id.values()):
            if len(self._by_id) <= _MOST_CLIENTS:
                break
            if not old.is_busy:
                self.drop(old)

    def of(self, agent: str, id: str) -> Client | None:
        """The agent's session of that id."""
        client = self._by_id.get(id)
        if client is None or client.agent != agent:
            return None
        self._by_id.move_to_end(id)
        return client

    def drop(self, client: Client) -> None:
        """The session is over."""
        self._by_id.pop(client.id, None)
        client.news.end()
        client.leave()
