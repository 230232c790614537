"""Facts about history: what was done to a target before, and how much money moved today.

Both count what is in flight and what is of unknown fate, because either may have happened. A failed,
refused or written-off effect gives back what it took. Reads are not counted: they do nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from answerable.core import Action, Decision, Effect, FactScope
from answerable.ledger import Phase, Prepared, Receipt, Ruling, Tx, insert, metadata
from answerable.policy._ports import Rows

__all__ = ["Facts", "FactsProjection", "read_facts"]

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


def _counting(scopes: int) -> Prepared:
    """Adds to one scope, or to two of one tenant at once."""
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


_COUNT_ONE, _COUNT_TWO = _counting(1), _counting(2)
_FIND = Prepared(
    sa.select(_open.c.tenant, _open.c.target_scope, _open.c.day_scope, _open.c.amount, _open.c.is_counted).where(
        _open.c.run == _P("run"), _open.c.step == _P("step")
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
_ANY_GIVEN_BACK = Prepared(sa.select(_open.c.run).where(_open.c.is_counted.is_(False)).limit(1))
_PHASES: frozenset[Phase] = frozenset({"intent", "outcome", "control", "run.close"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What history says of an action, and the scopes it was read from."""

    prior_on_target: int = 0
    amount_today_minor: int = 0
    scopes: tuple[FactScope, ...] = ()


def read_facts(rows: Rows, action: Action, names: frozenset[str], today: str) -> Facts:
    """The facts in `names`, without what the action's own step has in flight; `today` is the UTC day, `2026-11-21`."""
    described = action.described
    prior = total = 0
    scopes: list[FactScope] = []
    own: Sequence[Any] | None = None
    if "prior_on_target" in names and described.target:
        scope = _target_scope(action.name, described.target)
        version, prior, _ = _read(rows, action.tenant, scope)
        if prior and (own := _own(rows, action)) and own[1] == scope:
            prior -= 1
        scopes.append(FactScope(scope, version))
    if "amount_today_minor" in names and described.amount:
        scope = _day_scope(action.name, described.amount.currency, today)
        version, _, total = _read(rows, action.tenant, scope)
        if total and (own := own or _own(rows, action)) and own[2] == scope:
            total -= own[3]
        scopes.append(FactScope(scope, version))
    return Facts(prior, total, tuple(scopes))


def _target_scope(name: str, target: str) -> str:
    return f"target:{name}:{target}" if target else ""


def _day_scope(name: str, currency: str, day: str) -> str:
    return f"day:{name}:{currency}:{day}"


def _read(rows: Rows, tenant: str, scope: str) -> Sequence[Any]:
    found = rows(_SCOPE, tenant=tenant, scope=scope)
    return found[0] if found else (0, 0, 0)


def _own(rows: Rows, action: Action) -> Sequence[Any] | None:
    found = rows(_FIND, run=action.run, step=action.step)
    return found[0] if found and found[0][4] else None


class FactsProjection:
    """Keeps the facts, and has `open` decide again when one moved since the decision."""

    def __init__(self) -> None:
        # None: not looked up yet. Nearly always False, and then an effect that went well needs no look.
        self._some_given_back: bool | None = None

    @property
    def tables(self) -> Sequence[sa.Table]:
        return (_facts, _open)

    @property
    def phases(self) -> frozenset[Phase]:
        return _PHASES

    def forget(self) -> None:
        """Others may have given something back."""
        self._some_given_back = None

    def check(self, tx: Tx, action: Action, decision: Decision, digest: str) -> Ruling | None:
        """`moved` if a scope that a permit rests on has another version now; a denial stands."""
        if decision.verdict != "deny":
            for scope in decision.facts:
                if _read(tx.rows, action.tenant, scope.name)[0] != scope.version:
                    return Ruling(moved=True)
        return None

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Take with the intent; keep or give back with the outcome; what is open ends with the run."""
        said = receipt.predicate
        run, step = said["run"], said.get("step", "")
        if receipt.phase == "intent":
            self._take(tx, said)
        elif receipt.phase == "run.close":
            tx.run(_FORGET, of_run=run)
        elif receipt.phase == "outcome":
            if said.get("intentRef") and _counts(said["action"]):
                counts = said["effect"]["status"] == "ok"
                if counts and not self._may_be_given_back(tx):
                    return  # counted since its intent
                for tenant, target, day, minor, is_counted in tx.rows(_TAKE_OUT, run=run, step=step):
                    if bool(is_counted) != counts:
                        self._count(tx, tenant, target, day, minor, more=1 if counts else -1)
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
        target = _target_scope(action["name"], action.get("target", ""))
        day = _day_scope(action["name"], amount["currency"], said["at"][:10]) if amount else ""
        minor = amount["minor"] if amount else 0
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
        total = minor * more
        if target and day:
            tx.run(_COUNT_TWO, of_tenant=tenant, scope_0=target, scope_1=day, minor_0=0, minor_1=total, more=more)
        elif target or day:
            tx.run(_COUNT_ONE, of_tenant=tenant, scope_0=target or day, minor_0=total if day else 0, more=more)
        if more < 0:
            self._some_given_back = True

    def _may_be_given_back(self, tx: Tx) -> bool:
        if self._some_given_back is None:
            self._some_given_back = bool(tx.rows(_ANY_GIVEN_BACK))
        return self._some_given_back


def _counts(action: dict[str, Any]) -> bool:
    """Whether the facts say anything of such an action."""
    return action["effect"] != Effect.READ and bool(action.get("target") or action.get("amount"))
