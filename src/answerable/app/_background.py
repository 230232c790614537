"""What a gate does beside the road, for as long as it is open."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from answerable.policy import Approvals

__all__ = ["background", "expire"]

_log = logging.getLogger(__name__)
_LONGEST_NAP_S = 60.0


@contextlib.asynccontextmanager
async def background(*work: Any) -> AsyncIterator[None]:
    """Work that goes on while the block runs, and ends with it."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                _log.error("background work of the gate failed", exc_info=ended)


async def expire(approvals: Approvals) -> None:
    """Deny approvals that nobody answered in time."""
    while True:
        await approvals.expire_due()
        due = approvals.next_due()
        wait_s = (due - approvals.clock.now()).total_seconds() if due else _LONGEST_NAP_S
        await asyncio.sleep(min(max(wait_s, 0.05), _LONGEST_NAP_S))
