"""Stops: a run, agent, tool, model, tenant or everything is stopped at its next action."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from answerable.core import Action, Decision, RunId, TenantId
from answerable.ledger import Draft, Phase, Prepared, Receipt, Ruling, Tx, metadata
from answerable.policy._errors import Stopped, StopScopeInvalid, StopUnknown
from answerable.policy._ports import Book, Store

__all__ = ["Stop", "Stops", "StopsProjection", "is_in_scope"]

_SCOPE = re.compile(r"tenant|all|(?:run|agent|tool|model):\S{1,200}")
_EVERY_TENANT = "*"

_stops = sa.Table(
    "policy_stops",
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

_STANDING = Prepared(
    sa.select(_stops.c.scope, _stops.c.reason, _stops.c.by, _stops.c.since)
    .where(sa.or_(_stops.c.tenant == _P("tenant"), _stops.c.tenant == _P("every")))
    .order_by(_stops.c.since, _stops.c.scope)
)
_ANY = Prepared(sa.select(_stops.c.scope).limit(1))
_PUT = Prepared(_stops.insert())
_DROP = Prepared(_stops.delete().where(_stops.c.tenant == _P("tenant"), _stops.c.scope == _P("scope")))
_PHASES: frozenset[Phase] = frozenset({"control"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """What is stopped, why, by whom (a pseudonym) and since when."""

    scope: str
    reason: str
    by: str
    since: str


class StopsProjection:
    """Refuses every action that belongs to something stopped."""

    def __init__(self) -> None:
        self._generation = 0
        # Known to hold no stop at all. Once this process has seen a stop or lift it always asks the table: a commit
        # that failed would leave a copy in memory wrong. Where others write too, `forget` tells of them.
        self._is_empty: bool | None = None

    @property
    def generation(self) -> int:
        """Moves with every stop and lift of this process: part of the decision cache's key."""
        return self._generation

    @property
    def tables(self) -> Sequence[sa.Table]:
        return (_stops,)

    @property
    def phases(self) -> frozenset[Phase]:
        return _PHASES

    def forget(self) -> None:
        """Others may have stopped something."""
        self._is_empty = None

    def check(self, tx: Tx, action: Action, decision: Decision, digest: str) -> Ruling | None:
        """A refusal if anything the action belongs to is stopped."""
        if self._is_empty:
            return None
        if self._is_empty is None:
            self._is_empty = not tx.rows(_ANY)
            return self.check(tx, action, decision, digest)
        standing = tx.rows(_STANDING, tenant=action.tenant, every=_EVERY_TENANT)
        own = _scopes_of(action.run, action.agent, action.kind, action.name)
        for scope, reason, *_ in standing:
            if scope in own:
                return Ruling(refuse=Stopped(action=action.name, scope=scope, reason=reason))
        return None

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow a stop or a lift."""
        said = receipt.predicate
        control = said["control"]
        if control.get("do") not in ("stop", "lift"):
            return
        self._generation += 1
        self._is_empty = False
        scope = control["scope"]
        tenant = _EVERY_TENANT if scope == "all" else said["tenant"]
        tx.run(_DROP, tenant=tenant, scope=scope)
        if control["do"] == "stop":
            tx.run(
                _PUT,
                tenant=tenant,
                scope=scope,
                reason=control["reason"],
                by=control["by"],
                since=said["at"],
                receipt=said["id"],
            )


def is_in_scope(scope: str, *, run: str, agent: str, kind: str, name: str) -> bool:
    """Whether an action belongs to what a stop names."""
    return scope in _scopes_of(run, agent, kind, name)


def _scopes_of(run: str, agent: str, kind: str, name: str) -> frozenset[str]:
    server, dot, _ = name.rpartition(".") if kind == "tool" else name.rpartition(":")
    whole_server = {f"{kind}:{server}{dot}*"} if dot else set()
    return frozenset({f"run:{run}", f"agent:{agent}", f"{kind}:{name}", "tenant", "all"} | whole_server)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """Stop and lift, on the record.

    Args:
        book: where it is written down.
        store: where it is read.
    """

    book: Book
    store: Store

    async def stop(self, scope: str, *, reason: str, by: str, tenant: TenantId = TenantId("default")) -> None:
        """Refuse every further action in `scope`, from the next one on; effects already dispatched go on.

        A scope is `run:ID`, `agent:ID`, `tool:NAME`, `tool:SERVER.*`, `model:NAME`, `model:PROVIDER:*`, `tenant` or
        `all`. `by` is the person's name; the record carries a pseudonym.

        Raises:
            StopScopeInvalid: nothing has such a name.
        """
        if not _SCOPE.fullmatch(scope):
            raise StopScopeInvalid(scope=scope)
        await self._write("stop", scope, reason, by, tenant)

    async def lift(self, scope: str, *, reason: str, by: str, tenant: TenantId = TenantId("default")) -> None:
        """Let actions in `scope` through again.

        Raises:
            StopUnknown: it is not stopped.
        """
        if all(stop.scope != scope for stop in self.standing(tenant=tenant)):
            raise StopUnknown(scope=scope)
        await self._write("lift", scope, reason, by, tenant)

    def standing(self, *, tenant: TenantId = TenantId("default")) -> list[Stop]:
        """What is stopped now, oldest first."""
        rows = self.store.rows(_STANDING, tenant=tenant, every=_EVERY_TENANT)
        return [Stop(scope=row[0], reason=row[1], by=row[2], since=row[3]) for row in rows]

    async def _write(self, do: str, scope: str, reason: str, by: str, tenant: TenantId) -> None:
        control = {"do": do, "scope": scope, "reason": reason, "by": self.book.pseudonym(tenant, by)}
        run = RunId(f"control:{tenant}")
        await self.book.append(Draft(tenant=tenant, run=run, phase="control", agent="", members={"control": control}))
