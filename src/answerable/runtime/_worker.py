"""Advances runs: takes the lease, drives a slice, and closes, parks or gives back."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from answerable.core import FaultPoint, Outcome, RunId, reach
from answerable.ledger import Again, Draft, Gone, History, Queued, Stale
from answerable.ledger import Busy as LedgerBusy
from answerable.ledger import Parked as LedgerParked
from answerable.ledger import Slice as Lease
from answerable.runtime._agents import Agents, AgentSpec
from answerable.runtime._calling import call_agent, outcome_of
from answerable.runtime._changes import changed, is_changed
from answerable.runtime._closing import close_run, seen_subjects, successor_draft
from answerable.runtime._errors import AgentUnknown, TenantUnknown
from answerable.runtime._gate import Ending, Gate, ordered
from answerable.runtime._ports import Advanced, Busy, Done, Parked, Retry
from answerable.runtime._rollback import RollBack
from answerable.runtime._slice import Slice
from answerable.runtime._tasks import install_task_factory
from answerable.runtime._typed import to_json

__all__ = ["Worker"]

log = logging.getLogger("answerable.runtime")

_PAUSE = timedelta(seconds=5)
_PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1, 2, *[5] * 24)
_KILLED = ("refused.stopped", "refused.run_killed")


class Worker:
    """Advances the runs of this process's agents; `advance` is what an engine calls."""

    def __init__(self, gate: Gate, agents: Agents) -> None:
        self._gate = gate
        self._agents = agents
        self._slices: dict[str, Slice] = {}
        gate.ledger.leases.serves = agents.serves
        gate.ledger.leases.listen(self._told)

    async def advance(self, run: RunId) -> Advanced:
        """Advance the run until it waits or ends."""
        if run in self._gate.driven:
            return Done()
        install_task_factory(asyncio.get_running_loop())
        leases = self._gate.ledger.leases
        turns = self._gate.turns
        claiming = leases.claim(run, admit=turns.admit if turns is not None else None)
        try:
            lease = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # The claim commits all the same, and nobody would give back what nobody holds.
            unused = await claiming
            if isinstance(unused, Lease):
                await leases.release(unused)
            raise
        if isinstance(lease, Gone):
            return Done()
        if isinstance(lease, Queued):
            assert turns is not None
            turns.queued()
            return Parked(None)  # it is called, as if woken, when it is its turn
        if isinstance(lease, LedgerBusy):
            return Busy(lease.retry_at)
        while True:
            try:
                answer = await self._advance(lease)
            except BaseException:
                await asyncio.shield(self._release(lease))
                raise
            finally:
                self._slices.pop(run, None)
                if turns is not None:
                    turns.ended()
            if not isinstance(answer, Again):
                return answer
            lease = answer.slice

    async def _advance(self, lease: Lease) -> Advanced | Again:
        ledger = self._gate.ledger
        journal = await ledger.journal(lease)
        opened = journal.history.opened
        if journal.history.order == "kill":
            return await self._close(journal.history, lease, ordered(journal.history))
        if journal.history.order == "pause":
            return await self._park(lease, None)
        try:
            spec = self._agents.get(opened["control"]["agent"], opened["tenant"])
        except (AgentUnknown, TenantUnknown) as error:
            log.warning("run %s waits: %s", lease.run, error)
            return await self._give_back(lease)
        if opened["control"].get("origin", {}).get("how") == "rollback":
            roll_back = RollBack(ledger.reader, opened["control"]["origin"], self._gate.compensation)
            spec = replace(spec, fn=roll_back.undo)
        elif is_changed(spec, journal.history):
            if spec.on_change == "fail":
                return await self._close(journal.history, lease, changed(spec, journal.history), spec)
            return await self._leave(lease, journal.history.build)
        slice_ = Slice(self._gate, spec, lease, journal, self._initiator(opened))
        self._slices[lease.run] = slice_
        ending = await slice_.drive(call_agent(spec, slice_, journal.history.input))
        if ending.kind in ("finished", "killed", "continued"):
            return await self._close(journal.history, lease, ending, spec)
        if ending.kind == "lost":
            log.warning("run %s: the slice was lost: %s", lease.run, ending.error)
            return await self._give_back(lease)
        # Wakes that the slice has seen are no news; any other makes `park` answer Again.
        return await self._park(replace(lease, seen=lease.seen + slice_.wakes), ending.until)

    async def _park(self, lease: Lease, until: datetime | None) -> Advanced | Again:
        reach(FaultPoint.BEFORE_PARK)
        parked = await self._gate.ledger.leases.park(lease, until)
        if isinstance(parked, LedgerParked):
            reach(FaultPoint.AFTER_PARK)
            return Parked(parked.until)
        return self._retry() if isinstance(parked, Stale) else parked

    async def _close(self, history: History, lease: Lease, ending: Ending, spec: AgentSpec | None = None) -> Advanced:
        ledger, successor = self._gate.ledger, None
        outcome = outcome_of(lease.run, ending)
        if ending.kind == "continued" and spec is not None:
            by = self._agents.get(ending.agent, spec.tenant) if ending.agent else spec
            successor = successor_draft(ledger, history, ending, by)
            outcome = Outcome(status="ok", value=to_json({"continuedBy": successor.run}))
        state = "done" if successor is None else "continued"
        effect = {"status": outcome.status, "observedBy": "gate"}
        if outcome.status != "ok":
            effect["error"] = orjson.loads(outcome.value)["code"]
            state = "killed" if effect["error"] in _KILLED else "failed"
        reach(FaultPoint.BEFORE_RUN_CLOSE)
        draft = Draft(
            tenant=history.opened["tenant"],
            run=lease.run,
            phase="run.close",
            agent=history.opened["agent"]["id"],
            build=spec.build if spec is not None else "",
            once=f"c:{lease.run}",
            members={"control": {"state": state}, "effect": effect},
            output=outcome.value,
            subjects=seen_subjects(history),
            fence=lease.fence,
            wake=True,
        )
        appended = await close_run(ledger, history, draft, successor=successor)
        if appended is None:
            return await self._give_back(lease)
        reach(FaultPoint.AFTER_RUN_CLOSE)
        return self._retry() if appended.status == "stale" else Done()

    async def _give_back(self, lease: Lease) -> Advanced:
        await self._release(lease)
        return self._retry()

    async def _leave(self, lease: Lease, build: str) -> Advanced:
        """Leave the run to a worker with the code that began it."""
        log.warning("run %s waits for the code that began it: its agent is pinned to it", lease.run)
        self._gate.ledger.leases.serves = self._agents.serves
        await self._release(lease, to=build)
        return Parked(None)

    async def _release(self, lease: Lease, *, to: str = "") -> None:
        """Give the run back; again, if the disk is full: until the next start nobody else could have it."""
        leases = self._gate.ledger.leases
        for pause_s in (*_PAUSES_S, None):
            try:
                await (leases.leave(lease, to) if to else leases.release(lease))
            except Exception as error:
                if pause_s is None:
                    raise
                log.warning("run %s cannot be given back yet: %s", lease.run, error)
                await asyncio.sleep(pause_s)
            else:
                return

    def _retry(self) -> Retry:
        return Retry(self._gate.clock.now() + _PAUSE)

    def _initiator(self, opened: dict[str, Any]) -> str:
        """Who asked for the run, in clear: the receipt itself names them by pseudonym."""
        if "onBehalfOf" not in opened:
            return ""
        reader = self._gate.ledger.reader
        receipt = reader.find(opened["id"])
        text = reader.text(receipt).output if receipt is not None else None
        return orjson.loads(text)["onBehalfOf"] if text else ""

    def _told(self, runs: Sequence[str]) -> None:
        for run in runs:
            slice_ = self._slices.get(run)
            if slice_ is not None:
                slice_.wake()
