"""The ledger's own tables. Projections bring theirs; all stand on one `metadata`."""

from typing import Any

import sqlalchemy as sa

from answerable.ledger._sql import Prepared, metadata

__all__ = [
    "IDENTITY",
    "NOW",
    "homes",
    "keys",
    "logs",
    "objects",
    "receipts",
    "server_time",
    "slices",
    "subject_keys",
    "workers",
]

receipts = sa.Table(
    "receipts",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("leaf", sa.Integer, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("once", sa.Text, unique=True),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("signature", sa.LargeBinary, nullable=False),
    sa.Column("key", sa.Integer, nullable=False),
    sa.Column("sealed", sa.LargeBinary),
    sa.Column("subjects", sa.Text),
    sa.UniqueConstraint("run", "seq"),
    sa.UniqueConstraint("tenant", "leaf"),
)
# Texts that concern people, by whom: of the others, whose only subject is their run, there are many more.
_of_people = sa.and_(receipts.c.subjects >= "party_", receipts.c.subjects < "party`")
sa.Index(
    "receipts_of_people",
    receipts.c.tenant,
    receipts.c.subjects,
    sqlite_where=_of_people,
    postgresql_where=_of_people,
)

objects = sa.Table(
    "objects",
    metadata,
    sa.Column("commitment", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

subject_keys = sa.Table(
    "subject_keys",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key_id", sa.Text, nullable=False, unique=True),
    sa.Column("public", sa.LargeBinary, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
)

logs = sa.Table(
    "logs",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("peaks", sa.LargeBinary, nullable=False),
    sa.Column("checkpoint", sa.Text, nullable=False),
)

slices = sa.Table(
    "slices",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("wake", sa.Integer, nullable=False),
    sa.Column("seen", sa.Integer, nullable=False),
    sa.Column("due", sa.Text),
    sa.Column("worker", sa.Text),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("opened", sa.Text, nullable=False),
    sa.Column("begun", sa.Text),
    sa.Column("build", sa.Text),
    sa.Index("slices_by_state", "state", "due"),
    sa.Index("slices_in_line", "state", "tenant", "agent", "priority", "opened"),
    sa.Index("slices_by_begin", "tenant", "begun"),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("worker", sa.Text, primary_key=True),
    sa.Column("boot", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("until", sa.Text, nullable=False),
    sa.Column("batch", sa.Integer, nullable=False),
    sa.Column("counts", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
"""Who writes a shared store now; in a data directory of its own, a gate is the only one, and not listed."""

homes = sa.Table(
    "homes",
    metadata,
    sa.Column("store", sa.Text, primary_key=True),
    sa.Column("since", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
"""The database that a shared record is in, and no copy of it; one row."""


def server_time(moment: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """A moment by the clock of the server, which all workers share, as text that sorts by time."""
    return sa.func.to_char(moment, sa.literal_column("""'YYYY-MM-DD"T"HH24:MI:SS.US'"""))


NOW = server_time(sa.func.clock_timestamp())
IDENTITY = Prepared(
    sa.text(
        "SELECT concat_ws('.', (SELECT system_identifier FROM pg_control_system()), "
        "(SELECT oid FROM pg_database WHERE datname = current_database()), to_regclass('receipts')::oid)"
    )
)
"""Which database it is: kept by what replicates a server whole, and not by a dump that is restored."""
