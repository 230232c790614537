"""Group commit on Postgres: the loop fills transactions and sends them, a thread waits for what becomes of them.

A thread that sent them would let the loop in at every statement, and wait 5 ms for its turn each time.

What happens to the connection is this file's business and nobody else's: a transaction that was in another's way
is done again; one whose server went away is done again when it is back; and if nobody knows whether it was
committed, its own mark in the store tells.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from answerable.core import FaultPoint, reach
from answerable.ledger._drivers._failures import ContendedError, StoreRefused, StoreUnreachable, TakenError
from answerable.ledger._drivers._postgres import PostgresConnection
from answerable.ledger._ports import Batch
from answerable.ledger._sql import Prepared

__all__ = ["Book", "PostgresWriter"]

T = TypeVar("T")
B = TypeVar("B", bound=Batch)
B_co = TypeVar("B_co", bound=Batch, covariant=True)

_Begun = list[Sequence[Any]]

log = logging.getLogger("answerable.ledger")

_LARGEST_BATCH = 512
_SMALLEST_SHARE = 32
_WORTH_OVERLAPPING = 16
_PAUSES_S = (0.05, 0.1, 0.2, 0.5)


class Book(Protocol[B_co]):
    """What knows the record: reads what others did as a transaction begins, and makes the batch."""

    def reads(self, after: Batch | None = None) -> list[tuple[Prepared, Sequence[Any]]]:
        """What to read when a transaction begins; `after` one that is about to be committed."""

    def has_committed(self, answers: Sequence[Sequence[Any]]) -> bool:
        """Whether the transaction whose commit nobody confirmed is on disk."""

    def take_in(self, answers: Sequence[Sequence[Any]]) -> None:
        """What others did since the last time."""

    def transaction(self) -> B_co:
        """A fresh batch."""

    def forget(self) -> None:
        """Something was not as remembered."""


class Item(NamedTuple):
    """Work for a transaction, and who hears of it: its result, and that it is on disk."""

    work: Callable[[Any], Any]
    future: "asyncio.Future[Any]"
    landed: Callable[[Exception | None], None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filled:
    """What the loop made of a transaction that has begun.

    Args:
        items: who is in it; nobody, if nobody waits any more.
        batch: its commit was sent, if all went well. None where it is to be done again, because somebody's work raised.
        error: the store's, which is nobody's fault.
    """

    items: list[Item]
    batch: Batch | None = None
    results: Sequence[Any] = ()
    error: Exception | None = None


class PostgresWriter(Generic[B]):
    """Runs functions inside transactions, many to a commit.

    Args:
        patience_s: how long what was submitted waits for a server that went away.
    """

    def __init__(self, connection: PostgresConnection, book: Book[B], *, patience_s: float) -> None:
        self._connection = connection
        self._book = book
        self._patience_s = patience_s
        self._waiting: list[Item] = []
        self._loop = asyncio.get_running_loop()
        self._is_running = False
        self._closed: asyncio.Future[None] | None = None
        self._turns: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._filled: queue.SimpleQueue[_Filled] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="answerable-commit", daemon=True)
        self._thread.start()

    def submit(
        self, work: Callable[[B], T], *, landed: Callable[[Exception | None], None] | None = None
    ) -> "asyncio.Future[T]":
        """Have `work` done in the next transaction; its result comes when that is on disk.

        It is called again if its transaction has to be done again. Cancelling the future does not undo it.
        """
        if self._closed is not None:
            raise RuntimeError("the store is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append(Item(work, future, landed))
        if not self._is_running:
            self._is_running = True
            self._loop.call_soon(self._turns.put, True)
        return future

    async def close(self) -> None:
        """Finish what was submitted, then stop."""
        if self._closed is None:
            self._closed = self._loop.create_future()
            if not self._is_running:
                self._closed.set_result(None)
        await self._closed
        self._turns.put(False)
        await asyncio.to_thread(self._thread.join)

    # -- on the thread ------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while self._turns.get():
            has_begun = self._turn(None)
            while has_begun:
                has_begun = self._turn(None, has_begun=True)

    def _turn(self, items: list[Item] | None, *, has_begun: bool = False) -> bool:
        """One transaction, until it is on disk or everyone in it was told why not; whether the next one has begun.

        Args:
            items: who is in it, if that is settled; else whoever waits when it has begun.
            has_begun: it has, and the loop was told so.
        """
        may_go_on = items is None
        give_up, pauses, has_looked = time.monotonic() + self._patience_s, iter(_PAUSES_S), False
        pending: _Filled | None = None  # its commit was sent, and not confirmed
        begun: _Begun | None = None  # what was read as the next one began
        while True:
            error: Exception
            try:
                if has_begun:
                    has_begun, filled = False, self._filled.get()
                else:
                    answers = self._connection.begin(*self._book.reads())
                    if pending is not None and self._book.has_committed(answers):
                        self._connection.roll_back()
                        break
                    pending, filled = None, self._on_loop(answers, items, has_looked, may_go_on)
                items, pending = filled.items, filled if filled.batch is not None else None
                if filled.error is not None:
                    raise filled.error
                if pending is None:
                    self._connection.roll_back()
                    if items:
                        continue
                    self._loop.call_soon_threadsafe(self._next)
                    return False
                begun = self._connection.committed()
                break
            except StoreUnreachable as raised:
                error = raised
            except (ContendedError, TakenError) as raised:
                pending, error = None, raised
                if isinstance(raised, TakenError) and has_looked:
                    self._split(items or [], raised)
                    return False
                has_looked = has_looked or isinstance(raised, TakenError)
            except Exception as raised:  # noqa: BLE001 - goes to whoever submitted the work
                self._split(items, raised)
                return False
            self._connection.roll_back()
            if time.monotonic() > give_up and not isinstance(
                error, TakenError
            ):  # which is looked at once, however late
                self._loop.call_soon_threadsafe(self._failed, items, error)
                return False
            if not has_looked:
                time.sleep(next(pauses, _PAUSES_S[-1]))
        reach(FaultPoint.AFTER_COMMIT)
        self._loop.call_soon_threadsafe(self._committed, pending, begun)
        return begun is not None

    def _on_loop(self, answers: _Begun, items: list[Item] | None, has_looked: bool, may_go_on: bool) -> _Filled:
        self._loop.call_soon_threadsafe(self._fill, answers, items, has_looked, may_go_on)
        return self._filled.get()

    def _split(self, items: list[Item] | None, error: Exception) -> None:
        """The store refuses what one of them did: each gets a transaction of its own, and that one the error."""
        self._connection.roll_back()
        if items is None or len(items) <= 1:
            self._loop.call_soon_threadsafe(self._failed, items, error)
            return
        for item in items:
            self._turn([item])

    # -- on the loop --------------------------------------------------------------------------------------------------

    def _fill(
        self, answers: _Begun, items: list[Item] | None = None, has_looked: bool = False, may_go_on: bool = True
    ) -> None:
        if items is None:
            share = min(max(len(self._waiting) // 2, _SMALLEST_SHARE), _LARGEST_BATCH)
            items, self._waiting = self._waiting[:share], self._waiting[share:]
        try:
            self._filled.put(self._work(answers, items, has_looked, may_go_on))
        except Exception as error:  # noqa: BLE001 - the thread says to whom it goes
            self._filled.put(_Filled(items=items, error=error))

    def _work(self, answers: _Begun, items: list[Item], has_looked: bool, may_go_on: bool) -> _Filled:
        if has_looked:
            self._book.forget()
        self._book.take_in(answers)
        if not items:
            return _Filled(items=[])
        batch = self._book.transaction()
        results: list[Any] = []
        for at, (work, future, _) in enumerate(items):
            try:
                results.append(work(batch))
            except (StoreUnreachable, StoreRefused, ContendedError, TakenError):
                raise
            except Exception as error:  # noqa: BLE001 - goes to whoever submitted the work
                if not future.done():
                    future.set_exception(error)
                return _Filled(items=items[:at] + items[at + 1 :])
        batch.prepare()
        reach(FaultPoint.BEFORE_COMMIT)
        filled = _Filled(items=items, batch=batch, results=results)
        # MEASURED: where processes wait for a CPU, half as many turns are nearly twice as many steps.
        and_begin = self._book.reads(batch) if may_go_on and self._waiting else None
        try:
            self._connection.send_commit(and_begin)
        except StoreUnreachable as error:  # nobody knows how much of it was sent
            return replace(filled, error=error)
        return filled

    def _committed(self, filled: _Filled, begun: _Begun | None) -> None:
        assert filled.batch is not None
        filled.batch.publish()
        is_going_on = begun is not None or len(self._waiting) >= _WORTH_OVERLAPPING
        # The server gets its next transaction before the loop turns to those who have their answer.
        if begun is not None:
            self._fill(begun)
        elif is_going_on:
            self._turns.put(True)
        for (_, future, landed), result in zip(filled.items, filled.results, strict=True):
            if landed is not None:
                landed(None)
            if not future.done():
                future.set_result(result)
        if not is_going_on:
            self._next()

    def _failed(self, items: list[Item] | None, error: Exception) -> None:
        if items is None:
            items, self._waiting = self._waiting, []
        for _, future, _ in items:
            if not future.done():
                future.set_exception(error)
        self._next()

    def _next(self) -> None:
        # Those answered just now wake their tasks first: what they submit joins the next transaction.
        if self._waiting:
            self._loop.call_soon(self._turns.put, True)
            return
        self._is_running = False
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
