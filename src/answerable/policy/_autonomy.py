"""Tiers of autonomy: what an agent may do by itself, per effect and environment.

`draft` does nothing of the kind, `approve` asks a person each time, `execute` leaves it to policy. An agent
begins where it is declared, at `execute` if it says nothing. Each change is a receipt (`control.do` =
`autonomy`) in the tenant's control run, and one that widens cites what was measured and how it can be rolled
back.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from answerable.core import Action, Decision, Effect, TenantId
from answerable.ledger import Draft, Phase, Prepared, Receipt, Ruling, Tx, control_run, metadata
from answerable.policy._errors import AutonomyInvalid, AutonomyUnproven, ObligationInvalid
from answerable.policy._obligations import parse_obligations
from answerable.policy._ports import Book, Rows, Store

__all__ = [
    "Autonomy",
    "AutonomyProjection",
    "Tier",
    "TierOfAgent",
    "is_tiered",
    "read_tier",
    "tier_scope",
    "tier_version",
]

Tier = Literal["draft", "approve", "execute"]
_ORDER: Mapping[str, int] = {"draft": 0, "approve": 1, "execute": 2}
_EFFECTS = (Effect.WRITE.value, Effect.IRREVERSIBLE.value)
_UNLIMITED = ("execute", "")

_tiers = sa.Table(
    "policy_autonomy",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("agent", sa.Text, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("effect", sa.Text, primary_key=True),
    sa.Column("tier", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("receipt", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_t = _tiers.c
_P = sa.bindparam
_OF = (
    (_t.tenant == _P("tenant"))
    & (_t.agent == _P("agent"))
    & (_t.environment == _P("environment"))
    & (_t.effect == _P("effect"))
)
_ONE = Prepared(sa.select(_t.tier, _t.role).where(_OF))
_ANY = Prepared(sa.select(_t.agent).limit(1))
_ALL = Prepared(
    sa.select(_t.agent, _t.environment, _t.effect, _t.tier, _t.role, _t.receipt)
    .where(_t.tenant == _P("tenant"))
    .order_by(_t.agent, _t.environment, _t.effect)
)
_PUT = Prepared(_tiers.insert())
_DROP = Prepared(sa.delete(_tiers).where(_OF))


@dataclass(frozen=True, slots=True, kw_only=True)
class TierOfAgent:
    """What an agent may do of one effect in one environment; `role` is asked where it is `approve`."""

    agent: str
    environment: str
    effect: str
    tier: str
    role: str
    receipt: str


def is_tiered(action: Action) -> bool:
    """Whether tiers say anything of an action. Reads are free, and so is to ask a person."""
    return action.described.effect is not Effect.READ and action.kind != "decision"


def tier_scope(action: Action) -> str:
    """The scope under which an action's tier is compared again when it is opened."""
    return f"tier:{action.agent}:{action.environment}:{action.described.effect.value}"


def read_tier(rows: Rows, tenant: str, scope: str) -> tuple[str, str]:
    """Tier and role of a scope now."""
    agent, environment, effect = scope.removeprefix("tier:").rsplit(":", 2)
    found = rows(_ONE, tenant=tenant, agent=agent, environment=environment, effect=effect)
    return (found[0][0], found[0][1]) if found else _UNLIMITED


def tier_version(rows: Rows, tenant: str, scope: str) -> int:
    """Another number whenever a scope has another tier or role."""
    return zlib.crc32(" ".join(read_tier(rows, tenant, scope)).encode())


class AutonomyProjection:
    """The table `policy_autonomy`; has a decision made again that was made before the first tier was set."""

    def __init__(self) -> None:
        # Known to hold no tier at all. INVARIANT: as for stops, a process that has seen one always asks the table.
        self._is_empty: bool | None = None

    @property
    def tables(self) -> Sequence[sa.Table]:
        return (_tiers,)

    @property
    def phases(self) -> frozenset[Phase]:
        return frozenset({"control"})

    def is_empty(self, rows: Rows) -> bool:
        """Whether no agent has a tier, so that nothing needs to be looked up."""
        if self._is_empty is None:
            self._is_empty = not rows(_ANY)
        return self._is_empty

    def check(self, tx: Tx, action: Action, decision: Decision, digest: str) -> Ruling | None:
        """`moved` where a decision read no tier, and there are tiers now."""
        if self.is_empty(tx.rows) or decision.verdict == "deny" or not is_tiered(action):
            return None
        scope = tier_scope(action)
        return None if any(fact.name == scope for fact in decision.facts) else Ruling(moved=True)

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow a change of tier."""
        said = receipt.predicate
        control = said["control"]
        if control.get("do") != "autonomy":
            return
        self._is_empty = False
        named = {name: control[name] for name in ("agent", "environment", "effect")}
        tx.run(_DROP, tenant=said["tenant"], **named)
        tx.run(
            _PUT,
            tenant=said["tenant"],
            **named,
            tier=control["tier"],
            role=control.get("role", ""),
            receipt=said["id"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Autonomy:
    """Tiers of agents, on the record.

    Args:
        book: where changes are written down.
        store: where they are read.
    """

    book: Book
    store: Store
    tenant: TenantId = TenantId("default")

    def tiers(self) -> list[TierOfAgent]:
        """Every tier that was set."""
        names = ("agent", "environment", "effect", "tier", "role", "receipt")
        rows = self.store.rows(_ALL, tenant=self.tenant)
        return [TierOfAgent(**dict(zip(names, row, strict=True))) for row in rows]

    async def declare(self, agent: str, *, environment: str, tier: str, role: str) -> None:
        """Have an agent begin at a tier, where none was set for it before; what was decided since stands.

        Raises:
            AutonomyInvalid: no such tier, or it would ask nobody.
        """
        _check(agent, tier, role)
        known = {(each.agent, each.environment, each.effect) for each in self.tiers()}
        for effect in _EFFECTS:
            if (agent, environment, effect) not in known:
                named = {"agent": agent, "environment": environment, "effect": effect, "tier": tier, "role": role}
                await self._write({**named, "was": "", "reason": "as declared"}, once=f"{agent}:{environment}:{effect}")

    async def set(
        self,
        agent: str,
        tier: str,
        *,
        environment: str,
        effects: Sequence[str] = _EFFECTS,
        role: str = "",
        by: str,
        reason: str,
        measured: str = "",
        undo: str = "",
        evidence: Sequence[Mapping[str, str]] = (),
    ) -> list[TierOfAgent]:
        """Change what an agent may do by itself; the agent's tiers then.

        Args:
            role: who is asked where it is `approve`.
            by: the person's name; the record carries a pseudonym.
            measured: what was seen that speaks for more autonomy.
            undo: how what it does can be rolled back.
            evidence: what shows it, each `{"kind": …, "digest": "sha256:…"}`.

        Raises:
            AutonomyInvalid: no such tier or effect, or it would ask nobody.
            AutonomyUnproven: it widens, and cites nothing.
        """
        _check(agent, tier, role)
        if unknown := set(effects) - set(_EFFECTS):
            raise AutonomyInvalid(agent=agent, problem=f"`{min(unknown)}` is neither `write` nor `irreversible`")
        was = {effect: self._tier_of(agent, environment, effect) for effect in effects}
        is_wider = any(_ORDER[tier] > _ORDER[before] for before in was.values())
        if is_wider and not (measured.strip() and undo.strip() and evidence):
            raise AutonomyUnproven(agent=agent, tier=tier, was=min(was.values(), key=_ORDER.__getitem__))
        said = {"by": self.book.pseudonym(self.tenant, f"person:{by.rpartition(':')[2]}"), "reason": reason}
        more: dict[str, Any] = {"measured": measured, "undo": undo, "evidence": [dict(each) for each in evidence]}
        shown = {name: value for name, value in more.items() if value}
        for effect, before in was.items():
            named = {"agent": agent, "environment": environment, "effect": effect, "tier": tier, "role": role}
            await self._write({**named, "was": before, **said, **shown})
        return [each for each in self.tiers() if (each.agent, each.environment) == (agent, environment)]

    def _tier_of(self, agent: str, environment: str, effect: str) -> str:
        return read_tier(self.store.rows, self.tenant, f"tier:{agent}:{environment}:{effect}")[0]

    async def _write(self, said: dict[str, Any], *, once: str = "") -> None:
        control = {"do": "autonomy", **{name: value for name, value in said.items() if value or name == "was"}}
        draft = Draft(
            tenant=self.tenant,
            run=control_run(self.tenant),
            phase="control",
            agent="",
            once=f"autonomy:{self.tenant}:{once}" if once else "",
            members={"control": control},
        )
        await self.book.append(draft)


def _check(agent: str, tier: str, role: str) -> None:
    if tier not in _ORDER:
        raise AutonomyInvalid(agent=agent, problem=f"`{tier}` is none of `draft`, `approve` and `execute`")
    if tier == "approve" and not _is_role(role):
        raise AutonomyInvalid(agent=agent, problem=f"`{role}` is no role that could be asked")


def _is_role(role: str) -> bool:
    try:
        parse_obligations(f"approve:role={role}", policy="autonomy")
    except ObligationInvalid:
        return False
    return True
