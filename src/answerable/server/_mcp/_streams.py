"""Streams of server-sent events that a client can leave and come back to.

Source: Model Context Protocol 2025-11-25, "Transports: Resumability and Redelivery"; WHATWG HTML, "Server-sent events".
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Receive, Send

__all__ = ["EventStream"]

_QUIET_S = 15.0  # proxies hang up on streams that say nothing for a minute
_MOST_EVENTS = 1_000
_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}


class EventStream:
    """Events in order, written to whoever reads them.

    Args:
        name: makes its events recognizable, so that a reader can come back after any of them; empty where none can.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.is_over = False
        self._events: deque[bytes] = deque(maxlen=_MOST_EVENTS)
        self._count = 0
        self._readers = 0
        self._reader = 0
        self._paused_at = 0
        self._news = asyncio.Event()

    @property
    def is_read(self) -> bool:
        """Whether somebody is reading."""
        return self._reader > 0

    def add(self, message: Mapping[str, Any]) -> None:
        """Say something."""
        self._put(b"event: message\r\n", orjson.dumps(message))

    def prime(self, retry_ms: int | None) -> None:
        """Give the reader a place to come back to before anything is said."""
        self._put(b"" if retry_ms is None else b"retry: %d\r\n" % retry_ms, b"")

    def end(self) -> None:
        """Nothing more will be said."""
        self.is_over = True
        self._news.set()

    def enter(self) -> int:
        """A new reader, in the place of the one before."""
        self._readers += 1
        self._reader = self._readers
        self._news.set()
        return self._reader

    def pause(self) -> None:
        """Hang up on the reader, once it has what was said so far."""
        self._paused_at = self._count
        self._reader = 0
        self._news.set()

    async def write(self, send: Send, headers: Mapping[str, str], *, reader: int, after: int = 0) -> bool:
        """Write events as they come, until the last; whether that was reached.

        Args:
            reader: who entered.
            after: how many of them the reader has.
        """
        raw = [(name.encode(), said.encode()) for name, said in {**headers, **_HEADERS}.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        at = max(after, self._count - len(self._events))
        while True:
            is_paused = self._reader == 0
            if not is_paused and self._reader != reader:
                break
            self._news.clear()
            until = self._paused_at if is_paused else self._count
            if fresh := self._between(at, until):
                at = until
                await send({"type": "http.response.body", "body": fresh, "more_body": True})
                continue
            if self.is_over or is_paused:
                break
            try:
                async with asyncio.timeout(_QUIET_S):
                    await self._news.wait()
            except TimeoutError:
                await send({"type": "http.response.body", "body": b": still here\r\n\r\n", "more_body": True})
        is_whole = self.is_over and self._reader == reader
        if self._reader == reader:
            self._reader = 0
        await send({"type": "http.response.body", "body": b""})
        return is_whole

    async def write_until_left(
        self, send: Send, receive: Receive, headers: Mapping[str, str], *, after: int = 0
    ) -> None:
        """Write events until the reader leaves."""
        reader = self.enter()
        writing = asyncio.ensure_future(self.write(send, headers, reader=reader, after=after))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writing, leaving):
                task.cancel()
            await asyncio.wait((writing, leaving))
            if not writing.cancelled():
                with contextlib.suppress(OSError):
                    writing.result()
            elif self._reader == reader:
                self._reader = 0

    def _put(self, more: bytes, body: bytes) -> None:
        self._count += 1
        place = b"id: %b-%d\r\n" % (self.name.encode(), self._count) if self.name else b""
        self._events.append(b"%b%bdata: %b\r\n\r\n" % (place, more, body))
        self._news.set()

    def _between(self, at: int, until: int) -> bytes:
        if until <= at:
            return b""
        first = self._count - len(self._events)
        found = b"".join(list(self._events)[max(0, at - first) : until - first])
        if not self.name:
            self._events.clear()
        return found


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
