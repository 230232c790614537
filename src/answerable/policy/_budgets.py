"""Budgets: reserved before an effect, settled after it. What is of unknown fate stays reserved.

A run's limits come with its `run.open`; limits of agents, mandates and the tenant come with the configuration.
An intent names what it reserved (`authority.budget`), so the table follows from receipts alone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from answerable.core import Action, Decision, Money, Usage
from answerable.ledger import Phase, Prepared, Receipt, Ruling, Tx, insert, metadata
from answerable.policy._errors import BudgetExceeded, BudgetInvalid, MandateUnknown

__all__ = [
    "AMOUNT",
    "Budget",
    "BudgetProjection",
    "budgets_of",
    "budgets_table",
    "is_mandate_granted",
    "reservations_table",
    "scope_of_mandate",
]

AMOUNT = "amount:"
"""Dimensions of money that tools move: `amount:EUR`, in minor units."""

_DIMENSIONS = ("tokens", "costNanoUsd", "calls")
_MOST_RUNS = 10_000

budgets_table = _budgets = sa.Table(
    "policy_budgets",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("dimension", sa.Text, primary_key=True),
    sa.Column("most", sa.Integer, nullable=True),  # a run's own limit; others are configuration
    sa.Column("reserved", sa.Integer, nullable=False),
    sa.Column("spent", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)
reservations_table = _reservations = sa.Table(
    "policy_reservations",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("dimension", sa.Text, primary_key=True),
    sa.Column("amount", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam

_LIMITS = Prepared(
    sa.select(_budgets.c.dimension, _budgets.c.most).where(
        _budgets.c.tenant == _P("tenant"), _budgets.c.scope == _P("scope"), _budgets.c.most.is_not(None)
    )
)
_USED = Prepared(
    sa.select(_budgets.c.reserved, _budgets.c.spent).where(
        _budgets.c.tenant == _P("tenant"), _budgets.c.scope == _P("scope"), _budgets.c.dimension == _P("dimension")
    )
)
_more = insert(_budgets)
_MOVE = Prepared(
    _more.on_conflict_do_update(
        index_elements=[_budgets.c.tenant, _budgets.c.scope, _budgets.c.dimension],
        set_={name: _budgets.c[name] + _more.excluded[name] for name in ("reserved", "spent")},
    )
)
_NEW = Prepared(_budgets.insert())
_HELD_BY = Prepared(
    sa.select(_reservations.c.scope, _reservations.c.dimension, _reservations.c.amount).where(
        _reservations.c.run == _P("run"), _reservations.c.step == _P("step")
    )
)
_ANY_HELD = Prepared(sa.select(_reservations.c.run).limit(1))
_RESERVE = Prepared(_reservations.insert())
_RELEASE = Prepared(_reservations.delete().where(_reservations.c.run == _P("run"), _reservations.c.step == _P("step")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A limit on what an agent, a mandate, or the whole tenant may use. None sets no limit.

    Args:
        scope: `agent:ID`, `mandate:NAME` (runs that were started under it), or `tenant`.
        period: `day` starts anew each UTC day.
        cost_nano_usd: price of model calls.
        amount: money that tools move; in another currency nothing moves unless another budget of the scope limits it.
        calls: actions in this scope, reads too; under such a limit a read leaves an intent.
        alerts: in percent of a limit; people are told when what is spent and reserved reaches one.
        tell: the role whose mail box an alert goes to; webhooks get all.
        tenant: whose; every tenant's, each by itself, if none is named.
        agents: of a mandate, the ids of agents elsewhere that may act under it by naming it.
        allow: of a mandate, names of what may be used under it, `*` at will: `mail.*`, `model:*`; all that policy
            permits where there are none. Runs and sessions keep what it was when they were opened.
    """

    scope: str
    period: Literal["total", "day"] = "total"
    tokens: int | None = None
    cost_nano_usd: int | None = None
    amount: Money | None = None
    calls: int | None = None
    alerts: tuple[int, ...] = ()
    tell: str = ""
    tenant: str = ""
    agents: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        kind, _, name = self.scope.partition(":")
        if self.scope != "tenant" and not (kind in ("agent", "mandate") and name):
            raise BudgetInvalid(scope=self.scope, problem="no such scope")
        if not self.limits:
            raise BudgetInvalid(scope=self.scope, problem="it limits nothing")
        if any(limit < 0 for limit in self.limits.values()):
            raise BudgetInvalid(scope=self.scope, problem="a limit is negative")
        if any(not 0 < each <= 100 for each in self.alerts):
            raise BudgetInvalid(scope=self.scope, problem="an alert is not 1 to 100 percent")
        if self.agents and kind != "mandate":
            raise BudgetInvalid(scope=self.scope, problem="only a mandate names agents")
        if self.allow and kind != "mandate":
            raise BudgetInvalid(scope=self.scope, problem="only a mandate says what may be used under it")

    @property
    def limits(self) -> dict[str, int]:
        """What is limited, by dimension."""
        said = {"tokens": self.tokens, "costNanoUsd": self.cost_nano_usd, "calls": self.calls}
        if self.amount is not None:
            said[AMOUNT + self.amount.currency] = self.amount.minor
        return {dimension: limit for dimension, limit in said.items() if limit is not None}

    def scope_on(self, day: str) -> str:
        """The name under which a day's use is counted."""
        return f"{self.scope}@{day}" if self.period == "day" else self.scope


def budgets_of(budgets: Iterable[Budget], tenant: str) -> list[Budget]:
    """Those that hold for a tenant; its own take the place of everybody's of the same scope."""
    found = list(budgets)
    own = {budget.scope for budget in found if budget.tenant == tenant}
    return [each for each in found if each.tenant == tenant or not (each.tenant or each.scope in own)]


def is_mandate_granted(budgets: Iterable[Budget], tenant: str, agent: str, mandate: str) -> bool:
    """Whether a mandate, as it is for a tenant, names this agent."""
    return any(agent in each.agents for each in budgets_of(budgets, tenant) if each.scope == f"mandate:{mandate}")


def scope_of_mandate(budgets: Iterable[Budget], tenant: str, mandate: str) -> list[list[str]]:
    """What may be used under a mandate: names of which each list must have the one that is used."""
    of_tenant = [each for each in budgets_of(budgets, tenant) if each.scope == f"mandate:{mandate}"]
    return [list(each.allow) for each in of_tenant if each.allow]


class BudgetProjection:
    """Refuses what could exceed a budget; keeps what is reserved and spent.

    Args:
        budgets: limits of agents, of mandates and of the tenant.
    """

    def __init__(self, budgets: Sequence[Budget] = ()) -> None:
        self._of: dict[str, tuple[Budget, ...]] = {}
        for budget in budgets:
            self._of[budget.scope] = (*self._of.get(budget.scope, ()), budget)
        # Most actions reserve nothing: until the first reservation, no outcome has any to release.
        self._may_hold: bool | None = None
        # A run's limits never change, so knowing them saves a query on every step of a run without any.
        self._of_run: dict[str, Mapping[str, int]] = {}

    @property
    def tables(self) -> Sequence[sa.Table]:
        return (_budgets, _reservations)

    @property
    def phases(self) -> frozenset[Phase]:
        return _PHASES

    def forget(self) -> None:
        """Others may have reserved something. A run's limits, once known, stay."""
        self._may_hold = None

    def check(self, tx: Tx, action: Action, decision: Decision, digest: str) -> Ruling | None:
        """What to reserve with the intent; a refusal if it could exceed what is left."""
        of_run = self._limits_of(tx, action.tenant, action.run)
        if decision.verdict == "deny" or not (of_run or action.ancestors or self._of or action.mandate):
            return None
        if action.mandate and f"mandate:{action.mandate}" not in self._of:
            # SECURITY: limits that nobody declared would be none.
            return Ruling(refuse=MandateUnknown(action=action.name, mandate=action.mandate))
        asked = _amounts(action.described.ceiling, action.described.amount)
        if refusal := self._of_another_currency(tx, action, of_run):
            return Ruling(refuse=refusal)
        entries = []
        own: dict[tuple[str, str], int] | None = None
        for scope, limits in self._scopes(tx, action, of_run):
            for dimension, limit in limits.items():
                if not asked.get(dimension):
                    continue
                used = tx.rows(_USED, tenant=action.tenant, scope=scope, dimension=dimension)
                reserved, spent = used[0] if used else (0, 0)
                if reserved:
                    if own is None:  # what an earlier attempt of this step reserved is released by this one
                        own = {(row[0], row[1]): row[2] for row in tx.rows(_HELD_BY, run=action.run, step=action.step)}
                    reserved -= own.get((scope, dimension), 0)
                left = limit - spent - reserved
                if asked[dimension] > left:
                    return Ruling(refuse=_exceeded(action, scope, dimension, asked[dimension], left, limit))
                entries.append({"scope": scope, "dimension": dimension, "amount": asked[dimension]})
        return Ruling(budget=tuple(entries)) if entries else None

    def _scopes(self, tx: Tx, action: Action, of_run: Mapping[str, int]) -> Iterator[tuple[str, Mapping[str, int]]]:
        if of_run:
            yield f"run:{action.run}", of_run
        for run in action.ancestors:  # what was delegated is charged to whoever delegated it, too
            yield f"run:{run}", self._limits_of(tx, action.tenant, run)
        for budget in self._over(action):
            yield budget.scope_on(tx.now[:10]), budget.limits

    def _over(self, action: Action) -> Iterator[Budget]:
        """The budgets of its agent, its mandate and its tenant; a tenant's own take the place of everybody's."""
        mandate = f"mandate:{action.mandate}" if action.mandate else ""
        for scope in (f"agent:{action.agent}", mandate, "tenant"):
            found = self._of.get(scope, ())
            own = [budget for budget in found if budget.tenant == action.tenant]
            yield from own or (budget for budget in found if not budget.tenant)

    def _of_another_currency(self, tx: Tx, action: Action, of_run: Mapping[str, int]) -> BudgetExceeded | None:
        """Where a scope limits money, money in a currency that it does not limit has no limit but this one: none."""
        amount = action.described.amount
        if amount is None or amount.minor <= 0:
            return None
        limited: dict[str, set[str]] = {f"run:{action.run}": set(of_run)}
        limited |= {f"run:{run}": set(self._limits_of(tx, action.tenant, run)) for run in action.ancestors}
        for budget in self._over(action):
            limited.setdefault(budget.scope, set()).update(budget.limits)
        asked = AMOUNT + amount.currency
        for scope, dimensions in limited.items():
            if asked not in dimensions and any(each.startswith(AMOUNT) for each in dimensions):
                return _exceeded(action, scope, asked, amount.minor, 0, 0)
        return None

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Reserve with an intent, settle with an outcome, release with a write-off."""
        said = receipt.predicate
        phase, tenant, run, step = said["phase"], said["tenant"], said["run"], said.get("step", "")
        if phase == "run.open":
            self._open(tx, tenant, run, said["control"].get("limits", {}))
        elif phase == "intent":
            entries = said.get("authority", {}).get("budget", ())
            if said.get("attempt", 1) > 1:
                self._release(tx, tenant, run, step)
            for entry in entries:
                self._move(tx, tenant, entry["scope"], entry["dimension"], reserve=entry["amount"])
                tx.run(_RESERVE, run=run, step=step, **entry)
                self._may_hold = True
        elif phase == "outcome":
            if not self._limits_of(tx, tenant, run) and not self._may_hold_any(tx):
                return
            moved = said["action"].get("amount") if said["effect"]["status"] == "ok" else None
            amount = Money(moved["minor"], moved["currency"]) if moved else None
            self._settle(tx, tenant, run, step, _amounts(Usage.from_json(said.get("usage", {})), amount))
        elif said["control"].get("do") == "write-off":
            self._release(tx, tenant, run, step)

    def _open(self, tx: Tx, tenant: str, run: str, limits: Mapping[str, int]) -> None:
        kept = {name: most for name, most in limits.items() if name in _DIMENSIONS or name.startswith(AMOUNT)}
        for dimension, most in kept.items():
            tx.run(_NEW, tenant=tenant, scope=f"run:{run}", dimension=dimension, most=most, reserved=0, spent=0)
        self._know(run, kept)

    def _settle(self, tx: Tx, tenant: str, run: str, step: str, used: Mapping[str, int]) -> None:
        of_run = self._limits_of(tx, tenant, run)
        scope_of_run = f"run:{run}"
        for scope, dimension in self._release(tx, tenant, run, step):
            if scope != scope_of_run:
                self._move(tx, tenant, scope, dimension, spend=used.get(dimension, 0))
        for dimension in of_run:  # also for reads, which reserve nothing
            if spent := used.get(dimension):
                self._move(tx, tenant, scope_of_run, dimension, spend=spent)

    def _release(self, tx: Tx, tenant: str, run: str, step: str) -> list[tuple[str, str]]:
        if not self._may_hold_any(tx):
            return []
        held = [tuple(row) for row in tx.rows(_HELD_BY, run=run, step=step)]
        for scope, dimension, amount in held:
            self._move(tx, tenant, scope, dimension, reserve=-amount)
        if held:
            tx.run(_RELEASE, run=run, step=step)
        return [(scope, dimension) for scope, dimension, _ in held]

    def _may_hold_any(self, tx: Tx) -> bool:
        if self._may_hold is None:
            self._may_hold = bool(tx.rows(_ANY_HELD))
        return self._may_hold

    def _move(self, tx: Tx, tenant: str, scope: str, dimension: str, *, reserve: int = 0, spend: int = 0) -> None:
        tx.run(_MOVE, tenant=tenant, scope=scope, dimension=dimension, most=None, reserved=reserve, spent=spend)

    def _limits_of(self, tx: Tx, tenant: str, run: str) -> Mapping[str, int]:
        known = self._of_run.get(run)
        if known is None:
            known = {row[0]: row[1] for row in tx.rows(_LIMITS, tenant=tenant, scope=f"run:{run}")}
            self._know(run, known)
        return known

    def _know(self, run: str, limits: Mapping[str, int]) -> None:
        if len(self._of_run) >= _MOST_RUNS:
            del self._of_run[next(iter(self._of_run))]
        self._of_run[run] = limits


_PHASES: frozenset[Phase] = frozenset({"run.open", "intent", "outcome", "control"})


def _amounts(usage: Usage, amount: Money | None) -> dict[str, int]:
    """Every action is one call, whatever its usage says; and money that comes back frees no budget."""
    said = {"tokens": usage.tokens, "costNanoUsd": usage.cost_nano_usd, "calls": max(usage.calls, 1)}
    if amount is not None:
        said[AMOUNT + amount.currency] = max(amount.minor, 0)
    return said


def _exceeded(action: Action, scope: str, dimension: str, asked: int, left: int, limit: int) -> BudgetExceeded:
    return BudgetExceeded(
        action=action.name, scope=scope, dimension=dimension, asked=asked, left=max(left, 0), limit=limit
    )
