"""Counts of what was done: kept with every effect, and compared again when an action is opened.

What is in flight and what is of unknown fate counts, because either may have happened. A failed, refused or
written-off effect gives back what it took. Reads are not counted: they do nothing.

| scope | counts |
|---|---|
| `target:NAME:TARGET` | effects of a tool on a target |
| `day:NAME:CURRENCY:DAY` | effects of a tool on a UTC day, and the money they moved; no currency where they move none |
| `payee:DAY:CURRENCY:NAME:TARGET` | those of them that moved money to one target |
| `payees:NAME:CURRENCY:DAY` | targets with at least one of those; follows from them, and has no version of its own |

More are looked up and not kept here: `days:NAME:CURRENCY:N:DAY` (N days up to DAY), `approved:NAME:TARGET`,
`roles:PERSON`, `tier:AGENT:ENVIRONMENT:EFFECT`, `run:RUN` (its last receipt), `moved:CURRENCY:RUN`,
and the clock's own `hour:…` and `date:…`.
"""

import zlib
from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache, lru_cache
from typing import Any

import sqlalchemy as sa

from answerable.core import Action, Decision, Effect, RunId, TenantId
from answerable.identity import registered_roles
from answerable.ledger import Emptiness, Phase, Prepared, Receipt, Ruling, RulingTx, Tx, insert, metadata
from answerable.policy._approvals import approvals_table
from answerable.policy._autonomy import tier_version
from answerable.policy._ports import Rows

__all__ = [
    "WINDOWS",
    "FactsProjection",
    "day_scope",
    "days_of",
    "look",
    "look_among",
    "moved_in_run",
    "own_approval",
    "own_effect",
    "payee_scope",
    "payees_scope",
    "target_scope",
]

_NOTHING = (0, 0, 0)
WINDOWS = (7, 30)
"""Lengths of windows in days; the day that it is now counts as one."""

_facts = sa.Table(
    "policy_facts",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("total", sa.Integer, nullable=False),
    sqlite_with_rowid=False,
)
_open = sa.Table(
    "policy_open_effects",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("target_scope", sa.Text, nullable=False),
    sa.Column("day_scope", sa.Text, nullable=False),
    sa.Column("amount", sa.Integer, nullable=False),
    sa.Column("is_counted", sa.Boolean, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam

_SCOPE = Prepared(
    sa.select(_facts.c.version, _facts.c.count, _facts.c.total).where(
        _facts.c.tenant == _P("tenant"), _facts.c.scope == _P("scope")
    )
)


@cache
def _among(number: int) -> Prepared:
    """Finds several scopes at once."""
    scopes: list[sa.BindParameter[str]] = [_P(f"scope_{each}") for each in range(number)]
    found = sa.select(_facts.c.scope, _facts.c.version, _facts.c.count, _facts.c.total)
    return Prepared(found.where(_facts.c.tenant == _P("tenant"), _facts.c.scope.in_(scopes)))


_APPROVED = Prepared(
    sa.select(sa.func.count()).where(
        approvals_table.c.tenant == _P("tenant"),
        approvals_table.c.name == _P("name"),
        approvals_table.c.target == _P("target"),
        approvals_table.c.taken != "",
    )
)
_OWN_APPROVED = Prepared(
    sa.select(sa.func.count()).where(
        approvals_table.c.run == _P("run"), approvals_table.c.step == _P("step"), approvals_table.c.taken != ""
    )
)


def _counting(scopes: int) -> Prepared:
    """Adds to several scopes of one tenant at once."""
    new = insert(_facts).values(
        [
            {
                _facts.c.tenant: _P("of_tenant"),
                _facts.c.scope: _P(f"scope_{each}"),
                _facts.c.version: 1,
                _facts.c.count: _P("more"),
                _facts.c.total: _P(f"minor_{each}"),
            }
            for each in range(scopes)
        ]
    )
    added = {
        "version": _facts.c.version + 1,
        "count": _facts.c.count + new.excluded["count"],
        "total": _facts.c.total + new.excluded.total,
    }
    return Prepared(new.on_conflict_do_update(index_elements=[_facts.c.tenant, _facts.c.scope], set_=added))


_COUNT_ONE, _COUNT_TWO, _COUNT_PAID = _counting(1), _counting(2), _counting(3)
_paid = _facts.alias("paid")
_new_payee = insert(_facts).values(
    {
        _facts.c.tenant: _P("of_tenant"),
        _facts.c.scope: _P("scope"),
        _facts.c.version: 0,  # INVARIANT: moves with the day's scope, so that applications for two runs commute
        # Counted where it is the first to this payee that day, or the last of them given back. In one statement, so
        # that nobody waits for an answer where the store is far away.
        _facts.c.count: sa.select(sa.case((_paid.c.count == _P("edge"), _P("more")), else_=sa.literal_column("0")))
        .where(_paid.c.tenant == _P("of_tenant"), _paid.c.scope == _P("payee"))
        .scalar_subquery(),
        _facts.c.total: 0,
    }
)
_COUNT_PAYEES = Prepared(
    _new_payee.on_conflict_do_update(
        index_elements=[_facts.c.tenant, _facts.c.scope],
        set_={"count": _facts.c.count + _new_payee.excluded["count"]},
    )
)
_FIND = Prepared(
    sa.select(_open.c.tenant, _open.c.target_scope, _open.c.day_scope, _open.c.amount, _open.c.is_counted).where(
        _open.c.run == _P("run"), _open.c.step == _P("step")
    )
)
_IN_RUN = Prepared(
    sa.select(sa.func.coalesce(sa.func.sum(_open.c.amount), 0)).where(
        _open.c.run == _P("run"), _open.c.is_counted.is_(True), _open.c.day_scope.like(_P("of_currency"))
    )
)
_PUT = Prepared(_open.insert())
_DROP = Prepared(_open.delete().where(_open.c.run == _P("run"), _open.c.step == _P("step")))
_TAKE_OUT = Prepared(
    _open.delete()
    .where(_open.c.run == _P("run"), _open.c.step == _P("step"))
    .returning(_open.c.tenant, _open.c.target_scope, _open.c.day_scope, _open.c.amount, _open.c.is_counted)
)
_FORGET = Prepared(_open.delete().where(_open.c.run == _P("of_run")))
_ANY_OPEN = Prepared(sa.select(_open.c.run).limit(1))
_ANY_GIVEN_BACK = Prepared(sa.select(_open.c.run).where(_open.c.is_counted.is_(False)).limit(1))
_PHASES: frozenset[Phase] = frozenset({"intent", "outcome", "control", "run.close"})


def target_scope(name: str, target: str) -> str:
    """Where effects on a target are counted."""
    return f"target:{name}:{target}" if target else ""


def day_scope(name: str, currency: str, day: str) -> str:
    """Where effects of a day are counted."""
    return f"day:{name}:{currency}:{day}"


def payee_scope(day: str, target: str) -> str:
    """Where a day's payments to one target are counted, from the day's scope and the target's."""
    return f"payee:{day[-10:]}:{day[-14:-11]}{target[6:]}"


def payees_scope(day: str) -> str:
    """Where a day's targets are counted; `day` is the day's scope."""
    return f"payees:{day[4:]}"


def look(rows: Rows, tenant: str, scope: str) -> Sequence[int]:
    """Version, count and total of a scope now."""
    kind, _, rest = scope.partition(":")
    if kind == "days":
        found = look_among(rows, tenant, days_of(scope))
        return tuple(map(sum, zip(*found.values(), strict=True))) if found else _NOTHING
    if kind == "approved":
        name, _, target = rest.partition(":")
        count = rows(_APPROVED, tenant=tenant, name=name, target=target)[0][0]
        return (count, count, 0)
    if kind == "moved":
        currency, _, run = rest.partition(":")
        moved = moved_in_run(rows, run, currency)
        return (moved, 0, moved)
    if kind == "tier":
        return (tier_version(rows, tenant, scope), 0, 0)
    if kind == "roles":
        roles = registered_roles(rows, TenantId(tenant), rest)
        return (zlib.crc32(" ".join(roles).encode()), len(roles), 0)
    rested = rows(_SCOPE, tenant=tenant, scope=scope)
    return rested[0] if rested else _NOTHING


def look_among(rows: Rows, tenant: str, scopes: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Version, count and total of those of these scopes that there are, in one query."""
    named = {f"scope_{number}": scope for number, scope in enumerate(scopes)}
    found = rows(_among(len(scopes)), tenant=tenant, **named)
    return {scope: (version, count, total) for scope, version, count, total in found}


def days_of(scope: str) -> list[str]:
    """The days' scopes that a window adds up."""
    named, length, last = scope[5:].rsplit(":", 2)
    return [f"day:{named}:{day}" for day in _days_until(last, int(length))]


@lru_cache(maxsize=16)
def _days_until(last: str, number: int) -> tuple[str, ...]:
    until = date.fromisoformat(last)
    return tuple(str(until - timedelta(days=each)) for each in range(number))


def own_approval(rows: Rows, action: Action) -> int:
    """How often the action's own step was let through by approval, on an earlier attempt."""
    return int(rows(_OWN_APPROVED, run=action.run, step=action.step)[0][0])


def moved_in_run(rows: Rows, run: str, currency: str) -> int:
    """What a run moved in a currency, by any tool; what it has in flight included."""
    return int(rows(_IN_RUN, run=run, of_currency=f"%:{currency}:____-__-__")[0][0])


def own_effect(rows: Rows, action: Action) -> Sequence[Any] | None:
    """What the action's own step has in flight: tenant, scope of the target, scope of the day, amount."""
    found = rows(_FIND, run=action.run, step=action.step)
    return found[0] if found and found[0][4] else None


class FactsProjection:
    """Keeps the counts, and has `open` decide again when a fact moved since the decision."""

    def __init__(self) -> None:
        # None: not looked up yet. Nearly always False, and then an effect that went well needs no look.
        self._some_given_back: bool | None = None
        self._none_open = Emptiness(_ANY_OPEN)

    @property
    def tables(self) -> Sequence[sa.Table]:
        return (_facts, _open)

    @property
    def phases(self) -> frozenset[Phase]:
        return _PHASES

    def forget(self) -> None:
        """Others may have done something, or given it back."""
        self._some_given_back = None
        self._none_open.end()

    def check(self, tx: RulingTx, action: Action, decision: Decision, digest: str) -> Ruling | None:
        """`moved` if a scope that a permit rests on has another version now; a denial stands."""
        if decision.verdict != "deny":
            for scope in decision.facts:
                kind, _, rest = scope.name.partition(":")
                if kind in ("hour", "date"):
                    if not tx.now.startswith(rest):
                        return Ruling(moved=True)
                elif kind == "run":
                    if tx.last_seq(RunId(rest)) != scope.version:
                        return Ruling(moved=True)
                elif look(tx.rows, action.tenant, scope.name)[0] != scope.version:
                    return Ruling(moved=True)
        return None

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Take with the intent; keep or give back with the outcome; what is open ends with the run."""
        said = receipt.predicate
        phase, run, step = said["phase"], said["run"], said.get("step", "")
        if phase == "intent":
            self._take(tx, said)
        elif phase == "run.close":
            if not self._none_open.stands(tx):
                tx.run(_FORGET, of_run=run)
        elif phase == "outcome":
            if "intentRef" in said and _counts(said["action"]):
                if said["effect"]["status"] == "ok":
                    if self._may_be_given_back(tx):  # else it is counted since its intent
                        self._settle(tx, run, step, counts=True)
                    return
                for tenant, target, day, minor, is_counted in tx.rows(_TAKE_OUT, run=run, step=step):
                    if is_counted:
                        self._count(tx, tenant, target, day, minor, more=-1)
        elif said["control"].get("do") == "write-off":
            self._settle(tx, run, step, counts=False)

    def _take(self, tx: Tx, said: dict[str, Any]) -> None:
        action = said["action"]
        amount = action.get("amount")
        if not _counts(action):
            return
        run, step = said["run"], said["step"]
        if said["attempt"] > 1 and (found := tx.rows(_FIND, run=run, step=step)):
            if found[0][4]:
                return  # a further attempt at what is already counted
            tx.run(_DROP, run=run, step=step)
        target = target_scope(action["name"], action.get("target", ""))
        day = day_scope(action["name"], amount["currency"] if amount else "", said["at"][:10])
        minor = amount["minor"] if amount else 0
        self._none_open.end()
        tx.run(
            _PUT,
            run=run,
            step=step,
            tenant=said["tenant"],
            target_scope=target,
            day_scope=day,
            amount=minor,
            is_counted=True,
        )
        self._count(tx, said["tenant"], target, day, minor, more=1)

    def _settle(self, tx: Tx, run: str, step: str, *, counts: bool) -> None:
        for tenant, target, day, minor, is_counted in tx.rows(_FIND, run=run, step=step):
            if bool(is_counted) == counts:
                continue
            self._count(tx, tenant, target, day, minor, more=1 if counts else -1)
            tx.run(_DROP, run=run, step=step)
            tx.run(
                _PUT,
                run=run,
                step=step,
                tenant=tenant,
                target_scope=target,
                day_scope=day,
                amount=minor,
                is_counted=counts,
            )

    def _count(self, tx: Tx, tenant: str, target: str, day: str, minor: int, *, more: int) -> None:
        said: dict[str, Any] = {"of_tenant": tenant, "scope_0": day, "minor_0": minor * more, "more": more}
        if not target:
            tx.run(_COUNT_ONE, **said)
        elif day[-12] == ":":  # no currency
            tx.run(_COUNT_TWO, **said, scope_1=target, minor_1=0)
        else:
            payee = payee_scope(day, target)
            tx.run(_COUNT_PAID, **said, scope_1=target, minor_1=0, scope_2=payee, minor_2=0)
            tx.run(_COUNT_PAYEES, of_tenant=tenant, scope=payees_scope(day), payee=payee, more=more, edge=max(more, 0))
        if more < 0:
            self._some_given_back = True

    def _may_be_given_back(self, tx: Tx) -> bool:
        if self._some_given_back is None:
            self._some_given_back = bool(tx.rows(_ANY_GIVEN_BACK))
        return self._some_given_back


def _counts(action: dict[str, Any]) -> bool:
    """Whether the facts say anything of such an action."""
    return action["effect"] != Effect.READ and bool(action.get("target") or action.get("amount"))
