"""One slice: an attempt to advance a run until it waits or ends.

The agent's calls go down the road in tasks that the gate owns. Outcomes are handed back one at a
time in the order of the record, the next when every task of the agent is suspended again: so what
the agent does between two outcomes is the same live and in every replay.
`docs/concepts/runs.md` tells the whole story.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from datetime import timedelta
from typing import Any, Literal

from answerable.action import Road
from answerable.core import (
    Action,
    ActionKind,
    AnswerableError,
    Effect,
    FaultPoint,
    Mac,
    Outcome,
    StepKey,
    format_time,
    parse_time,
    reach,
    stable_json,
)
from answerable.ledger import RunJournal, SliceLost
from answerable.ledger import Slice as Lease
from answerable.runtime._actions import ActionMaker, names_of
from answerable.runtime._agents import AgentSpec
from answerable.runtime._calls import Call, Signature, SliceFuture, mark_draft, step_key
from answerable.runtime._delegation import authority_of
from answerable.runtime._errors import CallInProgress, ReplayDiverged, RunCancelled
from answerable.runtime._gate import Ending, Gate, ordered
from answerable.runtime._handback import HandBack
from answerable.runtime._journal import SliceAuthorizer, SliceJournal
from answerable.runtime._limits import Bounds
from answerable.runtime._tasks import current_slice, end_tasks, foreign_waits
from answerable.runtime._watch import TaskWatch

__all__ = ["Slice"]

log = logging.getLogger("answerable.runtime")

_MOST_CALLS_AFTER_END = 100


class Slice:
    """One attempt to advance a run. `Run` is the agent's view of it."""

    def __init__(self, gate: Gate, spec: AgentSpec, lease: Lease, journal: RunJournal, on_behalf_of: str) -> None:
        opened = journal.history.opened
        self.gate = gate
        self.spec = spec
        self.run = lease.run
        self.tenant = spec.tenant
        self.run_key = Mac(gate.ledger.run_key(spec.tenant, names_of(opened)))
        self.wakes = 0
        self.history = journal.history
        self._opened, self.control = opened, opened["control"]
        self._lease = lease
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._watch = TaskWatch(self._loop, self._on_still)
        authorizer = authority_of(gate.authorizer, self.control, held_to=gate.held_to)
        self._road = Road(
            journal=SliceJournal(journal, self, gate.performing, runs_ahead=True),
            authorizer=SliceAuthorizer(authorizer, self),
            effects=gate.effects,
            reporter=gate.reporter,
        )
        self._bounds = Bounds(self.control.get("limits", {}))
        carried = {name: tuple(self.control.get(name, ())) for name in ("subjects", "labels")}
        self._back = HandBack(journal.history, gate.ledger.reader, self._bounds, **carried)
        self._occurrences: dict[Signature, int] = {}
        self._versions: list[Call] = []
        self._gated: dict[StepKey, asyncio.Future[None]] = {}
        self._waits: dict[StepKey, asyncio.Future[None]] = {}
        self._dues: dict[StepKey, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._working = self._calls_after_end = 0
        self._linger: asyncio.TimerHandle | None = None
        self._warned = False
        self.chances: dict[str, random.Random] = {}
        self._is_sealed = self._is_closing = False
        self._diverged: ReplayDiverged | None = None
        self._actions = ActionMaker(gate, spec, lease.run, self.control, on_behalf_of)
        self._ending: asyncio.Future[Ending] = self._loop.create_future()

    # -- what the agent's `Run` calls, synchronously, at the moment of the call ------------------------------------

    def call(self, branch: str, kind: ActionKind, name: str, arguments: bytes, sure: int | None = None) -> SliceFuture:
        """An action on the road; its outcome comes in the future."""
        self._check_open()
        future = SliceFuture(loop=self._loop)
        if self._is_sealed:
            return future
        told = self._diverged or self._bounds.told_before(kind, name, arguments)
        if told is not None:
            return self._tell_again(future, told)
        signature = (branch, kind, name, arguments)
        step = self._step(signature)
        breach = self._bounds.count(kind, name, arguments)
        call = Call(step=step, signature=signature, future=future, confidence=sure, denial=breach)
        if self._claim(call):
            return future
        action = self._actions.make(call, kind, labels=self._back.labels, subjects=self._back.subjects)
        if action.effect is not Effect.READ and self._back.hold_write(call) and call.denial is None:
            call.denial = CallInProgress(name=name)
        self._start(call, self._travel(action), action)
        return future

    def sleep(self, branch: str, name: str, duration: timedelta, future: SliceFuture | None = None) -> SliceFuture:
        """A durable timer; with a future, the time-out of a signal awaited in it."""
        self._check_open()
        future = future or SliceFuture(loop=self._loop)
        if self._is_sealed:
            return future
        arguments = stable_json({"us": duration // timedelta(microseconds=1)})
        signature = (branch, "timer", name, arguments)
        call = Call(step=self._step(signature), signature=signature, future=future)
        if not self._claim(call):
            self._start(call, self._time(call, duration))
            future.add_done_callback(lambda _: self._give_up(call))
        return future

    def signal(self, branch: str, name: str, timeout: timedelta | None) -> SliceFuture:
        """The first signal of this name that nobody took yet."""
        self._check_open()
        future = SliceFuture(loop=self._loop)
        if self._is_sealed:
            return future
        call = Call(step=StepKey(""), signature=(branch, "signal", name, b""), future=future)
        self._back.listen(name, call)
        if timeout is not None:
            self.sleep(branch, f"signal:{name}", timeout, future)
        self._stir()
        return future

    def version(self, branch: str, name: str) -> SliceFuture:
        """Whether the code behind this marker may run: not in a run that went past here before it existed."""
        self._check_open()
        future = SliceFuture(loop=self._loop)
        if self._is_sealed:
            return future
        signature = (branch, "version", name, b"{}")
        step = step_key(self.run_key, signature, 0)
        call = Call(step=step, signature=signature, future=future)
        earlier = self._back.calls.get(step)
        if earlier is not None:  # the answer of the first time stands
            earlier.future.add_done_callback(lambda done: _pass_on(done, future))
            return future
        if not self._claim(call):
            self._versions.append(call)
            self._stir()
        return future

    def is_shared(self, signature: Signature) -> bool:
        """Whether the next such call is one whose outcome a fork shares."""
        step = step_key(self.run_key, signature, self._occurrences.get(signature, 0))
        return step in self.history.shared

    def pass_on(self, ending: Ending) -> SliceFuture:
        """The run is over for this agent, and goes on as another run; the future is never answered."""
        self._check_open()
        self._end(ending)
        return SliceFuture(loop=self._loop)

    @property
    def at(self) -> str:
        """Time on the record of the last outcome handed back."""
        return self._back.at

    def track(self, task: asyncio.Task[Any]) -> None:
        """A task of the agent's (called by the task factory)."""
        self._watch.track(task)

    # -- driving ----------------------------------------------------------------------------------------------------

    async def drive(self, agent: Coroutine[Any, Any, Any]) -> Ending:
        """Run the agent until the run waits, ends, or the slice is lost."""
        context = self._context.copy()
        context.run(current_slice.set, self)
        root = self._loop.create_task(agent, context=context)
        root.add_done_callback(self._root_done)
        try:
            ending = await self._ending
        except asyncio.CancelledError:
            await self._unwind()
            await self._finish_work()
            raise
        await self._unwind()
        await self._finish_work()
        del self._road  # it refers back to the slice: nothing of a run is left for the garbage collector
        return self._finished(ending) if ending.kind in ("finished", "continued") else ending

    def wake(self) -> None:
        """Something was recorded that this run waits for, or may."""
        if self._is_sealed:
            return
        self.wakes += 1
        try:
            self.gate.ledger.refresh(self.history)
        except Exception as error:  # noqa: BLE001 - the record cannot be read: the slice cannot go on
            return self.lost(error)
        if self.history.closed is not None:  # by somebody else: what it needs was erased
            return self.lost(SliceLost(run=self.run))
        if self.history.order:
            return self._end(ordered(self.history))
        self._back.absorb()
        for wait in list(self._waits.values()):
            if not wait.done():
                wait.set_result(None)
        self._stir()

    # -- what the road asks (journal and authorizer) ------------------------------------------------------------------

    def asked(self, step: StepKey) -> None:
        self._back.calls[step].seen_wakes = self.wakes

    async def cleared(self, action: Action) -> None:
        if self._back.unclaimed_effects:
            self._gated[action.step] = clear = self._loop.create_future()
            try:
                await self._wait_for(self._back.calls[action.step], lambda: clear)
            finally:
                del self._gated[action.step]

    async def answered(self, step: StepKey) -> None:
        call = self._back.calls[step]
        if call.seen_wakes != self.wakes:
            return  # it was answered between `open` and here
        self._waits[step] = answer = self._loop.create_future()
        try:
            await self._wait_for(call, lambda: answer)
        finally:
            del self._waits[step]

    def edited(self, action: Action) -> Action:
        arguments = self.history.edits.get(action.step)
        return action if arguments is None else self._actions.edited(action, self._back.calls[action.step], arguments)

    def denial(self, action: Action) -> AnswerableError | None:
        call = self._back.calls[action.step]
        if call.denial is not None or not self._bounds.has_wall:
            return call.denial
        age = self.gate.clock.now() - parse_time(self._opened["at"])
        return self._bounds.check_age(action.name, age.total_seconds())

    # -- calls --------------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if not self._is_sealed:
            return
        self._calls_after_end += 1
        if self._calls_after_end < _MOST_CALLS_AFTER_END:
            raise RunCancelled
        # Code that swallows even this, in a loop, would hold the event loop: it gets a future nobody answers.

    def _step(self, signature: Signature) -> StepKey:
        occurrence = self._occurrences.get(signature, 0)
        self._occurrences[signature] = occurrence + 1
        return step_key(self.run_key, signature, occurrence)

    def _claim(self, call: Call) -> bool:
        """Register the call; whether its outcome is on the record already."""
        if self._linger is not None:
            self._disarm()
        is_recorded = self._back.claim(call)
        if is_recorded:
            self._watch.poke()
        if self._gated and not self._back.unclaimed_effects:
            for clear in self._gated.values():
                if not clear.done():
                    clear.set_result(None)
        return is_recorded

    def _tell_again(self, future: SliceFuture, told: AnswerableError) -> SliceFuture:
        if self._bounds.is_ignored:
            self._end(Ending(kind="finished", error=told))
            return future
        future.set_result(Outcome.of_error("refused", told))
        return future

    # -- work the gate does for the slice -----------------------------------------------------------------------------

    def _start(self, call: Call, work: Coroutine[Any, Any, object], action: Action | None = None) -> None:
        self._working += 1
        if not self._versions and not self._back.may_have_some:
            self._watch.hush()  # `_on_still` would find nothing before this is done
        # A copy each, as asyncio makes: what a tool sets must not reach the next. The factory is for the agents' tasks.
        call.task = asyncio.Task(self._do(call, work, action), loop=self._loop, context=self._context.copy())
        self._tasks.add(call.task)

    async def _do(self, call: Call, work: Coroutine[Any, Any, object], action: Action | None) -> None:
        try:
            await work
        except SliceLost as error:
            self.lost(error)
        except Exception as error:
            log.exception("run %s: the gate lost a step", self.run)
            self.lost(error)
        finally:
            self._working -= 1
            if action is not None:
                self.gate.performing.end(action)
            if call.task is not None:
                # MEASURED: kept until the end of the run, done tasks and their contexts cost 10 % in collections.
                self._tasks.discard(call.task)
                call.task = None
        self._back.absorb()
        if not self._is_sealed:
            self._watch.look()

    def _travel(self, action: Action) -> Coroutine[Any, Any, object]:
        return self._road.perform(action)

    async def _time(self, call: Call, duration: timedelta) -> None:
        due = self.history.timers.get(call.step)
        if due is None:
            due = format_time(self.gate.clock.now() + duration)
            await self._append(call, "timer", f"t:{self.run}:{call.step}", {"state": "set", "due": due})
            reach(FaultPoint.AFTER_TIMER)
        remaining_s = (parse_time(due) - self.gate.clock.now()).total_seconds()
        if remaining_s > 0:
            self._dues[call.step] = due
            try:
                await self._wait_for(call, lambda: self.gate.sleep(remaining_s))
            finally:
                del self._dues[call.step]
        await self._append(call, "timer", f"f:{self.run}:{call.step}", {"state": "fired", "due": due})
        reach(FaultPoint.AFTER_TIMER)

    def _give_up(self, call: Call) -> None:
        """Nobody awaits this timer any more: the signal came first, or the agent cancelled it."""
        if call.is_waiting and call.task is not None:
            call.task.cancel()

    async def _mark(self, call: Call) -> None:
        branch, _, name, _ = call.signature
        await self._append(call, "version", f"v:{self.run}:{branch}:{name}", {"name": name})

    async def _append(self, call: Call, phase: Literal["timer", "version"], once: str, control: dict[str, Any]) -> None:
        draft = mark_draft(call, self.spec, self._lease, phase, once, control)
        if (await self.gate.ledger.append(draft)).status == "stale":
            raise SliceLost(run=self.run)
        self.gate.ledger.refresh(self.history)

    async def _wait_for(self, call: Call, wait: Callable[[], Awaitable[None]]) -> None:
        """Wait for something outside the gate; meanwhile nothing is being done for the call."""
        if self._is_closing:
            raise asyncio.CancelledError  # the agent is gone: nobody waits for the answer any more
        self._working -= 1
        call.is_waiting = True
        if not self._working:
            self._watch.poke()
        try:
            await wait()
        finally:
            self._working += 1
            call.is_waiting = False
            self._disarm()

    def _on_still(self) -> None:
        """Every task of the agent is suspended: hand back what comes next on the record."""
        if self._is_sealed or (self._working and not self._versions and not self._back.may_have_some):
            return
        if self._versions and self._answer_versions():
            return
        if self._back.hand_next():
            if self._back.has_ready or not self._working:
                self._watch.poke()
        elif not self._working:
            self._rest()

    def _answer_versions(self) -> bool:
        """Answer markers at the first moment all calls before them are known; whether one was answered."""
        pending, self._versions = self._versions, []
        was_answered = False
        for call in pending:
            if not self._back.went_past(call.signature[0]):
                self._start(call, self._mark(call))
            elif not call.future.done():
                call.future.set_result(Outcome(status="ok", value=b"false"))
                was_answered = True
        if was_answered:
            self._watch.poke()
        return was_answered

    # -- rest and end -------------------------------------------------------------------------------------------------

    def _stir(self) -> None:
        self._disarm()
        self._watch.poke()

    def _disarm(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _rest(self) -> None:
        """Nothing can move by itself: not the agent, not the gate."""
        foreign = foreign_waits(self._watch.tasks, self._watch.tasks)
        if foreign:
            if not self._warned:
                self._warned = True
                log.warning(
                    "run %s waits for something of its own, not for a durable call: it stays in memory, and what it "
                    "waits for will not survive a crash",
                    self.run,
                )
            for future in foreign:
                future.remove_done_callback(self._foreign_done)
                future.add_done_callback(self._foreign_done)
        elif self._gated:
            self._diverge()
        elif self._linger is None and self._watch.tasks:
            until = min(self._dues.values(), default=None)
            if until is None or parse_time(until) - self.gate.clock.now() > self.gate.linger:
                self._linger = self._loop.call_later(self.gate.linger.total_seconds(), self._park)

    def _foreign_done(self, future: asyncio.Future[Any]) -> None:
        self._watch.poke()

    def _diverge(self) -> None:
        step = next(iter(self._gated))
        journalled = next(iter(self._back.unclaimed_effects.values()))
        self._diverged = ReplayDiverged(
            journalled=journalled, instead=f"a new call of `{self._back.calls[step].signature[2]}`"
        )
        outcome = Outcome.of_error("failed", self._diverged)
        for call in [self._back.calls[gated] for gated in self._gated]:
            if call.task is not None:
                call.task.cancel()
            if not call.future.done():
                call.future.set_result(outcome)
        self._watch.poke()

    def _park(self) -> None:
        self._linger = None
        due = min(self._dues.values(), default=None)
        self._end(Ending(kind="quiet", until=parse_time(due) if due else None))

    def lost(self, error: Exception) -> None:
        self._end(Ending(kind="lost", error=error))

    def _root_done(self, root: asyncio.Task[Any]) -> None:
        if root.cancelled():
            self._end(Ending(kind="finished", error=asyncio.CancelledError()))
        elif (error := root.exception()) is not None:
            self._end(Ending(kind="finished", error=error))
        else:
            self._end(Ending(kind="finished", result=root.result()))

    def _end(self, ending: Ending) -> None:
        # INVARIANT: sealed before anything is cancelled, so that no cleanup code of the agent writes.
        if self._is_sealed:
            return
        self._is_sealed = True
        self._disarm()
        self._watch.stop()
        if not self._ending.done():
            self._ending.set_result(ending)

    async def _unwind(self) -> None:
        """Seal, and have the agent's tasks end."""
        self._end(Ending(kind="lost"))
        left = await end_tasks(self._watch.tasks, self.gate.unwind)
        if left:
            log.warning("run %s: %d tasks of the agent ignore their cancellation", self.run, left)

    async def _finish_work(self) -> None:
        """Effects under way are finished and recorded; waits are given up."""
        self._is_closing = True
        self._stop_waiting()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _stop_waiting(self) -> None:
        for call in self._back.calls.values():
            if call.is_waiting and call.task is not None:
                call.task.cancel()

    def _finished(self, ending: Ending) -> Ending:
        if self._diverged is not None:
            return Ending(kind="finished", error=self._diverged)
        if self._back.unclaimed_effects:
            journalled = next(iter(self._back.unclaimed_effects.values()))
            return Ending(kind="finished", error=ReplayDiverged(journalled=journalled, instead="the end of the run"))
        return ending


def _pass_on(done: asyncio.Future[Outcome], future: SliceFuture) -> None:
    if not done.cancelled() and not future.done():
        future.set_result(done.result())
