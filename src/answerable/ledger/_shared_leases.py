"""Leases in a store that many workers share: a run is its worker's as long as that one's lease lasts."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from answerable.core import Clock, RunId, format_time
from answerable.ledger._drivers._failures import StoreUnreachable
from answerable.ledger._drivers._postgres import PostgresConnection
from answerable.ledger._leases import (
    IN_TURN,
    IS_OURS,
    IS_UNSERVED,
    SET,
    Busy,
    Gone,
    Leases,
    Queued,
    Slice,
    Standing,
)
from answerable.ledger._many import SharedRecorder
from answerable.ledger._ports import Tx, Writer
from answerable.ledger._presence import Presence
from answerable.ledger._reader import Reader
from answerable.ledger._record import Transaction
from answerable.ledger._sql import Prepared
from answerable.ledger._tables import slices

__all__ = ["SharedLeases"]

_P = sa.bindparam
_AGAIN = timedelta(seconds=1)
_DUE_FOR_S = 1.0
_TAKEN: dict[str, Any] = {
    "state": "leased",
    "fence": slices.c.fence + 1,
    "seen": slices.c.wake,
    "worker": _P("me"),
}
_BEGUN: dict[str, Any] = {"due": None, "begun": sa.func.coalesce(slices.c.begun, _P("moment"))}
# INVARIANT: who takes some of the line asks for no pen. A run that was free when it was looked at stays so until the
# commit only if its row is held: else two workers have it, under the same fence.
_HOLD = Prepared(
    sa.select(slices.c.tenant, slices.c.state, slices.c.fence, slices.c.wake, slices.c.worker)
    .where(slices.c.run == _P("run"))
    .with_for_update()
)
_TAKE = Prepared(sa.update(slices).where(slices.c.run == _P("of_run")).values({**_TAKEN, **_BEGUN}))
# What is taken out of the line is asked of its queues only when it is claimed: until then it has not begun.
_BEGIN = Prepared(sa.update(slices).where(slices.c.run == _P("of_run")).values(_BEGUN))
# Two workers that look at the same time see the same line: each may have those in it that the other has not locked.
_TAKE_SOME = Prepared(
    sa.update(slices)
    .where(
        slices.c.run.in_(
            sa.select(slices.c.run)
            .where(
                slices.c.run.in_(sa.select(IN_TURN.c.run).order_by(IN_TURN.c.turn).limit(_P("in_sight"))),
                IS_UNSERVED,
                IS_OURS,
            )
            .limit(_P("most"))
            .with_for_update(skip_locked=True)
        )
    )
    .values(_TAKEN)
    .returning(slices.c.tenant, slices.c.run, slices.c.fence, slices.c.wake)
)
_HELD_BY = Prepared(sa.select(slices.c.run).where(slices.c.state == "leased", slices.c.worker == _P("me")))
_FREE = Prepared(
    sa.update(slices)
    .where(slices.c.run == _P("of_run"), slices.c.state == "leased", slices.c.worker == _P("me"))
    .values(state="ready", worker=None)
)


class SharedLeases(Leases):
    """Hands out slices of runs that no other worker has."""

    def __init__(
        self,
        writer: Writer[Transaction],
        reading: Reader,
        clock: Clock,
        *,
        recorder: SharedRecorder,
        presence: Presence,
        lookups: PostgresConnection,
    ) -> None:
        super().__init__(writer, reading, clock, recorder.lately)
        self._recorder = recorder
        self._presence = presence
        self._lookups = lookups
        self._taken: dict[str, Slice] = {}
        self._is_unsure = False
        self._asked_at = 0.0

    @property
    def is_held(self) -> bool:
        """Whether this worker's lease lasts, at this very moment."""
        return self._presence.is_alive and self._presence.worker == self._recorder.worker

    def serving(self) -> None:
        """This process advances runs from now on."""
        self._recorder.is_serving = True

    def claim(
        self, run: RunId, worker: str = "", *, admit: Callable[[Tx, RunId], bool] | None = None
    ) -> "asyncio.Future[Slice | Busy | Queued | Gone]":
        """Take the run, if no other worker has it."""
        taken = self._taken.pop(run, None)

        def work(tx: Transaction) -> Slice | Busy | Queued | Gone:
            rows = tx.rows(_HOLD, run=run)
            if not rows or rows[0][1] == "closed":
                return Gone()
            tenant, state, fence, wake, worker = rows[0]
            # As the store has it: a park that is not yet known to be on disk forgets the fence that came after it.
            is_taken = taken is not None and (fence, worker) == (taken.fence, self._recorder.worker)
            if state == "leased" and not is_taken:
                # Its worker looks after it; if that one goes, whoever notices tells.
                return Busy(self._clock.now() + timedelta(seconds=self._presence.lease_s))
            if not self.is_held:
                return Busy(self._clock.now() + _AGAIN)
            if admit is not None and not admit(tx, run):
                tx.run(SET, of_run=run, to="queued", at=None)
                tx.set_fence(run, None)
                return Queued()
            if is_taken:
                assert taken is not None
                tx.run(_BEGIN, of_run=run, moment=tx.now)
                tx.set_fence(run, fence)
                return taken
            tx.run(_TAKE, of_run=run, me=self._recorder.worker, moment=tx.now)
            tx.set_fence(run, fence + 1)
            return Slice(tenant=tenant, run=run, fence=fence + 1, seen=wake)

        return self._writer.submit(work)

    def take(self, limit: int, *, besides: int = 0) -> list[RunId]:
        """Runs that nobody advanced and somebody should: they are this worker's now, and `claim` gives their slices.

        Two workers that look at the same time find different ones.
        """
        if not self.is_held or limit <= 0:
            return []
        if self._is_unsure:
            self._free_forgotten()
        me, moment = self._recorder.worker, format_time(self._clock.now())
        try:
            # INVARIANT: not asked again on a new connection: whatever the first one took would be nobody's.
            given = {"me": me, "moment": moment, "most": limit, "in_sight": 4 * limit, "serves": self.serves}
            values = _TAKE_SOME.postgres.arrange(given)
            rows = self._lookups.ask_once((_TAKE_SOME, values))
        except StoreUnreachable:
            self._is_unsure = True
            return []
        for tenant, run, fence, wake in rows:
            self._taken[run] = Slice(tenant=tenant, run=run, fence=fence, seen=wake)
            self._recorder.fences[run] = fence
        return [row[1] for row in rows]

    def standing(self, run: RunId) -> Standing | None:
        """How one run stands; what this worker took and has not begun with is unserved."""
        found = super().standing(run)
        return replace(found, is_unserved=True) if found is not None and run in self._taken else found

    def heard(self, runs: Sequence[str], is_serving: bool) -> None:
        """Another worker's commit woke runs."""
        for listener, hint in self._listeners:
            if hint is None:
                listener(runs)
            else:
                mine = [run for run in runs if run in self._recorder.fences]
                if mine:
                    listener(mine)
                if len(mine) < len(runs) or not runs:
                    hint(is_serving)

    def end_earlier(self) -> "asyncio.Future[object]":
        """Nothing: others' leases end by themselves, and this worker is new."""
        return self._writer.submit(lambda tx: None)

    def next_due(self) -> datetime | None:
        """When the earliest parked timer is due; others' timers may be known a moment later."""
        if time.monotonic() - self._asked_at > _DUE_FOR_S:
            self._due, self._asked_at = self._stored_due(), time.monotonic()
        return self._due

    def forget(self) -> None:
        """The lease is over: what was taken under it is others'."""
        self._taken.clear()

    def _free_forgotten(self) -> None:
        for (run,) in self._lookups.rows(_HELD_BY, me=self._recorder.worker):
            if run not in self._recorder.fences:
                self._lookups.run(_FREE, of_run=run, me=self._recorder.worker)
        self._is_unsure = False
