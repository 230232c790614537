"""Facts counted anew: what every decision of a tenant could know, from its receipts alone.

Receipts are followed in the order of the log, into tables of their own in memory. What `open` let
through or held rests on facts that had not moved since they were read, so for these the count at
the receipt is the count that was decided on.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from answerable.core import Action, Description, Effect, Money, StepKey, TenantId, parse_time
from answerable.identity import PeopleProjection
from answerable.ledger import Prepared, Receipt
from answerable.policy._approvals import ApprovalsProjection
from answerable.policy._autonomy import AutonomyProjection
from answerable.policy._counting import FactsProjection
from answerable.policy._facts import FACTS, read_facts
from answerable.policy._labels import untrusted_of
from answerable.policy._ports import Record

__all__ = ["Recounted", "recount"]

_DECISIONS = frozenset({"intent", "held", "denied", "outcome"})
_AS_RECORDED = ("attributes", "confidence", "labelled", "sends")
"""What follows from declarations and texts, not from receipts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recounted:
    """One decision on the record, and what could be known when it was made.

    Args:
        request: as it was decided; None where it is not on the record, `{}` where policy was not asked.
        context: every word of policy's vocabulary, from the receipts; `attributes` as recorded, if they were.
        groups: of the agent, as its run was opened.
    """

    receipt: Receipt
    request: dict[str, Any] | None
    context: dict[str, Any]
    groups: frozenset[str] = frozenset()


def recount(reader: Record, *, tenant: TenantId = TenantId("default"), since: str = "") -> Iterator[Recounted]:
    """Every decision of a tenant, in the order of its log.

    Args:
        since: RFC 3339; earlier receipts are followed and not told.
    """
    book = _Book()
    projections = (FactsProjection(), ApprovalsProjection(), PeopleProjection(), AutonomyProjection())
    for projection in projections:
        for table in projection.tables:
            book.make(table)
    opened: dict[str, dict[str, Any]] = {}
    seen: dict[str, set[str]] = {}
    for receipt in reader.receipts(tenant=tenant):
        said = receipt.predicate
        book.now = said["at"]
        if receipt.phase == "run.open":
            opened[said["run"]] = said["control"]
            seen[said["run"]] = set(said["control"].get("labels", ()))
        authority = said.get("authority", {})
        if receipt.phase in _DECISIONS and "decision" in authority and "request" in authority and said["at"] >= since:
            stored = reader.stored(authority["request"])
            request = orjson.loads(stored[0]) if stored else None
            of_run = opened.get(said["run"], {})
            decided = _decided(receipt, request)
            context = _context(book, receipt, of_run, seen.get(said["run"], set()), decided)
            recorded = request["context"] if request else {}
            context |= {name: recorded[name] for name in _AS_RECORDED if name in recorded}
            if "untrusted_arguments" in recorded:
                context["untrusted_arguments"] = untrusted_of(authority.get("provenance", ()))
            groups = frozenset(of_run.get("groups", ()))
            yield Recounted(receipt=receipt, request=request, context=context, groups=groups)
        for projection in projections:
            if receipt.phase in projection.phases:
                projection.apply(book, receipt)
        if receipt.phase == "outcome":
            seen.setdefault(said["run"], set()).update(said.get("labels", ()))
        elif receipt.phase == "control" and said["control"].get("do") == "declassify":
            seen.setdefault(said["run"], set()).difference_update(said["control"]["labels"])


def _decided(receipt: Receipt, request: dict[str, Any] | None) -> datetime:
    """When it was decided: in the hour of the receipt, or for what `open` did not compare in the one before."""
    at = parse_time(receipt.predicate["at"])
    before = at - timedelta(hours=1)
    hour = request["context"].get("hour") if request else None
    return before if receipt.phase in ("outcome", "denied") and hour == before.hour else at


def _context(
    book: "_Book", receipt: Receipt, opened: dict[str, Any], seen: set[str], decided: datetime
) -> dict[str, Any]:
    said = receipt.predicate
    action = said["action"]
    amount, target = action.get("amount"), action.get("target", "")
    # An `outcome` carries the labels of its result, not those the run had seen before.
    labels = sorted(seen) if receipt.phase == "outcome" else sorted(said.get("labels", ()))
    acting = _action(said, opened.get("environment", ""))
    counted = read_facts(book.rows, acting, FACTS, decided, initiator=said.get("onBehalfOf", ""))
    context: dict[str, Any] = {
        "environment": opened.get("environment", ""),
        "effect": action["effect"],
        "kind": action["kind"],
        "labels": labels,
        "tainted": any(label.startswith("untrusted:") for label in labels),
        "target_named": target in opened.get("resources", ()),
        **{name: value for name, value in counted.values.items() if name != "autonomy"},
    }
    if amount:
        context |= {"amount_minor": amount["minor"], "currency": amount["currency"]}
    return context


def _action(said: dict[str, Any], environment: str) -> Action:
    action, amount = said["action"], said["action"].get("amount")
    described = Description(
        effect=Effect(action["effect"]),
        target=action.get("target", ""),
        amount=Money(amount["minor"], amount["currency"]) if amount else None,
    )
    return Action(
        tenant=said["tenant"],
        run=said["run"],
        agent=said["agent"]["id"],
        step=StepKey(said["step"]),
        branch="",
        kind=action["kind"],
        name=action["name"],
        arguments=b"{}",
        described=described,
        environment=environment,
    )


class _Book:
    """Tables in memory, as a projection sees them."""

    def __init__(self) -> None:
        self.now = ""
        self._raw = sqlite3.connect(":memory:", isolation_level=None)

    def __del__(self) -> None:
        self._raw.close()

    def make(self, table: sa.Table) -> None:
        """An empty table."""
        self._raw.execute(str(sa.schema.CreateTable(table).compile(dialect=sqlite.dialect())))

    def rows(self, statement: Prepared, /, **params: Any) -> Sequence[Sequence[Any]]:
        return self._raw.execute(statement.sqlite, statement.arrange(params)).fetchall()

    def run(self, statement: Prepared, /, **params: Any) -> int:
        return self._raw.execute(statement.sqlite, statement.arrange(params)).rowcount

    def wake(self, run: str) -> None:
        """Nobody is waiting."""
