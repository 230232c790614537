"""Work that was answered before it is on disk."""

import asyncio
from collections.abc import Callable

from answerable.core import FaultPoint, reach

__all__ = ["Landing"]


class Landing:
    """Whether what has its place in the record is on disk, for somebody who waits for that, or does not."""

    def __init__(self, lost: Callable[[Exception], None]) -> None:
        self._lost = lost
        self._has_landed = self._is_released = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def landed(self, error: Exception | None) -> None:
        """It is on disk, or will not be."""
        self._has_landed, self._error = True, error
        if error is None:
            reach(FaultPoint.AFTER_OUTCOME)
        elif self._is_released:
            self._lost(error)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def release(self) -> None:
        """Nobody waits any more: if it does not land, `lost` is told."""
        if self._error is not None:
            raise self._error
        self._is_released = True

    async def on_disk(self) -> None:
        """Return once it is on disk, or raise what kept it from there."""
        if not self._has_landed:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None:
            raise self._error
