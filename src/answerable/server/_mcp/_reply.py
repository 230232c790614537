"""The answer to one request: JSON if nothing comes before it, else a stream with the answer as its last event."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.types import Message, Receive, Send

from answerable.server._mcp._ports import Asked, RpcFailed
from answerable.server._mcp._streams import EventStream

__all__ = ["Reply", "plain"]

_SILENCE_S = 15.0


class Reply:
    """One answer on its way.

    Args:
        number: the request's id.
        can_stream: the client takes a stream, too.
        name: of the stream, where its reader could come back to it.
    """

    def __init__(self, receive: Receive, send: Send, *, number: Any, can_stream: bool, name: str = "") -> None:
        self.stream: EventStream | None = None
        self.can_stream = can_stream
        self._receive = receive
        self._send = send
        self._number = number
        self._name = name
        self._told: Mapping[str, str] = {}
        self._writing: asyncio.Task[bool] | None = None
        self._has_left = False

    def note(self, message: Mapping[str, Any]) -> None:
        """Say something before the answer; dropped where the client takes no stream."""
        if self.can_stream:
            self._begin("").add(message)

    def prime(self, retry_ms: int | None) -> None:
        """Begin a stream that its reader can come back to."""
        if self.can_stream and self._name and self.stream is None:
            self._begin(self._name).prime(retry_ms)

    def pause(self) -> None:
        """Hang up on the reader, if it can come back."""
        if self.stream is not None and self.stream.name:
            self.stream.pause()

    async def give(
        self, asked: Asked, work: Awaitable[dict[str, Any]], status_of: Callable[[int], int] | None = None
    ) -> None:
        """Answer with what the work returns, and mark the answer delivered if it was.

        Args:
            status_of: the HTTP status of an error; 200 without.
        """
        self._told = asked.told
        silence = asyncio.get_running_loop().call_later(_SILENCE_S, self._break_silence)
        status = 200
        try:
            message: dict[str, Any] = {"jsonrpc": "2.0", "id": self._number, "result": await work}
        except RpcFailed as failed:
            message = {"jsonrpc": "2.0", "id": self._number, "error": failed.to_json()}
            status = 200 if status_of is None else status_of(failed.code)
        finally:
            silence.cancel()
        if self.stream is None:
            is_whole = await self._answer(message, status)
        else:
            self.stream.add(message)
            self.stream.end()
            assert self._writing is not None
            is_whole = await self._writing
        if is_whole and not self._has_left:
            for mark in asked.on_delivered:
                mark()

    async def _answer(self, message: Mapping[str, Any], status: int) -> bool:
        await plain(self._send_watched, status, orjson.dumps(message), self._told)
        return True

    def _begin(self, name: str) -> EventStream:
        if self.stream is None:
            self.stream = EventStream(name)
            reader = (
                self.stream.enter()
            )  # at once: what is said of the stream before it is written is about this reader
            self._writing = asyncio.create_task(self.stream.write(self._send_watched, self._told, reader=reader))
        return self.stream

    def _break_silence(self) -> None:
        if self.can_stream:
            self._begin("")

    async def _send_watched(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._look()
        await self._send(message)

    def _look(self) -> None:
        """A server drops what is sent to a client that has left, and does not say so: ask, without waiting."""
        receiving = self._receive()
        try:
            receiving.send(None)  # type: ignore[attr-defined]
        except StopIteration as received:
            self._has_left = received.value["type"] == "http.disconnect"
        finally:
            receiving.close()  # type: ignore[attr-defined]


async def plain(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """Answer with a body that is there."""
    raw = [(name.encode(), said.encode()) for name, said in headers.items()]
    if body:
        raw.append((b"content-type", b"application/json"))
    raw.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
