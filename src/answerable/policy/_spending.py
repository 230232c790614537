"""What is spent and reserved of each budget, what holds it, and when people are told that it runs low."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from answerable.core import Clock, Money, TenantId
from answerable.ledger import Prepared, Receipt
from answerable.policy._budgets import AMOUNT, Budget, budgets_of, budgets_table, reservations_table
from answerable.policy._notices import Notice
from answerable.policy._ports import Record, Rows

__all__ = ["BudgetAlerts", "Reserved", "Spending", "reserved_by", "spending"]

_t, _r = budgets_table.c, reservations_table.c
_P = sa.bindparam
_USED = Prepared(
    sa.select(_t.scope, _t.dimension, _t.most, _t.reserved, _t.spent)
    .where(_t.tenant == _P("tenant"))
    .order_by(_t.scope, _t.dimension)
)
_RESERVED = Prepared(sa.select(_r.run, _r.step, _r.scope, _r.dimension, _r.amount).order_by(_r.run, _r.step, _r.scope))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """One limit and what is used of it.

    Args:
        scope: as it is counted: `agent:desk@2026-11-21` for a day's.
        dimension: `tokens`, `calls`, `costNanoUsd` or `amount:EUR` (minor units).
        reserved: by what is under way or of unknown fate.
    """

    scope: str
    dimension: str
    limit: int
    spent: int
    reserved: int

    @property
    def left(self) -> int:
        """What may still be asked for."""
        return max(self.limit - self.spent - self.reserved, 0)

    def said(self, number: int) -> str:
        """A number of this dimension, for people."""
        if self.dimension.startswith(AMOUNT):
            return str(Money(number, self.dimension.removeprefix(AMOUNT)))
        return f"{number / 1e9:.4f} USD" if self.dimension == "costNanoUsd" else f"{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """What one step holds of a budget until its outcome is known.

    Args:
        is_unknown: it was lost, or its run ended first: it stays reserved until somebody says what became of it.
    """

    run: str
    step: str
    action: str
    scope: str
    dimension: str
    amount: int
    since: str
    is_unknown: bool


def spending(
    rows: Rows,
    budgets: Sequence[Budget],
    *,
    clock: Clock,
    runs: Sequence[str] = (),
    tenant: TenantId = TenantId("default"),
) -> list[Spending]:
    """Each limit of these budgets now, and those that these runs were started with."""
    used = {(row[0], row[1]): tuple(row[2:]) for row in rows(_USED, tenant=tenant)}
    today = clock.now().strftime("%Y-%m-%d")
    found = []
    for budget in budgets:
        for dimension, limit in budget.limits.items():
            _, reserved, spent = used.get((budget.scope_on(today), dimension), (None, 0, 0))
            named = {"scope": budget.scope_on(today), "dimension": dimension}
            found.append(Spending(**named, limit=limit, spent=spent, reserved=reserved))
    own = {f"run:{run}" for run in runs}
    for (scope, dimension), (most, reserved, spent) in used.items():
        if scope in own and most is not None:
            found.append(Spending(scope=scope, dimension=dimension, limit=most, spent=spent, reserved=reserved))
    return found


def reserved_by(rows: Rows, record: Record, *, tenant: TenantId = TenantId("default")) -> list[Reserved]:
    """Every reservation that stands."""
    held = [tuple(row) for row in rows(_RESERVED)]
    found: list[Reserved] = []
    for run in dict.fromkeys(row[0] for row in held):
        receipts = [each for each in record.receipts(run=run, tenant=tenant) if each.predicate["tenant"] == tenant]
        intents, lost = _standing(receipts)
        for _, step, scope, dimension, amount in (row for row in held if row[0] == run):
            if (intent := intents.get(step)) is not None:
                found.append(
                    Reserved(
                        run=run,
                        step=step,
                        action=intent["action"]["name"],
                        scope=scope,
                        dimension=dimension,
                        amount=amount,
                        since=intent["at"],
                        is_unknown=step in lost,
                    )
                )
    return found


def _standing(receipts: Sequence[Receipt]) -> tuple[dict[str, Mapping[str, Any]], set[str]]:
    """The last intent of each step, and the steps of unknown fate."""
    intents: dict[str, Mapping[str, Any]] = {}
    lost: set[str] = set()
    for receipt in receipts:
        said = receipt.predicate
        if receipt.phase == "intent":
            intents[said["step"]] = said
            lost.discard(said["step"])
        elif receipt.phase == "observation" and said["effect"]["status"] == "unknown":
            lost.add(said["step"])
        elif receipt.phase == "run.close":
            lost |= intents.keys()
    return intents, lost


class BudgetAlerts:
    """Notices of budgets that reached a threshold; each stands until the gate ends or the day does.

    Args:
        rows: reads what is used.
        tenant: whose.
    """

    def __init__(
        self, rows: Rows, budgets: Sequence[Budget], *, clock: Clock, tenant: TenantId = TenantId("default")
    ) -> None:
        self._rows = rows
        self._budgets = tuple(budget for budget in budgets_of(budgets, tenant) if budget.alerts)
        self._clock = clock
        self._tenant = tenant
        self._raised: dict[str, Notice] = {}

    def __call__(self) -> Sequence[Notice]:
        """All that were raised."""
        if self._budgets:
            today = self._clock.now().strftime("%Y-%m-%d")
            for budget in self._budgets:
                for notice in self._of(budget, today):
                    self._raised.setdefault(notice.id, notice)
            current = {budget.scope_on(today) for budget in self._budgets}
            self._raised = {id: each for id, each in self._raised.items() if each.said["scope"] in current}
        return tuple(self._raised.values())

    def _of(self, budget: Budget, today: str) -> Iterator[Notice]:
        for each in spending(self._rows, [budget], clock=self._clock, tenant=self._tenant):
            for percent in budget.alerts:
                if (each.spent + each.reserved) * 100 >= percent * each.limit:
                    yield Notice(
                        id=f"budget.{self._tenant}.{each.scope}.{each.dimension}.{percent}",
                        kind="budget.threshold",
                        title=f"{percent} % of the budget of {budget.scope} is used",
                        role=budget.tell,
                        at=self._clock.now(),
                        said={
                            "scope": each.scope,
                            "dimension": each.dimension,
                            "percent": str(percent),
                            "limit": each.said(each.limit),
                            "spent": each.said(each.spent),
                            "reserved": each.said(each.reserved),
                        },
                    )
