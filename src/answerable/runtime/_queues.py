"""Queues: how many of an agent's or a tenant's runs are advanced at once, begin in a time, and may wait.

Limits are declared with the application, put on the record and kept in the store, so that they hold
between the workers of one store and `answerable queues` shows them. A run that waits for a timer, a
signal or a person counts in none of them.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from answerable.core import RunId, TenantId
from answerable.ledger import USUAL_PRIORITY, Ledger, Phase, Prepared, Receipt, Tx, metadata, slices
from answerable.runtime._errors import QueueInvalid

__all__ = [
    "EVERY_TENANT",
    "IS_RUN",
    "Queue",
    "QueueRow",
    "QueuesProjection",
    "Waiting",
    "check_priority",
    "list_queues",
    "queues_of",
    "runs_in_line",
    "standing_queues",
]

EVERY_TENANT = "*"
_SCOPE = re.compile(r"tenant|agent:\S{1,200}")
_PRIORITIES = range(1, 10)

_queues = sa.Table(
    "queues",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("concurrency", sa.Integer),
    sa.Column("rate", sa.Integer),
    sa.Column("period_s", sa.Integer),
    sa.Column("waiting", sa.Integer),
    sa.Column("priority", sa.Integer),
    sa.Column("since", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam
_ROW = (
    _queues.c.tenant,
    _queues.c.scope,
    _queues.c.concurrency,
    _queues.c.rate,
    _queues.c.period_s,
    _queues.c.waiting,
    _queues.c.priority,
)
_PUT = Prepared(sa.insert(_queues))
_DROP = Prepared(sa.delete(_queues).where(_queues.c.tenant == _P("of_tenant"), _queues.c.scope == _P("of_scope")))
_ALL = Prepared(sa.select(*_ROW).order_by(_queues.c.tenant, _queues.c.scope))
_OF = Prepared(
    sa.select(*_ROW)
    .where(
        sa.or_(_queues.c.tenant == EVERY_TENANT, _queues.c.tenant == _P("tenant")),
        sa.or_(_queues.c.scope == "tenant", _queues.c.scope == _P("scope")),
    )
    .order_by(_queues.c.tenant)  # `*` before any name: the tenant's own takes its place
)
_ANY = Prepared(sa.select(_queues.c.scope).limit(1))
_sessions = sa.table("sessions", sa.column("run"))
IS_RUN = slices.c.run.not_in(sa.select(_sessions.c.run))
"""Not a session: those are driven from outside, and lease their run for as long as they live."""
_COUNTS = Prepared(
    sa.select(slices.c.tenant, slices.c.agent, slices.c.state, slices.c.begun.is_(None), sa.func.count())
    .where(slices.c.state != "closed", IS_RUN)
    .group_by(slices.c.tenant, slices.c.agent, slices.c.state, slices.c.begun.is_(None))
    .order_by(slices.c.tenant, slices.c.agent)
)

_IN_LINE = Prepared(
    sa.select(slices.c.run, slices.c.agent, slices.c.priority, slices.c.opened)
    .where(
        sa.or_(slices.c.state == "ready", slices.c.state == "queued", slices.c.state == "called"),
        slices.c.tenant == _P("tenant"),
        sa.or_(_P("agent") == "", slices.c.agent == _P("agent")),
    )
    .order_by(slices.c.priority, slices.c.opened)
    .limit(_P("most"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Limits on the runs of an agent, or of a tenant. None sets no limit.

    Args:
        scope: `agent:NAME`, counted within each tenant, or `tenant`: all runs of a tenant.
        tenant: whose; every tenant's, each by itself, if none is named.
        concurrency: runs advanced at once; those that wait for something are not.
        rate: runs that may begin within `per`, in any stretch of that length.
        waiting: runs that may wait to begin; one more is refused with `QueueFull`.
        priority: of the agent's runs that are started without one: 1 goes first, 9 last.
    """

    scope: str
    tenant: str = ""
    concurrency: int | None = None
    rate: int | None = None
    per: timedelta = timedelta(minutes=1)
    waiting: int | None = None
    priority: int | None = None

    def __post_init__(self) -> None:
        if not _SCOPE.fullmatch(self.scope):
            raise QueueInvalid(scope=self.scope, problem="a queue is `tenant`, or an agent's: `agent:NAME`")
        limits = {"concurrency": self.concurrency, "rate": self.rate, "waiting": self.waiting}
        for name, limit in limits.items():
            if limit is not None and limit < 1:
                raise QueueInvalid(scope=self.scope, problem=f"its `{name}` is {limit}, and 1 is the least")
        if self.per < timedelta(seconds=1):
            raise QueueInvalid(scope=self.scope, problem="its `per` is under a second")
        if self.priority is not None:
            check_priority(self.scope, self.priority)
            if self.scope == "tenant":
                raise QueueInvalid(scope=self.scope, problem="tenants take turns, and none goes before another")
        elif limits == dict.fromkeys(limits):
            raise QueueInvalid(scope=self.scope, problem="it limits nothing")

    @property
    def agent(self) -> str:
        """The agent's name; empty for all of the tenant's runs."""
        return self.scope.removeprefix("agent:") if self.scope != "tenant" else ""

    @property
    def for_tenant(self) -> str:
        """Whom it is kept for in the store."""
        return self.tenant or EVERY_TENANT

    def to_json(self) -> dict[str, Any]:
        """As its receipt states it."""
        said = {
            "concurrency": self.concurrency,
            "rate": self.rate,
            "periodS": int(self.per.total_seconds()) if self.rate else None,
            "waiting": self.waiting,
            "priority": self.priority,
        }
        known = {name: value for name, value in said.items() if value is not None}
        return {"scope": self.scope, "tenant": self.for_tenant, **known}


def check_priority(scope: str, priority: int) -> None:
    """A priority is 1 to 9.

    Raises:
        QueueInvalid: it is not.
    """
    if priority not in _PRIORITIES:
        raise QueueInvalid(scope=scope, problem=f"priority {priority} is none; 1 goes first, 9 last")


class QueuesProjection:
    """The table `queues`: the limits in force."""

    def __init__(self) -> None:
        # Known to hold no queue at all. INVARIANT: as for stops, a process that has seen one always asks the table.
        self._is_empty: bool | None = None

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `queues`."""
        return (_queues,)

    @property
    def phases(self) -> frozenset[Phase]:
        """What a gate declares, when it starts, stands on receipts of phase `control`."""
        return frozenset({"control"})

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt."""
        said = receipt.predicate
        if said["control"].get("do") != "queue":
            return
        self._is_empty = False
        queue = said["control"]["queue"]
        tx.run(_DROP, of_tenant=queue["tenant"], of_scope=queue["scope"])
        limits = {name: queue.get(name) for name in ("concurrency", "rate", "waiting", "priority")}
        if any(limits.values()):
            tx.run(
                _PUT,
                tenant=queue["tenant"],
                scope=queue["scope"],
                period_s=queue.get("periodS"),
                since=said["at"],
                **limits,
            )

    def forget(self) -> None:
        """Others may have declared some."""
        self._is_empty = None

    def is_empty(self, rows: "Rows") -> bool:
        """Whether nothing is limited, so that no run need ask."""
        if self._is_empty is None:
            self._is_empty = not rows(_ANY)
        return self._is_empty

    def limits(self, rows: "Rows", tenant: TenantId, agent: str) -> list[Queue]:
        """The limits on this agent's runs: its own and the tenant's."""
        if self.is_empty(rows):
            return []
        return list({row[1]: _queue(row) for row in rows(_OF, tenant=tenant, scope=f"agent:{agent}")}.values())


def queues_of(ledger: Ledger) -> QueuesProjection:
    """The limits on the runs of a record; none, where it is not kept with any."""
    return next((each for each in ledger.projections if isinstance(each, QueuesProjection)), QueuesProjection())


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """A queue as it stands: its limits, and how many runs it holds.

    Args:
        priority: of runs started without one.
        waits: runs that have not begun; `runs`: advanced now, or about to be; `rests`: waiting for a timer, a
            signal or a person.
    """

    tenant: str
    scope: str
    concurrency: int | None
    rate: int | None
    period_s: int | None
    waiting: int | None
    priority: int
    waits: int
    runs: int
    rests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A run that waits for its turn, or to be begun."""

    run: RunId
    agent: str
    priority: int
    opened: str


Rows = Callable[..., Sequence[Sequence[Any]]]


def standing_queues(rows: Rows) -> list[Queue]:
    """The limits in force."""
    return [_queue(row) for row in rows(_ALL)]


def list_queues(rows: Rows, *, tenant: TenantId = TenantId("default")) -> list[QueueRow]:
    """The tenant's queue and each of its agents', with how many runs are in it."""
    declared = {queue.scope: queue for queue in standing_queues(rows) if queue.for_tenant in (EVERY_TENANT, tenant)}
    declared |= {queue.scope: queue for queue in standing_queues(rows) if queue.tenant == tenant}
    counts: dict[str, list[int]] = {scope: [0, 0, 0] for scope in ("tenant", *declared)}
    for of, agent, state, is_fresh, count in rows(_COUNTS):
        if of == tenant:
            kind = 1 if state in ("leased", "called") else 0 if is_fresh else 1 if state == "ready" else 2
            for scope in ("tenant", f"agent:{agent}"):
                counts.setdefault(scope, [0, 0, 0])[kind] += count
    return [_row(tenant, scope, declared.get(scope), *counts[scope]) for scope in sorted(counts, reverse=True)]


def runs_in_line(
    rows: Rows, *, tenant: TenantId = TenantId("default"), agent: str = "", most: int = 20
) -> list[Waiting]:
    """The runs of an agent, or of a tenant, that wait for their turn, the next first."""
    found = rows(_IN_LINE, tenant=tenant, agent=agent, most=most)
    return [Waiting(run=RunId(run), agent=of, priority=priority, opened=opened) for run, of, priority, opened in found]


def _row(tenant: str, scope: str, queue: Queue | None, waits: int, runs: int, rests: int) -> QueueRow:
    return QueueRow(
        tenant=tenant,
        scope=scope,
        concurrency=queue.concurrency if queue else None,
        rate=queue.rate if queue else None,
        period_s=int(queue.per.total_seconds()) if queue and queue.rate else None,
        waiting=queue.waiting if queue else None,
        priority=(queue.priority if queue else None) or USUAL_PRIORITY,
        waits=waits,
        runs=runs,
        rests=rests,
    )


def _queue(row: Sequence[Any]) -> Queue:
    tenant, scope, concurrency, rate, period_s, waiting, priority = row
    return Queue(
        scope=scope,
        tenant="" if tenant == EVERY_TENANT else tenant,
        concurrency=concurrency,
        rate=rate,
        per=timedelta(seconds=period_s or 60),
        waiting=waiting,
        priority=priority,
    )
