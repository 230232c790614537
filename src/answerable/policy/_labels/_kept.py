"""Labels of what lasts: a file that a run under a label wrote to gives the label to whoever reads it later."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from answerable.core import Action, RunId
from answerable.ledger import Draft, Phase, Prepared, Receipt, Tx, insert, metadata
from answerable.policy._ports import Book

__all__ = ["KeptLabels", "KeptLabelsProjection"]

_kept = sa.Table(
    "policy_kept_labels",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("labels", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam
_OF = Prepared(sa.select(_kept.c.labels).where(_kept.c.tenant == _P("tenant"), _kept.c.target == _P("target")))
_NEW = insert(_kept)
_PUT = Prepared(
    _NEW.on_conflict_do_update(index_elements=[_kept.c.tenant, _kept.c.target], set_={"labels": _NEW.excluded.labels})
)


class KeptLabelsProjection:
    """The table `policy_kept_labels`: which labels each target carries."""

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `policy_kept_labels`."""
        return (_kept,)

    @property
    def phases(self) -> frozenset[Phase]:
        """Labels are put on and taken off by receipts of their own."""
        return frozenset({"control"})

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt."""
        control = receipt.predicate["control"]
        if control.get("do") not in ("label", "unlabel"):
            return
        tenant, target, labels = receipt.predicate["tenant"], control["target"], set(control["labels"])
        found = _labels(tx.rows, tenant, target)
        left = found | labels if control["do"] == "label" else found - labels
        tx.run(_PUT, tenant=tenant, target=target, labels=orjson.dumps(sorted(left)).decode())


class KeptLabels:
    """Puts labels on targets and reads them. Needs `KeptLabelsProjection`."""

    def __init__(self, book: Book, rows: Callable[..., Sequence[Any]]) -> None:
        self._book = book
        self._rows = rows

    def of(self, action: Action) -> tuple[str, ...]:
        """Labels of what the action acts on."""
        return tuple(sorted(_labels(self._rows, action.tenant, action.described.target)))

    async def mark(self, action: Action) -> None:
        """What the action acts on carries the action's labels from now on; on the record when this returns."""
        target = action.described.target
        if set(action.labels) <= _labels(self._rows, action.tenant, target):
            return
        control = {"do": "label", "target": target, "labels": sorted(action.labels), "run": action.run}
        await self._book.append(
            Draft(
                tenant=action.tenant,
                run=RunId(f"control:{action.tenant}"),
                phase="control",
                agent=action.agent,
                members={"control": control},
            )
        )


def _labels(rows: Callable[..., Sequence[Any]], tenant: str, target: str) -> set[str]:
    found = rows(_OF, tenant=tenant, target=target)
    return set(orjson.loads(found[0][0])) if found else set()
