"""The SQLite store: one writer, group commit, nothing answered before it is on disk.

Statements run on the event loop; only COMMIT, which waits for the disk, runs on the writer thread,
while the loop prepares and gathers the next batch.

MEASURED: committing on the thread and preparing on the loop is worth 10–25 % at 100 runs over doing
both on the thread; a driver that hops threads per statement costs 20 times more.
"""

import asyncio
import contextlib
import functools
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from answerable.core import EvidenceError, FaultPoint, reach
from answerable.ledger._ports import Batch
from answerable.ledger._schema import bring_up
from answerable.ledger._sql import Prepared

__all__ = ["SqliteConnection", "SqliteStore", "SqliteWriter", "StoreDamaged", "connect"]

T = TypeVar("T")
B = TypeVar("B", bound=Batch)

# MEASURED: handing a commit to the thread and back costs 0.15 ms, half a commit. Alone, with nothing to
# gather meanwhile, it runs on the loop, unless the disk has shown that it would hold the loop for longer.
_QUICK_COMMIT_S = 0.002
_FEW = 2  # one call, and what rode on it (a session's marks of delivery)
_LARGEST_BATCH = 512  # items: bounds how long the loop is held by one batch, about 40 ms
_SMALLEST_SHARE = 32
_WORTH_OVERLAPPING = 16


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

    def run_many(self, statement: Prepared, rows: Sequence[Sequence[Any]], /) -> None:
        """Run a statement for each row of values, given in the order of its parameters.

        A row that breaks a uniqueness leaves those before it: the transaction is to be rolled back.
        """
        try:
            self.raw.executemany(statement.sqlite, rows)
        except sqlite3.DatabaseError as error:
            raise _told(self.raw, error) from None

    def each(self, statement: Prepared) -> Iterator[Any]:
        """The rows a query finds, one at a time."""
        try:
            yield from self.raw.execute(statement.sqlite)
        except sqlite3.DatabaseError as error:
            raise _told(self.raw, error) from None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """What is done in the block is on disk together or not at all, and nobody else writes meanwhile."""
        self.raw.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
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

    def upgrade(self) -> None:
        """Bring the file to this version's schema."""
        connection = self.connect(writable=True)
        try:
            found = connection.raw.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        except sqlite3.OperationalError:
            found = ""
        finally:
            connection.close()
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


def _now(function: Callable[..., object], *arguments: object) -> None:
    function(*arguments)


class SqliteWriter(Generic[B]):
    """Runs functions inside transactions, many to a commit.

    A function that raises fails alone: the batch is rolled back and run again without it.
    INVARIANT: a future is answered only after the commit that holds its work.
    """

    def __init__(self, connection: SqliteConnection, begin: Callable[[], B]) -> None:
        self._connection = connection
        self._begin = begin
        self._waiting: list[tuple[Callable[[B], Any], asyncio.Future[Any]]] = []
        self._loop = asyncio.get_running_loop()
        self._committing = False
        self._scheduled = False
        self._last_commit_s = 0.0
        self._tell = self._loop.call_soon_threadsafe
        self._closed: asyncio.Future[None] | None = None
        self._commits: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="answerable-commit", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[B], T]) -> "asyncio.Future[T]":
        """Have `work` done in the next transaction; its result comes when that is on disk.

        Cancelling the future does not undo the work.
        """
        if self._closed is not None:
            raise RuntimeError("the store is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append((work, future))
        if not self._committing and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return future

    async def close(self) -> None:
        """Finish what was submitted, then stop."""
        if self._closed is None:
            self._closed = self._loop.create_future()
            if not self._committing and not self._scheduled:
                self._closed.set_result(None)
        await self._closed
        self._commits.put(None)
        self._thread.join()

    def _flush(self) -> None:
        self._scheduled = False
        self._take_in(self._share())

    def _take_in(self, share: int) -> None:
        items, self._waiting = self._waiting[:share], self._waiting[share:]
        while items:
            batch = self._begin()
            results: list[Any] = []
            try:
                self._connection.raw.execute("BEGIN IMMEDIATE")
                for work, _ in items:
                    results.append(work(batch))
                batch.prepare()
            except Exception as error:  # noqa: BLE001 - goes to whoever submitted the work
                self._rollback()
                # The one that raised fails alone; where `prepare` raised, nobody is to blame but all fail.
                culprits = items[len(results) : len(results) + 1] or items
                for _, future in culprits:
                    if not future.done():
                        future.set_exception(error)
                items = [item for item in items if item not in culprits]
                continue
            reach(FaultPoint.BEFORE_COMMIT)
            self._committing = True
            futures = [future for _, future in items]
            if len(items) <= _FEW and not self._waiting and self._last_commit_s < _QUICK_COMMIT_S:
                self._commit(batch, futures, results, tell=_now)
            else:
                self._commits.put(functools.partial(self._commit, batch, futures, results, self._tell))
            return
        self._next()

    def _share(self) -> int:
        """How many of those waiting go into the next batch.

        Half of many: while the disk takes one half, the loop works for the other (`_committed`). All at
        once, every run would wait for the same commit, and nobody would be left to work.
        """
        return min(max(len(self._waiting) // 2, _SMALLEST_SHARE), _LARGEST_BATCH)

    def _serve(self) -> None:
        while work := self._commits.get():
            work()

    def _commit(
        self, batch: B, futures: Sequence["asyncio.Future[Any]"], results: list[Any], tell: Callable[..., object]
    ) -> None:
        began = time.perf_counter()
        try:
            self._connection.raw.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - goes to everyone in the batch
            tell(self._failed, futures, error)
        else:
            self._last_commit_s = time.perf_counter() - began
            reach(FaultPoint.AFTER_COMMIT)
            tell(self._committed, batch, futures, results)

    def _committed(self, batch: B, futures: Sequence["asyncio.Future[Any]"], results: list[Any]) -> None:
        self._committing = False
        batch.publish()
        if len(self._waiting) >= _WORTH_OVERLAPPING:
            # First the disk gets its next batch, then the loop turns to those who have their answer: it works
            # for them while the disk works for the others. MEASURED: with 100 runs 15–25 % more steps.
            self._take_in(_LARGEST_BATCH)
        for future, result in zip(futures, results, strict=True):
            if not future.done():
                future.set_result(result)
        if not self._committing and not self._scheduled:
            self._next()

    def _failed(self, futures: Sequence["asyncio.Future[Any]"], error: Exception) -> None:
        self._committing = False
        self._rollback()
        for future in futures:
            if not future.done():
                future.set_exception(error)
        self._next()

    def _next(self) -> None:
        # The futures answered just now wake their tasks first: what those submit joins the next batch.
        if self._waiting:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        elif self._closed is not None and not self._closed.done():
            self._closed.set_result(None)

    def _rollback(self) -> None:
        if self._connection.raw.in_transaction:
            self._connection.raw.execute("ROLLBACK")
