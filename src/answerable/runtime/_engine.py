"""The engine that needs nothing but the store: dispatches from the slices table itself."""

import asyncio
import functools
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from answerable.core import Clock, RunId
from answerable.ledger import Leases
from answerable.runtime._line import Line
from answerable.runtime._ports import Advance, Advanced, Busy, Done, Retry

__all__ = ["StoreEngine"]

log = logging.getLogger("answerable.runtime")

_SWEEP = timedelta(seconds=5)
_BATCH = 256
_ON_ERROR = timedelta(seconds=5)
_HEAD_START_S = 0.25


class StoreEngine:
    """Advances runs in this process: on a wake at once, on a timer when it is due, and by a sweep otherwise.

    Args:
        sweep: how long a lost notification may go unnoticed.
    """

    def __init__(self, leases: Leases, clock: Clock, *, sweep: timedelta = _SWEEP) -> None:
        self._leases = leases
        self._clock = clock
        self._sweep_s = sweep.total_seconds()
        self._line = Line(leases.place)
        self._active: dict[RunId, asyncio.Task[None]] = {}
        self._again: set[RunId] = set()
        self._later: dict[RunId, float] = {}  # when, by a clock that nobody sets
        self._others: set[RunId] = set()
        self._news = asyncio.Event()
        self._has_more = False
        self._look_at: float | None = None
        leases.listen(self._told, hint=self._hinted)

    def notify(self, run: RunId, *, not_before: datetime | None = None) -> None:
        """There may be something to do for this run."""
        wait_s = (not_before - self._clock.now()).total_seconds() if not_before is not None else 0.0
        if wait_s > 0:
            self._later[run] = self._clock.monotonic_s() + wait_s
        elif run in self._active:
            self._again.add(run)
        elif run not in self._line:
            self._line.add(run)
        self._news.set()

    async def serve(self, advance: Advance, *, slots: int = 100) -> None:
        """Advance runs, at most `slots` at a time, until cancelled; effects under way are then finished first."""
        self._leases.serving()
        self._sweep(slots)
        try:
            while True:
                self._dispatch(advance, slots)
                if self._has_more and len(self._active) < slots:
                    self._sweep(slots)
                    continue
                if self._look_at is not None and self._look_at <= self._clock.monotonic_s():
                    self._sweep(slots)
                    continue  # what it found is dispatched first
                self._news.clear()
                try:
                    async with asyncio.timeout(self._pause_s()):
                        await self._news.wait()
                except TimeoutError:
                    self._sweep(slots)
        finally:
            tasks = list(self._active.values())
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def retire(self, run: RunId) -> None:
        """The run is over: forget it."""
        self._later.pop(run, None)
        self._others.discard(run)
        self._again.discard(run)

    def _told(self, runs: Sequence[str]) -> None:
        for run in runs:
            self.notify(RunId(run))

    def _hinted(self, is_serving: bool) -> None:
        """Another worker woke runs: if it advances runs itself, it has a moment's start."""
        at = self._clock.monotonic_s() + (_HEAD_START_S if is_serving else 0.0)
        self._look_at = at if self._look_at is None else min(at, self._look_at)
        self._news.set()

    def _dispatch(self, advance: Advance, slots: int) -> None:
        while self._line and len(self._active) < slots:
            run = self._line.take()
            self._active[run] = task = asyncio.create_task(self._advance(run, advance))
            # Also by callback: a task that is cancelled before its first step never gets to a `finally`.
            task.add_done_callback(functools.partial(self._ended, run))

    async def _advance(self, run: RunId, advance: Advance) -> None:
        answer: Advanced
        try:
            answer = await advance(run)
        except Exception:
            log.exception("run %s could not be advanced", run)
            answer = Retry(self._clock.now() + _ON_ERROR)
        self._ended(run, asyncio.current_task())
        if isinstance(answer, Busy) and run in self._again:
            # Taken for this worker while it asked whether it might have it: so it may, and nobody else will.
            self._again.discard(run)
            self.notify(run)
        elif isinstance(answer, Busy):
            self._others.add(run)
            self.notify(run, not_before=answer.retry_at + timedelta(milliseconds=50))
        elif isinstance(answer, Retry):
            self.notify(run, not_before=answer.at)
        elif isinstance(answer, Done):
            self._again.discard(run)  # woken by its own end
        elif run in self._again:
            # A wake that came too late for the slice left the run ready; one the slice saw did not.
            self._again.discard(run)
            standing = self._leases.standing(run)
            if standing is not None and standing.is_unserved:
                self.notify(run)

    def _ended(self, run: RunId, task: "asyncio.Task[None] | None") -> None:
        if self._active.get(run) is task:
            del self._active[run]
            self._line.leave(run)
            self._news.set()

    def _sweep(self, slots: int) -> None:
        now, self._look_at = self._clock.monotonic_s(), None
        for run in [run for run, at in self._later.items() if at <= now]:
            del self._later[run]
            self._others.discard(run)
            self.notify(run)
        # No more than there is room for: what one worker takes is not there for the others.
        begun = len(self._active) + len(self._line)
        limit = min(_BATCH, slots - begun)
        found = self._leases.take(limit, besides=begun) if limit > 0 else []
        for run in self._others.intersection(found):  # whoever had it has let go of it: there is nothing to wait for
            self._others.discard(run)
            self._later.pop(run, None)
        fresh = [run for run in found if run not in self._active and run not in self._later and run not in self._line]
        for run in found:
            if run in self._active:  # by a slice that lost it, and will see so
                self._again.add(run)
        for run in fresh:
            self.notify(run)
        self._has_more = len(found) >= limit > 0 and bool(fresh)

    def _pause_s(self) -> float:
        """Until the next sweep, or the next thing that is due."""
        now = self._clock.monotonic_s()
        pauses = [self._sweep_s, *(at - now for at in self._later.values())]
        if self._look_at is not None:
            pauses.append(self._look_at - now)
        if (timer := self._leases.next_due()) is not None:
            pauses.append((timer - self._clock.now()).total_seconds())
        return max(0.001, min(pauses))
