"""Dropping a label: a person's decision, with a name and a reason on the record.

Nothing else takes a label off. A label comes back with the next outcome that carries it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from answerable.core import RunId, TenantId, stable_json
from answerable.ledger import Draft, Receipt
from answerable.policy._labels._errors import LabelNotDropped
from answerable.policy._ports import Book

__all__ = ["CarriedLabel", "Labels", "Runs"]

_LONGEST = 500


class Runs(Protocol):
    """Reads receipts of a run."""

    def after(self, run: RunId, seq: int) -> list[Receipt]:
        """The receipts of a run beyond a `seq`, in order; -1 for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedLabel:
    """A label that a run carries, or carried.

    Args:
        receipts: of the outcomes that brought it, the first first; of its `run.open` where it was born with it.
        dropped: the receipt that took it off; empty while it is carried.
    """

    label: str
    receipts: tuple[str, ...]
    dropped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The labels of runs, and the decisions that drop them.

    Args:
        book: where decisions are written down.
        store: where receipts are read.
    """

    book: Book
    store: Runs
    tenant: TenantId = field(default=TenantId("default"))

    def of(self, run: str) -> list[CarriedLabel]:
        """Every label that the run ever carried, by name.

        Raises:
            LabelNotDropped: there is no such run.
        """
        brought: dict[str, list[str]] = {}
        dropped: dict[str, str] = {}
        for receipt in self._receipts(run):
            said = receipt.predicate
            control = said.get("control", {})
            if said["phase"] == "control" and control.get("do") == "declassify":
                dropped |= dict.fromkeys(control["labels"], said["id"])
                continue
            for label in _brought_by(said):
                brought.setdefault(label, []).append(said["id"])
                dropped.pop(label, None)
        return [
            CarriedLabel(label=label, receipts=tuple(receipts), dropped=dropped.get(label, ""))
            for label, receipts in sorted(brought.items())
        ]

    async def drop(
        self, run: str, *, labels: Sequence[str] = (), values: Sequence[str] = (), by: str, reason: str
    ) -> str:
        """Take labels off a run, or vouch for values that its arguments may have; the receipt's id comes back.

        Args:
            labels: as `of` tells them; `context.labels` is without them until an outcome brings them again.
            values: texts that count as reliable in this run's critical arguments, wherever they came from. They are
                sealed; the record says how many.
            by: who decides; the record carries a pseudonym.

        Raises:
            LabelNotDropped: the run does not carry one of them, or is over.
        """
        carried = {each.label for each in self.of(run) if not each.dropped}
        if missing := sorted(set(labels) - carried):
            raise LabelNotDropped(run=run, problem=f"it does not carry `{missing[0]}`")
        if not labels and not values:
            raise LabelNotDropped(run=run, problem="neither a label nor a value is named")
        if any(not value.strip() or len(value) > _LONGEST for value in values):
            raise LabelNotDropped(run=run, problem=f"a value has from one to {_LONGEST} characters")
        opened = self._receipts(run)[0].predicate
        person = f"person:{by.rpartition(':')[2]}"
        control: dict[str, Any] = {"do": "declassify", "labels": sorted(labels), "values": len(values)}
        control |= {"by": self.book.pseudonym(self.tenant, person), "reason": reason}
        appended = await self.book.append(
            Draft(
                tenant=self.tenant,
                run=RunId(run),
                phase="control",
                agent=opened["agent"]["id"],
                members={"control": control},
                input=stable_json({"by": by, "reason": reason, "values": list(values)}),
                subjects=tuple(sorted({person, *opened["control"].get("subjects", ())})),
                wake=True,
            )
        )
        if appended.status != "ok":
            raise LabelNotDropped(run=run, problem="it is over")
        return str(appended.id)

    def _receipts(self, run: str) -> list[Receipt]:
        receipts = self.store.after(RunId(run), -1)
        if not receipts or receipts[0].predicate["tenant"] != self.tenant or receipts[0].phase != "run.open":
            raise LabelNotDropped(run=run, problem="there is no such run")
        return receipts


def _brought_by(said: dict[str, Any]) -> Sequence[str]:
    """The labels with which a receipt says that something reached the run."""
    if said["phase"] == "outcome":
        return tuple(said.get("labels", ()))
    control = said.get("control", {})
    if said["phase"] == "run.open":
        return tuple(control.get("labels", ()))
    if said["phase"] == "signal":
        return tuple(control.get("labels", (f"untrusted:signal.{control['name']}",)))
    return ()
