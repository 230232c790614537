"""What was erased, and what may not be: tables that follow from `erasure` and `control` receipts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from answerable.core import TenantId
from answerable.ledger._ports import Tx
from answerable.ledger._receipt import Phase, Receipt
from answerable.ledger._sql import Prepared, insert, metadata

__all__ = ["ErasuresProjection", "Hold", "Kept", "is_erased", "standing_holds"]

_erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("erasure", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("receipt", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_holds = sa.Table(
    "legal_holds",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("since", sa.Text, nullable=False),
    sa.Column("receipt", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam
_PUT_ERASURE = insert(_erasures)
_PUT = Prepared(
    _PUT_ERASURE.on_conflict_do_update(
        index_elements=[_erasures.c.tenant, _erasures.c.name],
        set_={name: _PUT_ERASURE.excluded[name] for name in ("erasure", "at", "receipt")},
    )
)
_FIND = Prepared(
    sa.select(_erasures.c.erasure).where(_erasures.c.tenant == _P("tenant"), _erasures.c.name == _P("name"))
)
_HOLD = Prepared(_holds.insert())
_RELEASE = Prepared(_holds.delete().where(_holds.c.tenant == _P("tenant"), _holds.c.scope == _P("scope")))
_HELD = Prepared(
    sa.select(_holds.c.scope, _holds.c.reason, _holds.c.by, _holds.c.since)
    .where(_holds.c.tenant == _P("tenant"))
    .order_by(_holds.c.since, _holds.c.scope)
)


class Kept(Protocol):
    """Where these tables are read: a reader, or a transaction."""

    def rows(self, statement: Prepared, /, **params: Any) -> Sequence[Sequence[Any]]:
        """The rows a query finds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What may not be erased: `subject:PSEUDONYM`, `run:ID` or `tenant`; why, by whom (a pseudonym) and since when."""

    scope: str
    reason: str
    by: str
    since: str


class ErasuresProjection:
    """The tables `erasures` (of people and of runs) and `legal_holds`."""

    @property
    def tables(self) -> Sequence[sa.Table]:
        """Both."""
        return (_erasures, _holds)

    @property
    def phases(self) -> frozenset[Phase]:
        """Erasures, and what people order."""
        return frozenset({"erasure", "control"})

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt."""
        said = receipt.predicate
        tenant, control = said["tenant"], said["control"]
        if receipt.phase == "erasure":
            name = control.get("subject") or control.get("run")
            if name:
                tx.run(_PUT, tenant=tenant, name=name, erasure=control["erasure"], at=said["at"], receipt=said["id"])
        elif control.get("do") in ("hold", "release"):
            tx.run(_RELEASE, tenant=tenant, scope=control["scope"])
            if control["do"] == "hold":
                about = {name: control[name] for name in ("scope", "reason", "by")}
                tx.run(_HOLD, tenant=tenant, since=said["at"], receipt=said["id"], **about)


def is_erased(kept: Kept, tenant: TenantId, names: Iterable[str]) -> bool:
    """Whether one of these people or runs was erased."""
    return any(kept.rows(_FIND, tenant=tenant, name=name) for name in names)


def standing_holds(kept: Kept, tenant: TenantId) -> list[Hold]:
    """What may not be erased now, the oldest hold first."""
    return [Hold(scope=row[0], reason=row[1], by=row[2], since=row[3]) for row in kept.rows(_HELD, tenant=tenant)]
