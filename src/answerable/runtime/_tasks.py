"""Which tasks belong to a slice, and what each of them waits for.

A task factory, installed once per loop, tells a slice of every task its agent starts. What a
suspended task waits for is read from asyncio's own bookkeeping, only when a slice has nothing
else to do.
"""

import asyncio
import asyncio.taskgroups
import asyncio.tasks
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context, ContextVar
from datetime import timedelta
from types import CoroutineType, FrameType, GeneratorType
from typing import Any, Protocol

from answerable.runtime._calls import SliceFuture

__all__ = [
    "TaskOwner",
    "current_slice",
    "end_tasks",
    "foreign_waits",
    "install_task_factory",
    "is_about_to_move",
    "waiter_of",
]

_Gathering: type[asyncio.Future[Any]] = asyncio.tasks._GatheringFuture  # type: ignore[attr-defined]


class TaskOwner(Protocol):
    """A slice, as far as the task factory knows it."""

    def track(self, task: asyncio.Task[Any]) -> None:
        """Called for each task started from within the slice, before its first step."""


current_slice: ContextVar[TaskOwner | None] = ContextVar("answerable_slice", default=None)


def install_task_factory(loop: asyncio.AbstractEventLoop) -> None:
    """Have the loop tell slices of their tasks; a factory already there goes on making the tasks."""
    previous = loop.get_task_factory()
    if getattr(previous, "tells_slices", False):
        return

    def factory(
        loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], *, context: Context | None = None, **more: Any
    ) -> asyncio.Future[Any]:
        owner = current_slice.get() if context is None else context.get(current_slice)
        make: Callable[..., asyncio.Future[Any]] | None = previous
        if make is None:
            task: asyncio.Future[Any] = asyncio.Task(coro, loop=loop, context=context, **more)
        else:
            task = make(loop, coro, **({} if context is None else {"context": context}), **more)
        if owner is not None and isinstance(task, asyncio.Task):
            owner.track(task)
        return task

    factory.tells_slices = True  # type: ignore[attr-defined]
    loop.set_task_factory(factory)  # type: ignore[arg-type]


async def end_tasks(tasks: Iterable[asyncio.Task[Any]], limit: timedelta) -> int:
    """Cancel the tasks and wait for their end; the number that ignored it for as long as `limit`."""
    ending = {task for task in tasks if task is not asyncio.current_task()}
    for task in ending:
        task.cancel()
    if not ending:
        return 0
    _, left = await asyncio.wait(ending, timeout=limit.total_seconds())
    return len(left)


def waiter_of(task: asyncio.Task[Any]) -> asyncio.Future[Any] | None:
    """What the task is suspended on; None while it is about to run."""
    waiter: asyncio.Future[Any] | None = task._fut_waiter  # type: ignore[attr-defined]
    return None if waiter is None or waiter.done() else waiter


def is_about_to_move(waiter: asyncio.Future[Any]) -> bool:
    """Whether a `gather` has all it waits for, and only its callbacks have not run yet."""
    if not isinstance(waiter, _Gathering):
        return waiter.done()
    children: list[asyncio.Future[Any]] = waiter._children  # type: ignore[attr-defined]
    return all(is_about_to_move(child) for child in children)


def foreign_waits(tasks: Iterable[asyncio.Task[Any]], owned: set[asyncio.Task[Any]]) -> list[asyncio.Future[Any]]:
    """What the tasks wait for that is neither a slice's future nor a standard join of such tasks."""
    found: list[asyncio.Future[Any]] = []
    for task in tasks:
        waiter = waiter_of(task)
        if waiter is not None and not _is_durable(waiter, owned, task):
            found.append(waiter)
    return found


def _is_durable(waiter: asyncio.Future[Any], owned: set[asyncio.Task[Any]], task: asyncio.Task[Any] | None) -> bool:
    if isinstance(waiter, SliceFuture) or waiter in owned:
        return True
    if isinstance(waiter, _Gathering):
        return all(child.done() or _is_durable(child, owned, None) for child in waiter._children)  # type: ignore[attr-defined]
    if (inner := _shielded(waiter)) is not None:
        return inner.done() or _is_durable(inner, owned, None)
    if task is None:
        return False
    joined = _joined_by(_innermost_frame(task))
    return joined is not None and all(one.done() or _is_durable(one, owned, None) for one in joined)


def _shielded(outer: asyncio.Future[Any]) -> asyncio.Future[Any] | None:
    # `asyncio.shield` keeps the inner future nowhere but in the closure of its callback.
    for callback, *_ in outer._callbacks or ():
        if getattr(callback, "__qualname__", "") == "shield.<locals>._outer_done_callback":
            kept: Any = callback
            inner: asyncio.Future[Any] = kept.__closure__[kept.__code__.co_freevars.index("inner")].cell_contents
            return inner
    return None


def _innermost_frame(task: asyncio.Task[Any]) -> FrameType | None:
    at: Any = task.get_coro()
    frame: FrameType | None = None
    while True:
        if isinstance(at, CoroutineType):
            frame, at = at.cr_frame, at.cr_await
        elif isinstance(at, GeneratorType):
            frame, at = at.gi_frame, at.gi_yieldfrom
        else:
            return frame


def _joined_by(frame: FrameType | None) -> Iterable[asyncio.Future[Any]] | None:
    """The futures that the standard library (or anyio) waits for in this frame, if it is a join."""
    if frame is None:
        return None
    name, module = frame.f_code.co_name, frame.f_globals.get("__name__", "")
    if name == "__aexit__" and module in ("asyncio.taskgroups", "anyio._backends._asyncio"):
        group = frame.f_locals.get("self")
        tasks: set[asyncio.Future[Any]] | None = getattr(group, "_tasks", None)
        return tasks
    if module == "asyncio.tasks" and name == "_wait":
        waited: set[asyncio.Future[Any]] = frame.f_locals["fs"]
        return waited
    if module == "asyncio.tasks" and name == "wait_for":
        return (frame.f_locals["fut"],)
    return None
