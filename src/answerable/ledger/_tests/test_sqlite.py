"""The writer: when work is answered, and what becomes of it when a commit fails."""

import asyncio
import functools
import itertools
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from answerable.ledger._drivers._pace import Moment, Pace
from answerable.ledger._drivers._sqlite import SqliteConnection, SqliteWriter, connect
from answerable.ledger._ports import Batch
from answerable.ledger._sql import Prepared


class Rows(Batch):
    """A batch that inserts numbers."""

    def __init__(self, connection: SqliteConnection, again: "Rows | None" = None) -> None:
        self.raw = connection.raw
        self.is_again = again is not None

    def prepare(self) -> None:
        return

    def publish(self) -> None:
        return

    def put(self, number: int) -> int:
        self.raw.execute("INSERT INTO numbers VALUES (?)", (number,))
        return number


def ticking() -> Callable[[], Moment]:
    """A clock that moves when it is looked at: whatever is measured takes 0.1 ms, and works for most of it."""
    ticks = itertools.count()
    return lambda: Moment(tick := next(ticks) * 1e-4, tick * 0.8)


@asynccontextmanager
async def writing(path: Path, cores: int) -> AsyncIterator[tuple[SqliteWriter[Rows], sqlite3.Connection]]:
    connection = connect(path, writable=True)
    connection.raw.execute("CREATE TABLE numbers (number INTEGER CHECK (number < 100))")
    # A row that breaks this is found at COMMIT, like a disk that is full.
    connection.raw.execute("PRAGMA foreign_keys = ON")
    connection.raw.execute("CREATE TABLE known (number INTEGER PRIMARY KEY)")
    connection.raw.execute("CREATE TABLE late (number REFERENCES known DEFERRABLE INITIALLY DEFERRED)")
    writer: SqliteWriter[Rows] = SqliteWriter(
        connection, lambda again: Rows(connection, again), pace=Pace(now=ticking(), cores=lambda: cores)
    )
    elsewhere = sqlite3.connect(path)
    yield writer, elsewhere
    await writer.close()
    elsewhere.close()
    connection.raw.close()


_Story = Callable[[Path, int], Coroutine[Any, Any, None]]


def in_a_loop(*cores: int) -> Callable[[_Story], Callable[[Path, int], None]]:
    """Of a machine with so many cores: with one, the loop commits by itself what it could do little beside."""

    def of(story: _Story) -> Callable[[Path, int], None]:
        @pytest.mark.parametrize("cores", cores)
        @functools.wraps(story)
        def test(tmp_path: Path, cores: int) -> None:
            asyncio.run(story(tmp_path, cores))

        return test

    return of


def stored(elsewhere: sqlite3.Connection) -> list[int]:
    return [row[0] for row in elsewhere.execute("SELECT number FROM numbers ORDER BY rowid")]


@in_a_loop(1, 2)
async def test_work_is_answered_once_it_is_on_disk(tmp_path: Path, cores: int) -> None:
    async with writing(tmp_path / "db", cores) as (writer, elsewhere):
        assert await writer.submit(lambda rows: rows.put(1)) == 1

        assert stored(elsewhere) == [1]


@in_a_loop(1, 2)
async def test_work_that_need_not_land_is_answered_at_once_and_lands_with_what_comes_next(
    tmp_path: Path, cores: int
) -> None:
    landed: list[Exception | None] = []
    async with writing(tmp_path / "db", cores) as (writer, elsewhere):
        early = writer.submit(lambda rows: rows.put(1), landed=landed.append)
        assert early.done()
        assert (early.result(), stored(elsewhere), landed) == (1, [], [])

        await writer.submit(lambda rows: rows.put(2))

        assert stored(elsewhere) == [1, 2]
        assert landed == [None]


@in_a_loop(1, 2)
async def test_work_that_nothing_follows_lands_by_itself(tmp_path: Path, cores: int) -> None:
    done = asyncio.Event()
    async with writing(tmp_path / "db", cores) as (writer, elsewhere):
        writer.submit(lambda rows: rows.put(1), landed=lambda error: done.set())

        async with asyncio.timeout(10):
            await done.wait()

        assert stored(elsewhere) == [1]


@in_a_loop(1, 2)
async def test_work_that_raises_fails_alone_and_the_rest_is_done_again_in_its_order(tmp_path: Path, cores: int) -> None:
    again: list[bool] = []

    def put(rows: Rows, number: int) -> int:
        again.append(rows.is_again)
        return rows.put(number)

    async with writing(tmp_path / "db", cores) as (writer, elsewhere):
        early = writer.submit(lambda rows: put(rows, 1), landed=lambda error: None)
        spoilt = writer.submit(lambda rows: (rows.put(50), rows.put(500)))
        later = writer.submit(lambda rows: rows.put(2))

        with pytest.raises(sqlite3.IntegrityError):
            await spoilt

        assert (await early, await later, stored(elsewhere)) == (1, 2, [1, 2])
        assert again == [False, True]


@in_a_loop(1, 2)
async def test_a_commit_that_fails_is_told_to_everybody_whose_work_was_in_it(tmp_path: Path, cores: int) -> None:
    landed: list[Exception | None] = []
    async with writing(tmp_path / "db", cores) as (writer, elsewhere):
        writer.submit(lambda rows: rows.put(1), landed=landed.append)
        failing = writer.submit(lambda rows: rows.raw.execute("INSERT INTO late VALUES (7)"))

        with pytest.raises(sqlite3.IntegrityError):
            await failing

        assert stored(elsewhere) == []
        assert [type(error) for error in landed] == [sqlite3.IntegrityError]
        assert await writer.submit(lambda rows: rows.put(3)) == 3


@in_a_loop(1, 2)
async def test_what_is_submitted_while_the_disk_is_busy_is_done_when_it_is_free(tmp_path: Path, cores: int) -> None:
    landed: list[Exception | None] = []
    async with writing(tmp_path / "db", cores) as (writer, elsewhere):
        several = [writer.submit(functools.partial(Rows.put, number=number)) for number in range(5)]
        await asyncio.sleep(0)  # the batch is given to the disk
        early = writer.submit(lambda rows: rows.put(9), landed=landed.append)

        assert await asyncio.gather(*several) == list(range(5))
        assert await early == 9
        await writer.close()
        assert stored(elsewhere) == [0, 1, 2, 3, 4, 9]
        assert landed == [None]


@in_a_loop(2)
async def test_the_disk_works_while_the_loop_does(tmp_path: Path, cores: int) -> None:
    async with writing(tmp_path / "db", cores) as (writer, elsewhere):
        several = [writer.submit(functools.partial(Rows.put, number=number)) for number in range(5)]
        await asyncio.sleep(0)  # the batch is given to the disk

        give_up = time.monotonic() + 60
        while len(stored(elsewhere)) < 5 and time.monotonic() < give_up:
            pass  # and the loop does not rest

        assert stored(elsewhere) == list(range(5))
        assert not any(future.done() for future in several)
        assert await asyncio.gather(*several) == list(range(5))


@in_a_loop(1)
async def test_on_one_core_many_are_answered_by_the_turn_of_the_loop_that_does_their_work(
    tmp_path: Path, cores: int
) -> None:
    async with writing(tmp_path / "db", cores) as (writer, elsewhere):
        await writer.submit(functools.partial(Rows.put, number=0))  # it knows now what a commit takes
        several = [writer.submit(functools.partial(Rows.put, number=number)) for number in range(1, 50)]
        await asyncio.sleep(0)

        assert [future.result() for future in several] == list(range(1, 50))
        assert stored(elsewhere) == list(range(50))


@pytest.mark.parametrize("count", [0, 1, 9, 10, 59, 60, 137])
def test_rows_are_stored_in_their_order_however_many_share_a_statement(tmp_path: Path, count: int) -> None:
    table = sa.Table("pairs", sa.MetaData(), sa.Column("number", sa.Integer), sa.Column("text", sa.Text))
    statement = Prepared(sa.insert(table).prefix_with("OR ROLLBACK", dialect="sqlite"))
    rows = [(number, f"row {number}") for number in range(count)]

    with closing(connect(tmp_path / "db", writable=True)) as connection:
        connection.raw.execute("CREATE TABLE pairs (number INTEGER, text TEXT)")
        connection.insert(statement, rows)

        assert connection.raw.execute("SELECT number, text FROM pairs ORDER BY rowid").fetchall() == rows


def test_of_many_rows_one_that_is_refused_leaves_nothing_of_its_transaction(tmp_path: Path) -> None:
    table = sa.Table("numbers", sa.MetaData(), sa.Column("number", sa.Integer))
    statement = Prepared(sa.insert(table).prefix_with("OR ROLLBACK", dialect="sqlite"))

    with closing(connect(tmp_path / "db", writable=True)) as connection:
        connection.raw.execute("CREATE TABLE numbers (number INTEGER UNIQUE)")
        with pytest.raises(sqlite3.IntegrityError), connection.transaction():
            connection.insert(statement, [(number,) for number in (*range(70), 3)])

        assert connection.raw.execute("SELECT count(*) FROM numbers").fetchone() == (0,)
        with connection.transaction():
            connection.insert(statement, [(3,)])
        assert connection.raw.execute("SELECT number FROM numbers").fetchall() == [(3,)]


@in_a_loop(1, 2)
async def test_commits_find_the_write_ahead_log_long_enough_and_a_crash_leaves_nothing_but_them(
    tmp_path: Path, cores: int
) -> None:
    async with writing(tmp_path / "db", cores) as (writer, _):
        await writer.submit(lambda rows: rows.put(0))
        length = (tmp_path / "db-wal").stat().st_size

        for number in range(1, 20):
            await writer.submit(functools.partial(Rows.put, number=number))

        assert length > 1 << 20
        assert (tmp_path / "db-wal").stat().st_size == length
        crashed = tmp_path / "crashed"
        crashed.mkdir()
        for name in ("db", "db-wal"):
            shutil.copy(tmp_path / name, crashed)

    after = sqlite3.connect(crashed / "db")
    assert stored(after) == list(range(20))
    assert after.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    after.close()
