"""Leases: who may advance a run now. Liveness only; the journal's constraints give safety.

One process owns a data directory, so a lease lasts as long as the process: taking the directory's
lock ends all earlier leases at once. `renew` still answers, because engines are written for stores
that many machines share.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from answerable.core import Clock, RunId, format_time, parse_time
from answerable.ledger._lately import Lately
from answerable.ledger._ports import Tx, Writer
from answerable.ledger._reader import Reader
from answerable.ledger._record import Transaction
from answerable.ledger._sql import Prepared
from answerable.ledger._tables import slices

__all__ = [
    "CALLED",
    "FIND",
    "IN_TURN",
    "IS_UNSERVED",
    "SET",
    "Again",
    "Busy",
    "Gone",
    "Leases",
    "Parked",
    "Queued",
    "Slice",
    "Stale",
    "Standing",
]

FIND = Prepared(
    sa.select(slices.c.tenant, slices.c.state, slices.c.fence, slices.c.wake, slices.c.seen, slices.c.due).where(
        slices.c.run == sa.bindparam("run")
    )
)
_TAKE = Prepared(
    sa.update(slices)
    .where(slices.c.run == sa.bindparam("of_run"))
    .values(
        state="leased",
        fence=slices.c.fence + 1,
        seen=slices.c.wake,
        due=None,
        begun=sa.func.coalesce(slices.c.begun, sa.bindparam("moment")),
    )
)
SET = Prepared(
    sa.update(slices)
    .where(slices.c.run == sa.bindparam("of_run"))
    .values(state=sa.bindparam("to"), due=sa.bindparam("at"))
)
_SEEN = Prepared(sa.update(slices).where(slices.c.run == sa.bindparam("of_run")).values(seen=slices.c.wake))
Told = Callable[[Sequence[str]], None]
Hint = Callable[[bool], None]

_LEAVE = Prepared(
    sa.update(slices)
    .where(slices.c.run == sa.bindparam("of_run"))
    .values(state="ready", due=None, build=sa.bindparam("to"))
)
_END_LEASES = Prepared(sa.update(slices).where(slices.c.state == "leased").values(state="ready"))
IS_UNSERVED = sa.or_(
    slices.c.state == "ready",
    slices.c.state == "called",
    sa.and_(slices.c.state == "parked", slices.c.due <= sa.bindparam("moment")),
)
_ANYBODY = ""
_SERVES = sa.bindparam("serves", type_=sa.Text)
_TEXT = sa.literal_column("'%|'", sa.Text), sa.literal_column("'|%'", sa.Text)
# A run that was left to the code that began it is for whoever has that, or takes the agent's runs of any.
IS_OURS = sa.or_(
    slices.c.build.is_(None),
    _SERVES == _ANYBODY,
    _SERVES.like(_TEXT[0] + slices.c.build + _TEXT[1]),
    _SERVES.like(_TEXT[0] + slices.c.agent + _TEXT[1]),
)
# Each tenant's first, then each tenant's second …: thousands of one tenant's keep no other waiting.
IN_TURN = (
    sa.select(
        slices.c.run,
        sa.func.row_number()
        .over(partition_by=slices.c.tenant, order_by=(slices.c.priority, slices.c.opened))
        .label("turn"),
    )
    .where(IS_UNSERVED, IS_OURS)
    .subquery()
)
_UNSERVED = Prepared(sa.select(IN_TURN.c.run).order_by(IN_TURN.c.turn).limit(sa.bindparam("most")))
CALLED = "called"
"""In place of a due time: the run's turn has come, and it stays so when a worker takes the run before it asks."""
_PLACE = Prepared(sa.select(slices.c.tenant, slices.c.priority).where(slices.c.run == sa.bindparam("run")))
_NEXT_DUE = Prepared(sa.select(sa.func.min(slices.c.due)).where(slices.c.state == "parked"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The right to advance one run until it waits.

    Args:
        fence: new work carries it; a later slice's fence makes it stale.
        seen: wakes of the run counted when it was taken.
    """

    tenant: str
    run: RunId
    fence: int
    seen: int


@dataclass(frozen=True, slots=True)
class Busy:
    """Another slice advances the run; never stolen from a live owner."""

    retry_at: datetime


@dataclass(frozen=True, slots=True)
class Queued:
    """It is not the run's turn yet: it is called when it is (`Leases.call`), and nobody need ask before."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The run is over, or there is no such run."""


@dataclass(frozen=True, slots=True)
class Parked:
    """Nobody advances the run until a wake, or `until`."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class Again:
    """A wake came in while the slice was ending: look once more, under this slice."""

    slice: Slice


@dataclass(frozen=True, slots=True)
class Stale:
    """Another slice has the run now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a run stands that is not over.

    Args:
        is_unserved: nobody advances it and somebody should: it was woken, is due or never started.
        is_parked: its last slice let go of it, or it waits to be called.
        until: when it is parked, and its earliest timer due.
        fence, wake: of its last slice, and wakes counted so far.
    """

    is_unserved: bool
    is_parked: bool
    until: datetime | None
    fence: int
    wake: int


class Leases:
    """Hands out slices and the fences that go with them."""

    def __init__(self, writer: Writer[Transaction], reading: Reader, clock: Clock, lately: Lately) -> None:
        self._writer = writer
        self._reading = reading
        self._clock = clock
        self._lately = lately
        self._knows_due = False
        self._due: datetime | None = None
        self._listeners: list[tuple[Told, Hint | None]] = []
        self.serves = _ANYBODY
        """Builds and agents whose runs this worker goes on with, `|` before and after each; empty for all."""

    @property
    def is_held(self) -> bool:
        """Whether this worker's lease lasts, at this very moment: as long as the process, here."""
        return True

    def listen(self, listener: Told, *, hint: Hint | None = None) -> None:
        """Call `listener(runs)` after each commit that woke runs (started ones included).

        Args:
            hint: called instead where another worker woke runs that are not this one's, with whether that one
                advances runs itself.
        """
        self._listeners.append((listener, hint))

    def serving(self) -> None:
        """This process advances runs from now on: others give it a moment's start with those that it woke."""

    def told(self, runs: Sequence[str]) -> None:
        """Pass a commit's wakes on."""
        for listener, _ in self._listeners:
            listener(runs)

    def claim(
        self, run: RunId, worker: str = "", *, admit: Callable[[Tx, RunId], bool] | None = None
    ) -> "asyncio.Future[Slice | Busy | Queued | Gone]":
        """Take the run, if nobody has it.

        Args:
            admit: whether it is the run's turn, asked inside the transaction; if not, it waits to be called.
        """

        def work(tx: Transaction) -> Slice | Busy | Queued | Gone:
            rows = tx.rows(FIND, run=run)
            if not rows or rows[0][1] == "closed":
                return Gone()
            tenant, state, fence, wake, _, _ = rows[0]
            if state == "leased":
                return Busy(self._clock.now())
            if admit is not None and not admit(tx, run):
                tx.run(SET, of_run=run, to="queued", at=None)
                return Queued()
            tx.run(_TAKE, of_run=run, moment=tx.now)
            tx.set_fence(run, fence + 1)
            return Slice(tenant=tenant, run=run, fence=fence + 1, seen=wake)

        return self._writer.submit(work)

    def park(self, taken: Slice, until: datetime | None) -> "asyncio.Future[Parked | Again | Stale]":
        """Let go until a wake or `until`; `Again` where a wake came in meanwhile."""

        def work(tx: Transaction) -> Parked | Again | Stale:
            if tx.fence(taken.run) != taken.fence:
                return Stale()
            rows = tx.rows(FIND, run=taken.run)
            if rows[0][3] != taken.seen:
                tx.run(_SEEN, of_run=taken.run)
                return Again(Slice(tenant=taken.tenant, run=taken.run, fence=taken.fence, seen=rows[0][3]))
            tx.run(SET, of_run=taken.run, to="parked", at=format_time(until) if until else None)
            tx.set_fence(taken.run, None)
            return Parked(until)

        parking = self._writer.submit(work)
        if until is not None:
            parking.add_done_callback(lambda parked: self._is_due_at(until))
        return parking

    def _is_due_at(self, until: datetime) -> None:
        if self._due is None or until < self._due:
            self._due = until

    def release(self, taken: Slice) -> "asyncio.Future[bool]":
        """Give the run back unfinished, for whoever takes it next."""

        def work(tx: Transaction) -> bool:
            if tx.fence(taken.run) != taken.fence:
                return False
            tx.run(SET, of_run=taken.run, to="ready", at=None)
            tx.set_fence(taken.run, None)
            return True

        return self._writer.submit(work)

    def leave(self, taken: Slice, build: str) -> "asyncio.Future[bool]":
        """Give the run to whoever has the code that began it; who has not is not given it again but by a wake."""

        def work(tx: Transaction) -> bool:
            if tx.fence(taken.run) != taken.fence:
                return False
            tx.run(_LEAVE, of_run=taken.run, to=build)
            tx.set_fence(taken.run, None)
            tx.let_go()
            return True

        return self._writer.submit(work)

    def call(self, choose: Callable[[Tx], Sequence[RunId]]) -> "asyncio.Future[Sequence[RunId]]":
        """Have those of the queued runs advanced that `choose` finds, inside the transaction, to be next."""

        def work(tx: Transaction) -> Sequence[RunId]:
            called = choose(tx)
            for run in called:
                tx.run(SET, of_run=run, to="called", at=CALLED)
                tx.wake(run)
            return called

        return self._writer.submit(work)

    def end_earlier(self) -> "asyncio.Future[object]":
        """End the leases of whoever owned the directory before."""
        return self._writer.submit(lambda tx: tx.run(_END_LEASES))

    def take(self, limit: int, *, besides: int = 0) -> list[RunId]:
        """Runs that nobody advances and somebody should, for this worker to claim now.

        Args:
            besides: how many the caller knows of already, and has not claimed yet.
        """
        return self.unserved(limit + besides)

    def unserved(self, limit: int) -> list[RunId]:
        """Runs that nobody advances and somebody should: woken, due or never started; of every tenant in turn."""
        asked = {"moment": format_time(self._clock.now()), "most": limit, "serves": self.serves}
        return [row[0] for row in self._reading.rows(_UNSERVED, **asked)]

    def place(self, run: RunId) -> tuple[str, int]:
        """The run's tenant and priority: whom it takes turns with, and when it is its turn there."""
        known = self._lately.place(run)
        if known is None:
            rows = self._reading.rows(_PLACE, run=run)
            known = (rows[0][0], rows[0][1]) if rows else ("", 0)
            self._lately.placed(run, *known)
        return known

    def standing(self, run: RunId) -> Standing | None:
        """How one run stands; None when it is over or there is no such run."""
        rows = self._reading.rows(FIND, run=run)
        if not rows or rows[0][1] == "closed":
            return None
        _, state, fence, wake, _, due = rows[0]
        until = parse_time(due) if due and state == "parked" else None
        is_due = until is not None and until <= self._clock.now()
        return Standing(
            is_unserved=state in ("ready", "called") or is_due,
            is_parked=state in ("parked", "queued"),
            until=until,
            fence=fence,
            wake=wake,
        )

    def next_due(self) -> datetime | None:
        """When the earliest parked timer is due, or a moment earlier: nobody else parks runs."""
        if not self._knows_due or (self._due is not None and self._due <= self._clock.now()):
            self._due, self._knows_due = self._stored_due(), True
        return self._due

    def _stored_due(self) -> datetime | None:
        due = self._reading.rows(_NEXT_DUE)[0][0]
        return parse_time(due) if due else None
