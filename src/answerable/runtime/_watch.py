"""Notices when every task of a slice is suspended, without polling."""

import asyncio
from collections.abc import Callable
from typing import Any

from answerable.runtime._calls import SliceFuture
from answerable.runtime._tasks import is_about_to_move

__all__ = ["TaskWatch"]

# A finished child wakes its parent through up to this many callbacks in a row (wait_for in a task
# group in a shield …), during which every task looks suspended. `gather` is looked into instead.
_HOPS = 6


class TaskWatch:
    """The tasks of one slice, and whether any of them is about to run.

    Args:
        on_still: called when each of them is suspended; may be called again without a change.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_still: Callable[[], None]) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self._loop = loop
        self._on_still = on_still
        self._handle: asyncio.Handle | None = None
        self._one_finished = False
        self._last: list[asyncio.Future[Any]] = []
        self._hops = 0

    def track(self, task: asyncio.Task[Any]) -> None:
        """Watch a task from before its first step until it is done."""
        self.tasks.add(task)
        task.add_done_callback(self._finished)

    def poke(self) -> None:
        """Look once the tasks that are about to run have run."""
        if self._handle is None:
            self._handle = self._loop.call_soon(self._look_again)

    def hush(self) -> None:
        """Do not look after all: nothing can be handed back, and whoever works for the slice looks when done."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def look(self) -> None:
        """Look now: where every task awaits a slice's future, nothing needs to be waited for."""
        if not self._one_finished and self._waiters(directly=True) is not None:
            self._on_still()
        else:
            self.poke()

    def stop(self) -> None:
        """Look no more."""
        if self._handle is not None:
            self._handle.cancel()
        self._on_still = _nothing

    def _look_again(self) -> None:
        self._handle = None
        if self._one_finished or self._waiters(directly=True) is None:
            waiters = self._waiters(directly=False)
            if waiters is None or waiters != self._last or self._one_finished:
                self._one_finished = False
                self._last, self._hops = waiters or [], 0
                self.poke()
                return
            self._hops += 1
            if self._hops < _HOPS:
                self.poke()
                return
        self._last, self._hops = [], 0
        self._on_still()

    def _waiters(self, *, directly: bool) -> list[asyncio.Future[Any]] | None:
        """What each task is suspended on; None where one is about to run (or awaits anything but a slice's future)."""
        waiters: list[asyncio.Future[Any]] = []
        for task in self.tasks:
            waiter = task._fut_waiter  # type: ignore[attr-defined]
            if waiter is None or waiter.done():
                return None
            if type(waiter) is not SliceFuture and (directly or is_about_to_move(waiter)):
                return None
            waiters.append(waiter)
        return waiters

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        self._one_finished = True


def _nothing() -> None:
    pass
