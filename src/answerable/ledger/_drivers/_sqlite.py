"""The SQLite store: one writer, group commit, nothing that leaves the gate before it is on disk.

Statements run on the event loop; only COMMIT, which waits for the disk, runs on the writer thread, while the
loop gathers the next batch: unless there is nothing to gather, or so little to gain that the loop commits itself
(`_pace`).

MEASURED: a thread that has to win the interpreter's lock waits until the loop has nothing left to do: the loop lets
go of it for moments only, in every statement. So the thread has it once, to begin, and the loop waits for that. With
100 runs a thread that also inserted rows, or began by itself, left the disk idle while the loop worked: 10 to 20 %
fewer steps. A driver that hops threads for each statement costs 20 times more.
"""

import asyncio
import contextlib
import functools
import itertools
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from answerable.core import EvidenceError, FaultPoint, reach
from answerable.ledger._drivers._pace import Pace
from answerable.ledger._ports import Batch
from answerable.ledger._schema import bring_up, new_sqlite
from answerable.ledger._sql import Prepared

__all__ = ["SqliteConnection", "SqliteStore", "SqliteWriter", "StoreDamaged", "connect"]

T = TypeVar("T")
B = TypeVar("B", bound=Batch)

_AT_ONCE = (50, 10)  # rows inserted by one statement
_LARGEST_BATCH = 512  # items: bounds how long the loop is held by one batch, about 40 ms
_SMALLEST_SHARE = 32
_WORTH_OVERLAPPING = 16
# How long what nobody waits for may wait for company: mostly the next intent of the same run, and one commit for both.
_COMPANY_S = 0.001
_WORTH_A_COMMIT = 64

# MEASURED: unless told how to adapt bytes and NULL, the driver searches their types for a way each time it binds one.
# These two give back what they are given, and quicker than any other function would: 1.5 µs less a receipt. They hold
# for the whole process: where the application has told the driver something else, that stands.
_ITSELF: dict[type[Any], Callable[[Any], Any]] = {bytes: bytes.__bytes__, type(None): {}.get}
for _kind, _itself in _ITSELF.items():
    if (_kind, sqlite3.PrepareProtocol) not in sqlite3.adapters:
        sqlite3.register_adapter(_kind, _itself)


@dataclass(eq=False, kw_only=True)
class StoreDamaged(EvidenceError):
    """The database file is not what was written."""

    code = "evidence.store_damaged"
    what = "the store `{path}` cannot be read: {reason}"
    why = "the file is damaged, or is not an Answerable store"
    fix = "stop the gate, keep a copy of the file, and restore the data directory from a backup"

    path: str
    reason: str


class SqliteConnection:
    """One connection, with statements compiled once."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw

    def rows(self, statement: Prepared, /, **params: Any) -> list[Any]:
        """The rows a query finds."""
        try:
            return self.raw.execute(statement.sqlite, statement.arrange(params)).fetchall()
        except sqlite3.DatabaseError as error:
            raise _told(self.raw, error) from None

    def run(self, statement: Prepared, /, **params: Any) -> int:
        """The number of rows a statement changed."""
        try:
            return self.raw.execute(statement.sqlite, statement.arrange(params)).rowcount
        except sqlite3.DatabaseError as error:
            raise _told(self.raw, error) from None

    def insert(self, statement: Prepared, rows: Sequence[Sequence[Any]], /) -> None:
        """Insert rows of values, given in the order of the statement's parameters.

        MEASURED: each of fifty rows in one statement takes a fifth to a third less than by itself, if the statement
        begins with `INSERT OR ROLLBACK`. Else SQLite copies every page that it changes, and it takes a third more.
        """
        done = 0
        try:
            for size in _AT_ONCE:
                while len(rows) - done >= size:
                    values = itertools.chain.from_iterable(rows[done : done + size])
                    self.raw.execute(statement.of_rows(size), tuple(values))
                    done += size
            self.raw.executemany(statement.sqlite, rows[done:])
        except sqlite3.DatabaseError as error:
            raise _told(self.raw, error) from None

    def each(self, statement: Prepared) -> Iterator[Any]:
        """The rows a query finds, one at a time."""
        try:
            yield from self.raw.execute(statement.sqlite)
        except sqlite3.DatabaseError as error:
            raise _told(self.raw, error) from None

    @contextlib.contextmanager
    def transaction(self, *, only_reads: bool = False) -> Iterator[None]:
        """What is done in the block is on disk together or not at all, and nobody else writes meanwhile."""
        self.raw.execute("BEGIN" if only_reads else "BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self.raw.in_transaction:  # `OR ROLLBACK`, or a full disk, ends it by itself
                self.raw.execute("ROLLBACK")
            raise
        self.raw.execute("COMMIT")

    def close(self) -> None:
        """Let go of the file."""
        self.raw.close()


def _told(raw: sqlite3.Connection, error: sqlite3.DatabaseError) -> Exception:
    """Damage as what it is; anything else (a broken uniqueness, a full disk) as the driver said it."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return error
    path = raw.execute("PRAGMA database_list").fetchone()[2]
    return StoreDamaged(path=path, reason=str(error))


class SqliteStore:
    """A record in a file, written by the one process that owns its directory."""

    is_shared = False

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def address(self) -> str:
        """The file."""
        return str(self._path)

    def exists(self) -> bool:
        """Whether the file is there."""
        return self._path.exists()

    def connect(self, *, writable: bool) -> "SqliteConnection":
        """A connection to the file."""
        return connect(self._path, writable=writable)

    def scrub(self) -> bool:
        """Have nothing of dropped rows in the write-ahead log; False where somebody reads an old moment still.

        The pages themselves are overwritten as rows go (`secure_delete`).
        """
        with contextlib.closing(self.connect(writable=True)) as connection:
            # Briefly: meanwhile nobody writes.
            connection.raw.execute("PRAGMA busy_timeout=50")
            return bool(connection.raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)

    def upgrade(self) -> None:
        """Bring the file to this version's schema."""
        with contextlib.closing(self.connect(writable=True)) as connection:
            raw = connection.raw
            if not raw.execute("SELECT 1 FROM sqlite_master").fetchone() and (script := new_sqlite()):
                _make(raw, script)
            try:
                found = raw.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            except sqlite3.OperationalError:
                found = ""
        bring_up(self.address, found, self.engine)

    def engine(self) -> sa.Engine:
        """For migrations: each transaction begins by keeping other writers out."""
        engine = sa.create_engine(f"sqlite:///{self._path}")

        @sa.event.listens_for(engine, "connect")
        def explicit_transactions(driver: sqlite3.Connection, record: Any) -> None:
            driver.isolation_level = None  # the driver would otherwise commit before DDL

        @sa.event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine


def _make(raw: sqlite3.Connection, script: str) -> None:
    """Run the whole script, unless somebody else did meanwhile."""
    raw.execute("BEGIN IMMEDIATE")
    try:
        if not raw.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in script.splitlines():
                raw.execute(statement)
        raw.execute("COMMIT")
    except BaseException:
        if raw.in_transaction:  # a full disk ends it by itself
            raw.execute("ROLLBACK")
        raise


def connect(path: Path, *, writable: bool) -> SqliteConnection:
    """A connection to the store, durable at every commit (`synchronous=FULL`).

    Raises:
        StoreDamaged: the file is no SQLite database, or its pages are broken.
    """
    mode = "rwc" if writable else "ro"
    try:
        raw = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            timeout=30,
        )
        if writable:
            raw.execute("PRAGMA journal_mode=WAL")
            raw.execute("PRAGMA synchronous=FULL")
            raw.execute("PRAGMA secure_delete=ON")
            raw.execute("PRAGMA wal_autocheckpoint=4000")
        else:
            raw.execute("PRAGMA query_only=ON")
        raw.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        raise StoreDamaged(path=str(path), reason=str(error)) from None
    return SqliteConnection(raw)


class _WriteAheadLog:
    """Keeps the file longer than what is in it, up to where SQLite begins to write it over again.

    MEASURED: a commit that makes its file longer waits for the file system's own journal, too: 0.55 ms instead of 0.27.
    What stands behind the last frame is nothing to SQLite, zeros as little as frames of an earlier round.
    """

    _ZEROS = bytes(1 << 20)

    def __init__(self, store: str) -> None:
        self._path = f"{store}-wal"
        self._file = -1
        self._length = 0

    def keep_ahead(self) -> None:
        """After a commit, and on whichever thread that was: nobody else writes the file."""
        try:
            if self._file < 0:
                self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            length = os.fstat(self._file).st_size
            if length > self._length:
                length += os.write(self._file, self._ZEROS)
            self._length = length
        except OSError:
            return  # of a full disk SQLite will speak; else commits are a little slower

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)


def _now(function: Callable[..., object], *arguments: object) -> None:
    function(*arguments)


_Landed = Callable[[Exception | None], None]
_Item = tuple[Callable[[Any], Any], "asyncio.Future[Any]", _Landed | None]
"""Work for a transaction, who hears of its result, and who that it is on disk."""


def _fail(item: _Item, error: Exception) -> None:
    _, future, landed = item
    if not future.done():
        future.set_exception(error)
    elif landed is not None:
        landed(error)


class SqliteWriter(Generic[B]):
    """Runs functions inside transactions, many to a commit.

    A function that raises fails alone: the batch is rolled back and done again without it.
    INVARIANT: whoever did not ask to be told earlier is answered only after the commit that holds their work.

    Args:
        begin: makes a batch; of a transaction that is done again, in the place of the one given.
        pace: says how many share a commit, and who makes it; by default one that begins to measure.
    """

    def __init__(
        self, connection: SqliteConnection, begin: Callable[[B | None], B], *, pace: Pace | None = None
    ) -> None:
        self._connection = connection
        self._log = _WriteAheadLog(connection.raw.execute("PRAGMA database_list").fetchone()[2])
        self._begin = begin
        self._batch: B | None = None
        self._undone: B | None = None
        self._items: list[_Item] = []
        self._results: list[Any] = []
        self._early: list[_Item] = []
        self._waiting: list[_Item] = []
        self._loop = asyncio.get_running_loop()
        self._committing = False
        self._scheduled: asyncio.Handle | None = None
        self._is_soon = False  # what is scheduled is no timer
        self._pace = pace or Pace()
        self._tell = self._loop.call_soon_threadsafe
        self._closed: asyncio.Future[None] | None = None
        self._commits: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._begun: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="answerable-commit", daemon=True)
        self._thread.start()

    def submit(
        self, work: Callable[[B], T], *, landed: Callable[[Exception | None], None] | None = None
    ) -> "asyncio.Future[T]":
        """Have `work` done in the next transaction; its result comes when that is on disk.

        Cancelling the future does not undo the work.

        Args:
            landed: if given, the result comes as soon as the work is done, before it is on disk. What is
                submitted later is never on disk without it. Called when it is on disk, or with what kept it
                from there; not if the work itself raised.
        """
        if self._closed is not None:
            raise RuntimeError("the store is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        item = (work, future, landed)
        if landed is None:
            self._waiting.append(item)
            if not self._is_soon:
                self._schedule(0)
        elif self._committing:
            self._early.append(item)
        else:
            self._join([item])
            self._schedule(_COMPANY_S if len(self._items) < _WORTH_A_COMMIT else 0)
        return future

    async def close(self) -> None:
        """Finish what was submitted, then stop."""
        if self._closed is None:
            self._closed = self._loop.create_future()
            self._schedule(0)
        await self._closed
        self._commits.put(None)
        self._thread.join()
        self._log.close()

    def _schedule(self, delay_s: float) -> None:
        """Commit soon: at the end of this turn of the loop, or after a while in which more may join."""
        if self._committing or self._is_soon:
            return
        if self._scheduled is not None:
            if delay_s:
                return
            self._scheduled.cancel()
        self._is_soon = not delay_s
        self._scheduled = self._loop.call_later(delay_s, self._flush) if delay_s else self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled, self._is_soon = None, False
        self._take_in(self._share(len(self._items) + len(self._waiting)))

    def _take_in(self, share: int) -> None:
        """Do the work of those who wait, and commit it with what is done already."""
        items, self._waiting = self._waiting[:share], self._waiting[share:]
        self._join(items)
        if not self._items:
            self._next()
            return
        batch, items, results = self._batch, self._items, self._results
        assert batch is not None
        self._batch, self._items, self._results = None, [], []
        try:
            batch.prepare()
        except Exception as error:  # noqa: BLE001 - goes to whoever submitted the work: nobody is to blame, but all fail
            self._failed(items, error)
            return
        self._committing = True
        self._pace.worked(len(items))
        if not self._waiting and self._pace.is_for_the_loop(len(items)):
            self._commit(batch, items, results, tell=_now)
        else:
            self._commits.put(functools.partial(self._commit, batch, items, results, self._tell))
            self._begun.get()

    def _join(self, items: Sequence[_Item]) -> None:
        """Do this work in the open transaction, which is begun if there is none."""
        for item in items:
            work, future, landed = item
            try:
                if self._batch is None:
                    self._connection.raw.execute("BEGIN IMMEDIATE")
                    self._batch, self._undone = self._begin(self._undone), None
                result = work(self._batch)
            except Exception as error:  # noqa: BLE001 - goes to whoever submitted the work
                _fail(item, error)
                self._redo()
            else:
                self._items.append(item)
                self._results.append(result)
                if landed is not None and not future.done():
                    future.set_result(result)

    def _redo(self) -> None:
        """Begin the open transaction anew, without the work that raised: that may have been half done."""
        self._rollback()
        items = self._items
        self._undone = self._batch if items else None
        self._items, self._results, self._batch = [], [], None
        self._join(items)

    def _share(self, count: int) -> int:
        """How many of those waiting go into the next batch, of `count` who take part.

        Half of many: while the disk takes one half, the loop works for the other (`_committed`). All at
        once, every run would wait for the same commit, and nobody would be left to work.
        """
        if self._pace.is_one_commit_best(count):
            return _LARGEST_BATCH
        return min(max(count // 2 - len(self._items), _SMALLEST_SHARE), _LARGEST_BATCH)

    def _serve(self) -> None:
        while work := self._commits.get():
            self._begun.put(None)
            work()

    def _commit(self, batch: B, items: Sequence[_Item], results: list[Any], tell: Callable[..., object]) -> None:
        try:
            began = self._pace.now()
            reach(FaultPoint.BEFORE_COMMIT)
            self._connection.raw.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - goes to everyone in the batch
            tell(self._failed, items, error)
        else:
            self._pace.committed(began, len(items))
            self._log.keep_ahead()
            reach(FaultPoint.AFTER_COMMIT)
            tell(self._committed, batch, items, results)

    def _committed(self, batch: B, items: Sequence[_Item], results: list[Any]) -> None:
        self._committing = False
        batch.publish()
        early, self._early = self._early, []
        self._join(early)
        ready = len(self._items) + len(self._waiting)
        if ready >= _WORTH_OVERLAPPING and not self._pace.is_one_commit_best(ready + len(items)):
            # First the disk gets its next batch, then the loop turns to those who have their answer: it works
            # for them while the disk works for the others. MEASURED: with 100 runs 15–25 % more steps.
            self._take_in(self._share(ready + len(items)))
        for (_, future, landed), result in zip(items, results, strict=True):
            if landed is not None:
                landed(None)
            elif not future.done():
                future.set_result(result)
        self._next()

    def _failed(self, items: Sequence[_Item], error: Exception) -> None:
        self._committing = False
        self._rollback()
        for item in items:
            _fail(item, error)
        early, self._early = self._early, []
        self._join(early)
        self._next()

    def _next(self) -> None:
        if self._committing or self._scheduled is not None:
            return
        if self._waiting:
            # The futures answered just now wake their tasks first: what those submit joins the next batch.
            self._schedule(0)
        elif self._items:
            self._schedule(_COMPANY_S if self._closed is None else 0)
        elif self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def _rollback(self) -> None:
        if self._connection.raw.in_transaction:
            self._connection.raw.execute("ROLLBACK")
