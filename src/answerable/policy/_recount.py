"""Facts counted anew: what every decision of a tenant could know, from its receipts alone.

Receipts are followed in the order of the log, into tables of their own in memory. What `open` let
through or held rests on facts that had not moved since they were read, so for these the count at
the receipt is the count that was decided on.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
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
from answerable.policy._exposure import Exposure
from answerable.policy._facts import FACTS, read_facts
from answerable.policy._ports import Record

__all__ = ["Recounted", "recount"]

_DECISIONS = frozenset({"intent", "held", "denied", "outcome"})
_AS_RECORDED = ("attributes", "confidence", "labelled", "untrusted_arguments", "sends")
"""What follows from declarations and texts, not from receipts alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recounted:
    """One decision on the record, and what could be known when it was made.

    Args:
        request: as it was decided; None where it is not on the record, `{}` where policy was not asked.
        context: every word of policy's vocabulary, from the receipts; `attributes` as recorded, if they were.
        groups: of the agent, as its run was opened.
        before: the run's receipts before it; goes on growing when the next decision is asked for.
    """

    receipt: Receipt
    request: dict[str, Any] | None
    context: dict[str, Any]
    groups: frozenset[str] = frozenset()
    before: Sequence[Receipt] = ()


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
    carried: dict[str, Exposure] = {}
    of_runs: dict[str, list[Receipt]] = {}
    for receipt in reader.receipts(tenant=tenant):
        said = receipt.predicate
        book.now = said["at"]
        if receipt.phase == "run.open":
            opened[said["run"]] = said["control"]
            forked = carried.get(said["control"].get("origin", {}).get("run", ""))
            carried[said["run"]] = Exposure(said["control"], forked.ever if forked else ())
        authority = said.get("authority", {})
        if receipt.phase in _DECISIONS and "decision" in authority and "request" in authority and said["at"] >= since:
            stored = reader.stored(authority["request"])
            request = orjson.loads(stored[0]) if stored else None
            of_run = opened.get(said["run"], {})
            decided = _decided(receipt, request)
            recorded = request["context"] if request else {}
            labels = _labels(receipt, recorded, carried.get(said["run"]) or Exposure({}))
            context = _context(book, receipt, of_run, labels, decided)
            context |= {name: recorded[name] for name in _AS_RECORDED if name in recorded}
            groups = frozenset(of_run.get("groups", ()))
            before = of_runs.get(said["run"], [])
            yield Recounted(receipt=receipt, request=request, context=context, groups=groups, before=before)
        for projection in projections:
            if receipt.phase in projection.phases:
                projection.apply(book, receipt)
        if said["run"] in carried:
            carried[said["run"]].follow(receipt)
            of_runs.setdefault(said["run"], []).append(receipt)


def _labels(receipt: Receipt, recorded: dict[str, Any], carried: Exposure) -> list[str]:
    """The labels that it was decided under: those recorded, if the run can have carried them then."""
    # An `outcome` itself carries the labels of its result, not those the run had before.
    own = None if receipt.phase == "outcome" else receipt.predicate.get("labels", [])
    said = recorded.get("labels", own)
    if said is not None and carried.was(said):
        return sorted(said)
    fitting = (each for each in reversed(carried.moments) if _is_tainted(each) == recorded.get("tainted"))
    return sorted(next(fitting, carried.moments[-1]) if said is None else carried.moments[-1])


def _is_tainted(labels: Iterable[str]) -> bool:
    return any(label.startswith("untrusted:") for label in labels)


def _decided(receipt: Receipt, request: dict[str, Any] | None) -> datetime:
    """When it was decided: in the hour of the receipt, or for what `open` did not compare in the one before."""
    at = parse_time(receipt.predicate["at"])
    before = at - timedelta(hours=1)
    hour = request["context"].get("hour") if request else None
    return before if receipt.phase in ("outcome", "denied") and hour == before.hour else at


def _context(
    book: "_Book", receipt: Receipt, opened: dict[str, Any], labels: list[str], decided: datetime
) -> dict[str, Any]:
    said = receipt.predicate
    action = said["action"]
    amount, target = action.get("amount"), action.get("target", "")
    acting = _action(said, opened.get("environment", ""))
    counted = read_facts(book.rows, acting, FACTS, decided, initiator=said.get("onBehalfOf", ""))
    context: dict[str, Any] = {
        "environment": opened.get("environment", ""),
        "effect": action["effect"],
        "kind": action["kind"],
        "labels": labels,
        "tainted": _is_tainted(labels),
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
