"""Whose turn it is, where queues limit how many runs are advanced: decided in the store, for every worker alike.

A run is claimed if its queues have room and nobody waits before it. Else it is *queued*, and engines
forget it; when there is room, the first in line is *called*: by priority, then by age. Engines know
nothing of this: a called run reaches them as any other that is to be advanced.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from answerable.core import RunId, TenantId, format_time, parse_time
from answerable.ledger import CALLED, Draft, Ledger, Prepared, Tx, control_run, metadata, slices
from answerable.runtime._errors import QueueFull
from answerable.runtime._queues import EVERY_TENANT, IS_RUN, Queue, QueuesProjection, queues_of, standing_queues

__all__ = ["Turns", "full_queue"]

_P = sa.bindparam
_POLL_S, _POLL_IDLE_S = 0.5, 5.0
_AT_ONCE = 256
_MOST_RETRY_S = 60
_UNBOUNDED = 1 << 30

_queues = metadata.tables["queues"]
_OWN = sa.and_(slices.c.tenant == _P("tenant"), sa.or_(_P("agent") == "", slices.c.agent == _P("agent")))
_ENTRY = Prepared(
    sa.select(slices.c.tenant, slices.c.agent, slices.c.state, slices.c.begun, slices.c.due).where(
        slices.c.run == _P("run")
    )
)
_LOCK = Prepared(
    sa.update(_queues)
    .where(_queues.c.tenant == _P("of_tenant"), _queues.c.scope == _P("of_scope"))
    .values(scope=_queues.c.scope)
)
_LEASED = Prepared(sa.select(sa.func.count()).where(slices.c.state == "leased", _OWN, IS_RUN))
_CALLED = Prepared(sa.select(sa.func.count(), sa.func.count(slices.c.begun)).where(slices.c.state == "called", _OWN))
_ANY_QUEUED = Prepared(
    sa.select(slices.c.run).where(slices.c.state == "queued", _OWN, slices.c.run != _P("run")).limit(1)
)
_RECENT = sa.select(slices.c.begun).where(slices.c.begun > _P("since"), _OWN)
_NTH_RECENT = Prepared(_RECENT.order_by(slices.c.begun.desc()).limit(1).offset(_P("n")))
_RECENTLY = Prepared(sa.select(sa.func.count()).select_from(_RECENT.limit(_P("most")).subquery()))
_WAITING = Prepared(
    sa.select(sa.func.count()).select_from(
        sa.select(slices.c.run)
        .where(slices.c.begun.is_(None), slices.c.state != "closed", _OWN)
        .limit(_P("most"))
        .subquery()
    )
)
_LINES = Prepared(
    sa.select(slices.c.tenant, slices.c.agent)
    .where(slices.c.state == "queued")
    .group_by(slices.c.tenant, slices.c.agent)
    .order_by(slices.c.tenant, slices.c.agent)
)


def _heads(*, fresh: bool) -> Prepared:
    begun = slices.c.begun.is_(None) if fresh else slices.c.begun.is_not(None)
    return Prepared(
        sa.select(slices.c.priority, slices.c.opened, slices.c.run)
        .where(slices.c.state == "queued", slices.c.tenant == _P("tenant"), slices.c.agent == _P("agent"), begun)
        .order_by(slices.c.priority, slices.c.opened)
        .limit(_P("most"))
    )


_FRESH, _BEGUN = _heads(fresh=True), _heads(fresh=False)
_orders = sa.table("run_orders", sa.column("run"))
_ORDERED = Prepared(sa.select(_orders.c.run).where(_orders.c.run == _P("run")))


def full_queue(tx: Tx, queues: QueuesProjection, tenant: TenantId, agent: str) -> QueueFull | None:
    """Why no more of the agent's runs may be started now, if so."""
    for queue in queues.limits(tx.rows, tenant, agent):
        if queue.waiting is None:
            continue
        if tx.rows(_WAITING, tenant=tenant, agent=queue.agent, most=queue.waiting)[0][0] >= queue.waiting:
            problem = f"{queue.waiting} runs wait to begin, all that its queue `{queue.scope}` holds"
            return QueueFull(agent=agent, problem=problem, retry_after_s=_place_free_in(tx, tenant, queue))
    return None


def _place_free_in(tx: Tx, tenant: str, queue: Queue) -> int:
    """About when a place is free, at the pace of the last minute: 1 to 60 s."""
    since = format_time(parse_time(tx.now) - timedelta(minutes=1))
    begun: int = tx.rows(_RECENTLY, tenant=tenant, agent=queue.agent, since=since, most=60)[0][0]
    return _MOST_RETRY_S // max(begun, 1)


@dataclass(slots=True)
class _Room:
    """How many more runs may be advanced, and begin; `again`: when more may begin, if that is known."""

    slots: int = _UNBOUNDED
    fresh: int = _UNBOUNDED
    again: datetime | None = None


class Turns:
    """Calls runs when it is their turn. Needs `QueuesProjection` among the ledger's projections."""

    def __init__(self, ledger: Ledger, declared: Sequence[Queue] = ()) -> None:
        self._ledger = ledger
        self._queues = queues_of(ledger)
        self._declared = tuple(declared)
        self._news = asyncio.Event()
        self._has_queued = True
        self._under_way: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._calls: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)

    async def start(self) -> None:
        """Put what is declared on the record, where it differs from what stands there; listen for places set free."""
        self._ledger.leases.listen(lambda runs: None, hint=lambda is_serving: self.ended())
        standing = {(each.for_tenant, each.scope): each.to_json() for each in standing_queues(self._ledger.reader.rows)}
        declared = {(each.for_tenant, each.scope): each.to_json() for each in self._declared}
        gone = [{"tenant": tenant, "scope": scope} for tenant, scope in standing.keys() - declared.keys()]
        changed = [said for place, said in declared.items() if said != standing.get(place)]
        for queue in (*gone, *changed):
            tenant = TenantId("default" if queue["tenant"] == EVERY_TENANT else queue["tenant"])
            await self._ledger.append(
                Draft(
                    tenant=tenant,
                    run=control_run(tenant),
                    phase="control",
                    agent="gate",
                    members={"control": {"do": "queue", "queue": queue}},
                )
            )

    async def serve(self) -> None:
        """Call who is next whenever there may be room, until cancelled."""
        while True:
            self._news.clear()
            again = None
            if self._ledger.reader.rows(_LINES):
                again, called = await self._call()
                if called >= _AT_ONCE:
                    continue
            else:
                self._has_queued = False
            pause_s = _POLL_S if self._has_queued else _POLL_IDLE_S
            if again is not None:
                pause_s = max(0.001, min(pause_s, (again - self._ledger.clock.now()).total_seconds()))
            try:
                async with asyncio.timeout(pause_s):
                    await self._news.wait()
            except TimeoutError:
                pass

    def admit(self, tx: Tx, run: RunId) -> bool:
        """Whether it is the run's turn; asked inside the transaction that would take it."""
        if self._queues.is_empty(tx.rows):
            return True
        tenant, agent, state, begun, due = tx.rows(_ENTRY, run=run)[0]
        limits = self._queues.limits(tx.rows, tenant, agent)
        if not limits or tx.rows(_ORDERED, run=run):  # a killed run is taken to be closed, a paused one to be parked
            return True
        is_taken = state == "leased"  # by this worker, out of a shared store, which has not asked yet
        is_called = due == CALLED
        for queue in limits:
            _lock(tx, queue)
            room = _room(tx, tenant, queue, beside_called=not is_called)
            if room.slots + is_taken <= 0 or (begun is None and room.fresh <= 0):
                return False
        if is_called:
            return True
        return not any(tx.rows(_ANY_QUEUED, tenant=tenant, agent=each.agent, run=run) for each in limits)

    def queued(self) -> None:
        """A run waits for its turn, as the store has it now; it may be its own."""
        self._has_queued = True
        self._news.set()

    def ended(self) -> None:
        """A slice ended, here or in another gate: there may be room for the next, whichever gate refused that."""
        if self._has_queued or not self._queues.is_empty(self._ledger.reader.rows):
            self._news.set()

    # -- calls of agents elsewhere ------------------------------------------------------------------------------------

    def enter(self, tenant: TenantId, agent: str) -> QueueFull | None:
        """Count a call of an agent elsewhere; why it may not be made now, if so. Each that may ends with `leave`."""
        if not self._declared:
            return None
        now_s = self._ledger.clock.monotonic_s()
        places = [(each, (tenant, each.scope)) for each in self._limits_here(tenant, agent)]
        for queue, place in places:
            if queue.concurrency is not None and self._under_way[place] >= queue.concurrency:
                problem = f"{queue.concurrency} calls are under way, all that its queue `{queue.scope}` admits"
                return QueueFull(agent=agent, problem=problem, retry_after_s=1)
            if queue.rate is None:
                continue
            recent, per_s = self._calls[place], queue.per.total_seconds()
            while recent and recent[0] <= now_s - per_s:
                recent.popleft()
            if len(recent) >= queue.rate:
                problem = f"{queue.rate} calls came in {per_s:g} s, all that its queue `{queue.scope}` admits"
                wait_s = max(1, int(recent[0] + per_s - now_s + 1))
                return QueueFull(agent=agent, problem=problem, retry_after_s=wait_s)
        for queue, place in places:
            self._under_way[place] += 1
            if queue.rate is not None:
                self._calls[place].append(now_s)
        return None

    def leave(self, tenant: TenantId, agent: str) -> None:
        """A call that `enter` let through is over."""
        for queue in self._limits_here(tenant, agent):
            self._under_way[tenant, queue.scope] -= 1

    def _limits_here(self, tenant: TenantId, agent: str) -> list[Queue]:
        own = {each.scope: each for each in self._declared if not each.tenant and each.agent in ("", agent)}
        own |= {each.scope: each for each in self._declared if each.tenant == tenant and each.agent in ("", agent)}
        return list(own.values())

    # -- whose turn it is ---------------------------------------------------------------------------------------------

    async def _call(self) -> tuple[datetime | None, int]:
        again: list[datetime] = []

        def choose(tx: Tx) -> Sequence[RunId]:
            lines: defaultdict[TenantId, list[str]] = defaultdict(list)
            for tenant, agent in tx.rows(_LINES):
                lines[tenant].append(agent)
            queues = self._queues
            return [run for tenant, agents in lines.items() for run in _first_of(tx, queues, tenant, agents, again)]

        called = await self._ledger.leases.call(choose)
        return min(again, default=None), len(called)


def _first_of(
    tx: Tx, queues: QueuesProjection, tenant: TenantId, agents: Sequence[str], again: list[datetime]
) -> list[RunId]:
    """Those of a tenant's queued runs that there is room for now, the first in line first."""
    found: list[tuple[int, str, str, bool]] = []
    whole = _Room()
    for agent in agents:
        own = _Room()
        for queue in queues.limits(tx.rows, tenant, agent):
            _lock(tx, queue)
            room = _room(tx, tenant, queue, beside_called=True)
            again += [room.again] if room.again else []
            if queue.agent:
                own = room
            else:
                whole = room
        slots = min(own.slots, whole.slots, _AT_ONCE)
        if slots <= 0:
            continue
        mine = [(*row, False) for row in tx.rows(_BEGUN, tenant=tenant, agent=agent, most=slots)]
        if (fresh := min(slots, own.fresh, whole.fresh)) > 0:
            mine += [(*row, True) for row in tx.rows(_FRESH, tenant=tenant, agent=agent, most=fresh)]
        found += sorted(mine)[:slots]
    called: list[RunId] = []
    for _, _, run, is_fresh in sorted(found):
        if len(called) < whole.slots and (not is_fresh or whole.fresh > 0):
            called.append(RunId(run))
            whole.fresh -= is_fresh
    return called


def _room(tx: Tx, tenant: str, queue: Queue, *, beside_called: bool) -> _Room:
    """What a queue has room for.

    Args:
        beside_called: whether those that were called and not taken yet count: not for one of them.
    """
    room = _Room()
    own: dict[str, Any] = {"tenant": tenant, "agent": queue.agent}
    called, called_begun = tx.rows(_CALLED, **own)[0] if beside_called else (0, 0)
    if queue.concurrency is not None:
        room.slots = queue.concurrency - tx.rows(_LEASED, **own)[0][0] - called
    if queue.rate is not None:
        since = format_time(parse_time(tx.now) - queue.per)
        nth = tx.rows(_NTH_RECENT, since=since, n=queue.rate - 1, **own)
        if nth:
            room.fresh = 0
            room.again = parse_time(nth[0][0]) + queue.per
        else:
            recent = tx.rows(_RECENTLY, since=since, most=queue.rate, **own)[0][0]
            room.fresh = queue.rate - recent - (called - called_begun)
    return room


def _lock(tx: Tx, queue: Queue) -> None:
    # INVARIANT: whoever counts holds the queue's row, so that two workers of one store never both take the last
    # place. SQLite has one writer anyway; elsewhere this is what makes the count stand until the commit.
    tx.run(_LOCK, of_tenant=queue.for_tenant, of_scope=queue.scope)
