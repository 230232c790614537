"""One HTTP request and its answer, and whether whoever asked is still there to read it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from starlette.types import Receive, Scope, Send

__all__ = ["BodyTooLarge", "Exchange"]


# How soon a client that has left is noticed while it waits. MEASURED: a task that watches from the start, for calls
# that are over before that, took 3 % of them.
_NOTICED_S = 0.02


class BodyTooLarge(Exception):
    """The request's body is beyond what is read. Control flow between an exchange and its endpoint."""


class Exchange:
    """The endpoint's side of one request.

    A server drops what is sent to a client that has left, and does not say so; so an exchange watches, from
    soon after its body is read, and looks once more before its answer ends.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Of a header that is sent twice, the first counts.
        self.headers: Mapping[str, str] = {
            name.decode("latin-1"): said.decode("latin-1") for name, said in reversed(scope["headers"])
        }
        self._receive = receive
        self._send = send
        self._on_leave: Callable[[], None] | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._watching: asyncio.Task[None] | None = None
        self._is_answered = False
        self._has_left = False

    async def body(self, *, most_bytes: int) -> bytes:
        """What was sent, whole.

        Raises:
            BodyTooLarge: it is longer than `most_bytes`; no more of it was read.
        """
        parts: list[bytes] = []
        size = 0
        is_whole = False
        while not is_whole:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._has_left = True
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most_bytes:
                raise BodyTooLarge
            is_whole = not message.get("more_body", False)
        else:
            self._soon = asyncio.get_running_loop().call_later(_NOTICED_S, self._begin_watch)
        return b"".join(parts)

    def on_leave(self, told: Callable[[], None]) -> None:
        """Call this once if whoever asked leaves before the answer's end; at once if that has happened."""
        self._on_leave = told
        if self._has_left:
            told()

    @property
    def has_left(self) -> bool:
        """Whether whoever asked is gone, as far as the connection knows."""
        return self._has_left

    async def answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send the answer."""
        await self._begin(status, {**headers, "content-length": str(len(body))})
        await self._end(body)

    async def stream(self, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> None:
        """Send a 200 as its chunks come."""
        await self._begin(200, headers)
        async for chunk in chunks:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._end(b"")

    async def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        raw = [(name.encode("latin-1"), said.encode("latin-1")) for name, said in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def _end(self, body: bytes) -> None:
        if self._soon is not None:
            self._soon.cancel()
        if self._watching is None:
            self._look()
        self._is_answered = True  # from here on the server says `http.disconnect` of itself
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def _begin_watch(self) -> None:
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left()

    def _look(self) -> None:
        """Ask whether the client has left, without waiting."""
        receiving = self._receive()
        try:
            receiving.send(None)  # type: ignore[attr-defined]
        except StopIteration as received:
            if received.value["type"] == "http.disconnect":
                self._left()
        finally:
            receiving.close()  # type: ignore[attr-defined]

    def _left(self) -> None:
        if not self._is_answered and not self._has_left:
            self._has_left = True
            if self._on_leave is not None:
                self._on_leave()
