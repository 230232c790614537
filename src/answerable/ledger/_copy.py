"""A record moves from a file to a database that several gates share, or is copied from there into a file.

Every row of every table, in one transaction, of one moment.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from answerable.core import ConfigError
from answerable.ledger._drivers._snapshot import as_one_file
from answerable.ledger._drivers._sqlite import SqliteStore
from answerable.ledger._ledger import lock_directory
from answerable.ledger._ports import Connection, Store
from answerable.ledger._published import LogContradicted, RecordTiles
from answerable.ledger._reader import NoStore, Reader
from answerable.ledger._schema import HEAD
from answerable.ledger._sql import Prepared, metadata
from answerable.ledger._stores import StoreElsewhere, shared_store, store_of, write_address
from answerable.ledger._tables import homes, receipts, slices, workers
from answerable.ledger._tiles import Tree
from answerable.ledger._vault import Vault

__all__ = ["OtherSchema", "StoreNotEmpty", "copy_store", "dump_store"]

_CHUNK = 500
_SENT = Prepared(sa.text("SELECT 1"))
_SCHEMA = Prepared(sa.text("SELECT version_num FROM alembic_version"))
_COUNT = Prepared(sa.select(sa.func.count()).select_from(receipts))
_FREE = Prepared(sa.update(slices).where(slices.c.state == "leased").values(state="ready", worker=None))


@dataclass(eq=False, kw_only=True)
class StoreNotEmpty(ConfigError):
    """The database holds another record."""

    code = "config.store_not_empty"
    what = "the database {address} holds a record of {count} receipts already"
    why = "two records do not become one: each has its own log, and its own keys"
    fix = "name an empty database"

    address: str
    count: int


@dataclass(eq=False, kw_only=True)
class OtherSchema(ConfigError):
    """A database is of another version's schema, and what that has beyond ours would be lost."""

    code = "config.other_schema"
    what = "the database {address} has schema `{found}`, and this version copies `{known}`"
    why = "a copy without what another version keeps there would not be whole"
    fix = "use the version that the record's gates run"

    address: str
    found: str
    known: str


def copy_store(directory: Path, url: str) -> int:
    """Copy the record of a data directory to an empty database, and go on there; the number of receipts comes back.

    Needs the directory to itself. Its file is left as it is, and not looked at any more. Broken off before the end, it
    has done nothing; run again after it, it finds the copy and is content.

    Raises:
        NoStore: there is no record in the directory.
        StoreElsewhere: its record is in a database already.
        StoreNotEmpty: the database holds another record.
        StoreUnreachable: its server does not answer.
        LogContradicted: the copy does not lead to the checkpoints of the original.
    """
    source, target = store_of(directory), shared_store(url)
    if source.is_shared:
        raise StoreElsewhere(directory=str(directory), known=source.address, asked=target.address)
    if not source.exists():
        raise NoStore(directory=str(directory))
    with lock_directory(directory):
        source.upgrade()
        target.upgrade()
        reading, writing = source.connect(writable=False), target.connect(writable=True)
        copied = Reader(target.connect(writable=False), Vault(directory / "keys" / "master.key"), directory)
        original = Reader.open(directory)
        try:
            count, there = reading.rows(_COUNT)[0][0], writing.rows(_COUNT)[0][0]
            if there not in (0, count) or (there and original.gate_keys() != copied.gate_keys()):
                raise StoreNotEmpty(address=target.address, count=there)
            if not there:
                _copy(reading, writing)
            _check(original, copied)
            write_address(directory, url)
        finally:
            for each in (reading, writing, original, copied):
                each.close()
    return int(count)


def dump_store(store: Store, path: Path) -> None:
    """Copy a shared record into a new file, as it stands at one moment; its workers go on meanwhile.

    Receipts that the sequencer has not entered in a log by then are copied, and stand in none.

    Raises:
        OtherSchema: the database is not of this version's schema.
    """
    target = SqliteStore(path)
    target.upgrade()
    with (
        closing(store.connect(writable=False)) as reading,
        closing(target.connect(writable=True)) as writing,
        reading.transaction(only_reads=True),
    ):
        if (found := reading.rows(_SCHEMA)[0][0]) != HEAD:
            raise OtherSchema(address=store.address, found=found, known=HEAD)
        _copy(reading, writing)
    as_one_file(path)


def _copy(source: Connection, target: Connection) -> None:
    with target.transaction():
        for table in metadata.sorted_tables:
            if table in (workers, homes):  # of one place, and not of the record
                continue
            columns = [column.name for column in table.columns]
            whole = sa.insert(table).values({name: sa.bindparam(name) for name in columns})
            into = Prepared(whole.prefix_with("OR ROLLBACK", dialect="sqlite"))
            for rows in _chunks(source.each(Prepared(sa.select(table)))):
                target.insert(into, rows)  # its values are in the order of the columns, for either database
                target.rows(_SENT)  # has them sent, so that they do not gather in memory
        target.run(_FREE)


def _chunks(rows: Iterator[Any]) -> Iterator[Sequence[Any]]:
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk


def _check(original: Reader, copied: Reader) -> None:
    """The copy's entries lead to the root of every checkpoint of the original."""
    for tenant in original.tenants():
        head = original.head(tenant)
        entries = copied.entries(tenant, head.size)
        if len(entries) != head.size or Tree(RecordTiles(copied, tenant), head.size).root() != head.root:
            raise LogContradicted(origin=head.origin, size=len(entries), published=head.size)
