"""Which run came from which: forks, roll-backs, children, successors."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from answerable.core import RunId
from answerable.ledger import Phase, Prepared, Reader, Receipt, Tx, metadata

__all__ = ["Link", "LinksProjection", "find_delegate", "links_from", "links_of_tx"]

_links = sa.Table(
    "run_links",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("how", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("opened", sa.Text, nullable=False),
    sa.Index("run_links_by_origin", "origin"),
    sqlite_with_rowid=False,
)
_PUT = Prepared(sa.insert(_links))
_FROM = Prepared(
    sa.select(_links.c.run, _links.c.how)
    .where(_links.c.origin == sa.bindparam("origin"))
    .order_by(_links.c.opened, _links.c.run)
)
_BY_STEP = Prepared(
    sa.select(_links.c.run).where(_links.c.origin == sa.bindparam("origin"), _links.c.step == sa.bindparam("step"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A run that came from another.

    Args:
        how: `fork`, `rollback`, `delegate`, `continue` or `hand-over`.
    """

    run: RunId
    how: str


class LinksProjection:
    """The table `run_links`."""

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `run_links`."""
        return (_links,)

    @property
    def phases(self) -> frozenset[Phase]:
        """A run says where it comes from when it is opened."""
        return frozenset({"run.open"})

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt."""
        said = receipt.predicate
        origin = said["control"].get("origin")
        if origin is not None:
            step = origin.get("step", "")
            tx.run(_PUT, run=said["run"], origin=origin["run"], how=origin["how"], step=step, opened=said["at"])


def links_from(reader: Reader, run: RunId) -> list[Link]:
    """The runs that came from this one, in the order in which they were opened."""
    return [Link(run=row[0], how=row[1]) for row in reader.rows(_FROM, origin=run)]


def find_delegate(reader: Reader, run: RunId, step: str) -> RunId | None:
    """The run that was delegated by this step of a run, if one was opened."""
    rows = reader.rows(_BY_STEP, origin=run, step=step)
    return RunId(rows[0][0]) if rows else None


def links_of_tx(tx: Tx, run: str) -> list[Link]:
    """The same, as an open transaction sees it."""
    return [Link(run=row[0], how=row[1]) for row in tx.rows(_FROM, origin=run)]
