"""The way of one answer from the provider to the agent, while the road records it."""

import asyncio
from collections import deque

from answerable.core import ReceiptId

__all__ = ["Passage"]


class Passage:
    """Carries bytes from the effect, which the gate owns, to a connection, which may break at any time.

    Attributes:
        intent: the receipt under which the provider is asked, once it is.
        rejected: status and body of a provider that refused the call.
    """

    def __init__(self) -> None:
        self.intent = ReceiptId("")
        self.rejected: tuple[int, bytes] | None = None
        self.has_sent = False
        self.is_left = False
        self._chunks: deque[bytes | None] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._clock: asyncio.Timeout | None = None

    def begin(self, intent: ReceiptId, clock: asyncio.Timeout) -> None:
        """The effect begins; `clock` bounds what it waits for."""
        self.intent = intent
        self._clock = clock

    def within(self, seconds: float) -> None:
        """The next byte is due within this time."""
        if self._clock is not None and not self.is_left:
            self._clock.reschedule(asyncio.get_running_loop().time() + seconds)

    def send(self, chunk: bytes) -> None:
        """Bytes for the agent."""
        self.has_sent = True
        self._put(chunk)

    def leave(self) -> None:
        """The agent is gone: nothing more is asked of the provider."""
        self.is_left = True
        if self._clock is not None and not self._clock.expired():
            self._clock.reschedule(asyncio.get_running_loop().time())

    def end(self) -> None:
        """The effect is over."""
        self._clock = None
        self._put(None)

    async def next(self) -> bytes | None:
        """The next bytes for the agent; None at the end."""
        while not self._chunks:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._chunks.popleft()

    def _put(self, chunk: bytes | None) -> None:
        self._chunks.append(chunk)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
