"""What speaks against going on with a record: the database is a copy of its own, or the store lacks what was published.

A database that was dumped and restored is another one to its server: it has another identity than the one that the
record itself says it is at home in. So every gate sees it, those too that know of nothing lost. What replicates a
server whole (a standby, a copy of its files) keeps the identity; what is lost there shows in what was published.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from answerable.core import SystemClock, format_time
from answerable.ledger._checkpoint import read_head
from answerable.ledger._ports import Connection, Store, Tx
from answerable.ledger._published import put_away
from answerable.ledger._sql import Prepared, insert
from answerable.ledger._standstill import Standstill, read_standstill, stand_still
from answerable.ledger._stores import store_of
from answerable.ledger._tables import IDENTITY, homes, logs

__all__ = ["check_goes_on", "move_in", "published_beyond", "why_it_stands_still"]

_HEADS = Prepared(sa.select(logs.c.tenant, logs.c.origin, logs.c.size, logs.c.checkpoint))
_HOMES = Prepared(sa.select(homes.c.store))
_HAS_HOMES = Prepared(sa.text("SELECT to_regclass('homes') IS NOT NULL"))
_LEAVE = Prepared(sa.delete(homes))
_MOVE_IN = Prepared(
    insert(homes).values(store=sa.bindparam("store"), since=sa.bindparam("since")).on_conflict_do_nothing()
)


def why_it_stands_still(directory: Path) -> Standstill | None:
    """Why nothing may be written to the record of a data directory, as far as it is known without asking others."""
    store = store_of(directory)
    if (reason := read_standstill(directory)) is not None or not store.is_shared or not store.exists():
        return reason
    with closing(store.connect(writable=False)) as connection:
        return _moved(store, connection)


def check_goes_on(directory: Path, store: Store) -> None:
    """Nothing, if the store is where the record is, and holds all that this directory's folders of logs show.

    Raises:
        StoreMoved: it is a copy.
        LogBehind: it is an older one. Noted, for whichever process comes next.
    """
    with closing(store.connect(writable=store.is_shared)) as connection:
        if store.is_shared:
            if (reason := _moved(store, connection)) is not None:
                raise reason.error(directory)
            if not connection.rows(_HOMES):
                connection.run(_MOVE_IN, store=connection.rows(IDENTITY)[0][0], since=format_time(SystemClock().now()))
            # Of a line of history that another gate said to be over.
            put_away(directory, {row[1] for row in connection.rows(_HEADS)}, at=format_time(SystemClock().now()))
        if (reason := published_beyond(directory, connection.rows)) is not None:
            stand_still(directory, reason)
            raise reason.error(directory)


def move_in(tx: Tx, store: Store) -> None:
    """The record is at home in this database from now on."""
    if store.is_shared:
        tx.run(_LEAVE)
        tx.run(_MOVE_IN, store=tx.rows(IDENTITY)[0][0], since=tx.now)


def published_beyond(directory: Path, rows: Callable[[Prepared], Sequence[Any]]) -> Standstill | None:
    """Where the folders of published logs show more than the store holds, that: it is an older copy."""
    held = {row[0]: (row[1], row[2], row[3]) for row in rows(_HEADS)}
    for path in sorted((directory / "log").glob("*/checkpoint")):
        shown = read_head(path.read_text("utf-8"))
        origin, size, note = held.get(path.parent.name, (shown.origin, 0, ""))
        if shown.origin != origin or shown.size < size or (note and read_head(note) == shown):
            continue
        now = format_time(SystemClock().now())
        return Standstill.behind("the folder of the published log", origin, size, seen=shown.size, at=now)
    return None


def _moved(store: Store, connection: Connection) -> Standstill | None:
    known = connection.rows(_HOMES) if connection.rows(_HAS_HOMES)[0][0] else ()
    identity = connection.rows(IDENTITY)[0][0]
    if not known or known[0][0] == identity:
        return None
    now = format_time(SystemClock().now())
    return Standstill(kind="moved", id=f"moved@{identity}", at=now, who=store.address)
