"""Rebuild projections from receipts alone, and show where the live tables differ."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from answerable.ledger._drivers._sqlite import SqliteConnection
from answerable.ledger._ledger import lock_directory
from answerable.ledger._ports import Connection, Projection
from answerable.ledger._reader import NoStore, Reader
from answerable.ledger._sql import Prepared
from answerable.ledger._stores import store_of

__all__ = ["TableRebuilt", "compare", "rebuild"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRebuilt:
    """One table, as it was and as the receipts say it is.

    Args:
        missing: rows the receipts imply and the live table lacked.
        extra: rows the live table had and no receipt implies.
    """

    table: str
    rows: int
    missing: tuple[tuple[Any, ...], ...]
    extra: tuple[tuple[Any, ...], ...]

    @property
    def is_equal(self) -> bool:
        """Whether the live table was what the receipts say."""
        return not self.missing and not self.extra


def rebuild(directory: Path, projections: Sequence[Projection]) -> list[TableRebuilt]:
    """Make every projection's tables anew from the receipts, in one transaction.

    Needs the data directory to itself. Leases and wakes are not rebuilt: they say who works now.

    Raises:
        NoStore: there is no record.
        DirectoryInUse: a gate is running.
    """
    store = store_of(directory)
    if not store.exists():
        raise NoStore(directory=str(directory))
    with lock_directory(directory):
        reader = Reader.open(directory)
        connection = store.connect(writable=True)
        try:
            with connection.transaction():
                return _rebuilt(connection, reader, projections)
        finally:
            connection.close()
            reader.close()


def compare(directory: Path, projections: Sequence[Projection]) -> list[TableRebuilt]:
    """Derive every projection's tables anew in memory, and compare; the record is only read, and may be in use.

    Raises:
        NoStore: there is no record.
    """
    tables = [table for projection in projections for table in projection.tables]
    with closing(Reader.open(directory)) as reader, closing(sqlite3.connect(":memory:", isolation_level=None)) as raw:
        derived = SqliteConnection(raw)
        for table in tables:
            raw.execute(str(sa.schema.CreateTable(table).compile(dialect=sqlite.dialect())))
            for index in table.indexes:
                raw.execute(str(sa.schema.CreateIndex(index).compile(dialect=sqlite.dialect())))
        raw.execute("BEGIN")
        with reader.still():  # the tables and the receipts of one moment, whatever a gate writes meanwhile
            live = {table.name: _rows(reader, table) for table in tables}
            _derive(reader, projections, derived)
        return [_compare(table.name, live[table.name], _rows(derived, table)) for table in tables]


def _rebuilt(connection: Connection, reader: Reader, projections: Sequence[Projection]) -> list[TableRebuilt]:
    tables = [table for projection in projections for table in projection.tables]
    live = {table.name: _rows(connection, table) for table in tables}
    for table in reversed(tables):
        connection.run(Prepared(sa.delete(table)))
    _derive(reader, projections, connection)
    return [_compare(table.name, live[table.name], _rows(connection, table)) for table in tables]


def _derive(reader: Reader, projections: Sequence[Projection], into: Connection) -> None:
    replay = _Replay(into)
    for receipt in reader.all():
        replay.now = receipt.predicate["at"]
        for projection in projections:
            if receipt.phase in projection.phases:
                projection.apply(replay, receipt)


class _Replay:
    """The transaction that projections see while they are rebuilt: nobody is woken."""

    def __init__(self, connection: Connection) -> None:
        self.now = ""
        self.rows = connection.rows
        self.run = connection.run

    def wake(self, run: str) -> None:
        """Nobody is waiting."""


def _rows(connection: Connection | Reader, table: sa.Table) -> set[tuple[Any, ...]]:
    return {tuple(row) for row in connection.rows(Prepared(sa.select(table)))}


def _compare(name: str, live: set[tuple[Any, ...]], rebuilt: set[tuple[Any, ...]]) -> TableRebuilt:
    return TableRebuilt(
        table=name,
        rows=len(rebuilt),
        missing=tuple(sorted(rebuilt - live, key=repr)),
        extra=tuple(sorted(live - rebuilt, key=repr)),
    )
