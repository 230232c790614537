"""Rehearsals: a stored run is replayed by the code of the day, and nothing is done.

What the record holds is handed back as in any replay. A call that it does not hold waits for ever; a
rehearsal ends when nothing moves any more. So it tells, before a deploy, what an engine would meet.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, cast

from answerable.action import Finding, Step
from answerable.core import (
    Action,
    ActionKind,
    Clock,
    Decision,
    Description,
    Effect,
    Outcome,
    RunId,
    StepKey,
    SystemClock,
    TenantId,
)
from answerable.ledger import History, Ledger, ObjectErased, Reader, RunJournal, SharedReceiptsChanged, begun_at
from answerable.ledger import Slice as Lease
from answerable.runtime._agents import Agents, AgentSpec
from answerable.runtime._calling import call_agent, outcome_of
from answerable.runtime._calls import Call
from answerable.runtime._errors import AgentUnknown, TenantUnknown
from answerable.runtime._gate import Ending, Gate
from answerable.runtime._journal import Performing
from answerable.runtime._slice import Slice
from answerable.runtime._tasks import install_task_factory

__all__ = ["Describe", "Rehearsed", "rehearse"]

Describe = Callable[[ActionKind, str, bytes], Description]
Verdict = Literal["same", "anew", "diverges", "ends otherwise", "stuck", "unknown", "erased"]
_END, _REST = "the end of the run", "nothing: it waits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What the code of the day makes of a stored run.

    Args:
        verdict: `same`; `anew`: it would ask or read something that is not on the record, and what follows from
            the answer cannot be told; `diverges`: an engine would end it with `ReplayDiverged`; `ends otherwise`:
            it is over, and would now return something else or go on; `stuck`: it waits for something of its own;
            `unknown`: there is no such agent; `erased`: what a replay needs was erased.
        seq, step: where the record and the code part; -1 and empty where they do not.
        expected: what stands there.
        came: what the code does there.
        replayed: outcomes, signals and timers that were handed back.
        of: those that the record holds.
        build: of the code that took its first step, and `now`: of the code that replayed it.
    """

    run: RunId
    agent: str
    verdict: Verdict
    seq: int = -1
    step: str = ""
    expected: str = ""
    came: str = ""
    replayed: int = 0
    of: int = 0
    build: str = ""
    now: str = ""


async def rehearse(
    reader: Reader, agents: Agents, run: RunId, *, describe: Describe, patience: timedelta = timedelta(seconds=10)
) -> Rehearsed:
    """Replay one stored run by these agents' code. The code's own I/O, outside its `run`, does happen.

    Args:
        describe: what a call would do; it is only asked, never done.
        patience: how long code may compute, or wait for something of its own.
    """
    install_task_factory(asyncio.get_running_loop())
    try:
        history = reader.history(run)
    except (ObjectErased, SharedReceiptsChanged) as error:
        return Rehearsed(run=run, agent="", verdict="erased", came=error.code)
    opened = history.opened
    common: dict[str, Any] = {"run": run, "agent": opened["control"]["agent"], "of": len(history.recorded)}
    common["build"] = history.build or opened["agent"].get("build", "")
    try:
        spec = agents.get(common["agent"], opened["tenant"])
    except (AgentUnknown, TenantUnknown):
        return Rehearsed(verdict="unknown", **common)
    common["now"] = spec.build
    slice_ = _Rehearsal(reader, spec, history, describe)
    try:
        async with asyncio.timeout(patience.total_seconds()):
            ending = await slice_.drive(call_agent(spec, slice_, history.input))
    except TimeoutError:
        return Rehearsed(verdict="stuck", came="it waits for something of its own", **common)
    return _verdict(reader, history, slice_, ending, common)


def _verdict(
    reader: Reader, history: History, slice_: "_Rehearsal", ending: Ending, common: dict[str, Any]
) -> Rehearsed:
    common["replayed"] = sum(one.kind == "signal" or one.step in slice_.calls for one in history.recorded)
    came = slice_.came[0] if slice_.came else None
    is_over = ending.kind in ("finished", "continued")
    unmet = _unmet(reader, slice_)
    if unmet is not None:
        is_for_sure = came is None or came.effect is not Effect.READ
        here = f"a new call of `{came.name}`" if came is not None else _END if is_over else _REST
        return Rehearsed(verdict="diverges" if is_for_sure else "anew", came=here, **unmet, **common)
    if history.closed is not None and history.order != "kill":
        then = reader.find(history.closed["id"])
        recorded = reader.text(then).output if then is not None else None
        if not is_over:
            here = f"a new call of `{came.name}`" if came is not None else _REST
        elif ending.kind == "finished" and outcome_of(history.run, ending).value != recorded:
            here = "another result, or another error"
        else:
            return Rehearsed(verdict="same", **common)
        return Rehearsed(verdict="ends otherwise", seq=history.closed["seq"], expected=_END, came=here, **common)
    return Rehearsed(verdict="same", **common)


def _unmet(reader: Reader, slice_: "_Rehearsal") -> dict[str, Any] | None:
    """The first effect on the record that the code did not call again. What was only read may be left out."""
    seqs = {one.step: one.seq for one in slice_.history.recorded if one.kind == "final"}
    begun = begun_at(reader.receipts(run=slice_.run))
    found = [(seqs.get(step, begun.get(step, -1)), step, name) for step, name in slice_.unmet.items()]
    if not found:
        return None
    seq, step, name = min(found)
    return {"seq": seq, "step": step, "expected": f"`{name}`"}


class _Rehearsal(Slice):
    """A slice whose every new call waits for ever."""

    def __init__(self, reader: Reader, spec: AgentSpec, history: History, describe: Describe) -> None:
        ledger = cast(Ledger, _Record(reader))
        nothing = _Nothing(describe)
        gate = Gate(
            ledger=ledger,
            authorizer=nothing,
            effects=nothing,
            reporter=nothing,
            performing=Performing(),
            linger=timedelta(0),
            sleep=_for_ever,
        )
        lease = Lease(tenant=history.opened["tenant"], run=history.run, fence=0, seen=0)
        history.order = ""  # a paused run is rehearsed like any other
        super().__init__(gate, spec, lease, RunJournal(ledger, lease, history), "")
        self.came: list[Action] = []

    @property
    def calls(self) -> dict[StepKey, Call]:
        """Every call that was made, by step."""
        return self._back.calls

    @property
    def unmet(self) -> dict[StepKey, str]:
        """Effects on the record that were not called again, by name."""
        return self._back.unclaimed_effects

    async def _travel(self, action: Action) -> None:
        history = self.history
        if action.step not in history.intents and action.step not in history.held:
            self.came.append(action)
        await self._wait_for(self._back.calls[action.step], _for_ever)

    async def _time(self, call: Call, duration: timedelta) -> None:
        await self._wait_for(call, _for_ever)

    async def _mark(self, call: Call) -> None:
        if not call.future.done():
            call.future.set_result(Outcome(status="ok", value=b"true"))


async def _for_ever(_: float = 0) -> None:
    await asyncio.get_running_loop().create_future()


class _Record:
    """As much of a ledger as reading takes."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.clock: Clock = SystemClock()

    def run_key(self, tenant: TenantId, run: RunId) -> bytes:
        return self.reader.run_key(tenant, run)


class _Nothing:
    """Effects, policy and reports of a rehearsal: described, never done."""

    def __init__(self, describe: Describe) -> None:
        self.describe = describe

    async def authorize(self, action: Action) -> Decision:
        raise RuntimeError("a rehearsal decides nothing")

    async def execute(self, step: Step) -> Outcome:
        raise RuntimeError("a rehearsal does nothing")

    async def probe(self, step: Step) -> Finding:
        raise RuntimeError("a rehearsal asks nobody")

    def report(self, step: Step, outcome: Outcome) -> None:
        raise RuntimeError("a rehearsal has nothing to report")
