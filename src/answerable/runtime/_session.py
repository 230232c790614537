"""One session: an agent elsewhere drives it, call by call, and every call takes the road.

A session has no code that could be replayed, so its steps are told apart by what was asked. A call
that looks like one whose answer the agent never saw *is* that call: it joins it while it is under
way or in doubt, and gets the recorded outcome afterwards. `docs/concepts/sessions.md` has the rules.
"""

import asyncio
import logging
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from answerable.action import Effects, OutcomeUnknown, Road, Step
from answerable.core import (
    Action,
    ActionKind,
    AnswerableError,
    ApprovalId,
    Mac,
    Outcome,
    StepKey,
    parse_time,
    stable_json,
)
from answerable.ledger import ObjectErased, RunJournal
from answerable.ledger import Slice as Lease
from answerable.runtime._actions import ActionMaker
from answerable.runtime._agents import AgentSpec
from answerable.runtime._calls import Call, SliceFuture
from answerable.runtime._deliveries import Deliveries
from answerable.runtime._errors import Held, RunPaused
from answerable.runtime._gate import Gate, killed
from answerable.runtime._journal import SliceAuthorizer, SliceJournal
from answerable.runtime._limits import Bounds
from answerable.runtime._stated import Stated

__all__ = ["Session"]

log = logging.getLogger("answerable.runtime")

_Asked = tuple[str, str, bytes]
_Series = tuple[str, str, bytes, str | None]
"""Calls that look alike: what was asked, and under which key. They are numbered from 0."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Work:
    """A step that is under way, and whoever waits for it.

    Args:
        parked: set while the step waits for a person; `news`: something happened since it last looked.
        turns: resolved when it parks or ends.
        is_counted: whether it counts in the agent's queue until it ends.
    """

    action: Action
    call: Call
    asked: _Asked
    task: "asyncio.Task[Outcome] | None" = None
    waiters: int = 0
    is_counted: bool = False
    turns: "list[asyncio.Future[None]]" = field(default_factory=list)
    parked: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def turned(self, _: object = None) -> None:
        """It parked or ended."""
        turns, self.turns = self.turns, []
        for turn in turns:
            if not turn.done():
                turn.set_result(None)

    async def turn(self) -> None:
        """Wait until it parks or ends."""
        if self.task is not None and not self.task.done() and not self.parked.is_set():
            self.turns.append(turn := asyncio.get_running_loop().create_future())
            await turn


class Session:
    """A run whose calls come over the wire.

    Args:
        patience: how long a call that waits for a person keeps its caller waiting.
        retry_window: how long an outcome that nobody confirmed to have read is given to the same call again.
    """

    def __init__(
        self,
        gate: Gate,
        spec: AgentSpec,
        lease: Lease,
        journal: RunJournal,
        *,
        on_behalf_of: str,
        patience: timedelta,
        retry_window: timedelta,
    ) -> None:
        opened = journal.history.opened
        self.run = lease.run
        self.spec = spec
        self.name: str = opened["control"].get("session", {}).get("name", "")
        self.mandate: str = opened["control"].get("mandate", "")
        self.last_used: datetime = gate.clock.now()
        self.lease = lease
        self._gate = gate
        self._opened_at = parse_time(opened["at"])
        self._history = journal.history
        self._patience_s = patience.total_seconds()
        self._retry_window = retry_window
        self._run_key = Mac(gate.ledger.run_key(spec.tenant, lease.run))
        self._deliveries = Deliveries(gate.ledger, lease.run)
        self._journal = _SessionJournal(journal, self, self._deliveries, gate)
        self._authorizer = SliceAuthorizer(gate.authorizer, self)
        self._maker = ActionMaker(gate, spec, lease.run, opened["control"], on_behalf_of)
        self._bounds = Bounds(opened["control"].get("limits", {}))
        self._bounds.restore(taken=len({*self._history.finals, *self._history.intents, *self._history.held}))
        finals = self._history.finals.values()
        self._labels = self._history.exposed()
        self._subjects = {*opened["control"].get("subjects", ()), *(who for each in finals for who in each.subjects)}
        self._works: dict[StepKey, _Work] = {}
        self._stated = Stated(gate.ledger, spec.tenant, spec.agent_id, self._history)
        self._latest: dict[_Series, int] = {}
        self._named: tuple[_Series, int | str, StepKey] | None = None
        self._in_a_hurry = asyncio.Event()
        self._is_over = False

    @property
    def killed(self) -> AnswerableError | None:
        """That a person killed it, if one did."""
        return killed(self._history) if self._history.order == "kill" else None

    @property
    def is_over(self) -> bool:
        """Whether somebody else closed it: what it held was erased."""
        return self._is_over or self._history.closed is not None

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way."""
        return bool(self._works)

    async def perform(
        self,
        kind: ActionKind,
        name: str,
        arguments: bytes,
        *,
        key: str | None = None,
        joins: bool = True,
        effects: Effects | None = None,
        confidence: int | None = None,
    ) -> Outcome:
        """Take a call down the road, once.

        Args:
            kind: what sort of call it is.
            name: the tool, or `provider:model`.
            arguments: stable JSON, an object.
            key: names the request; the same key with the same call is the same step, always.
            joins: whether a call without a key may be a repetition of one that is under way, or whose answer
                was not delivered. A sampled model call may be wanted twice; then it is a new step each time.
            effects: who performs it, instead of the gate's own: for a call that streams its answer.
            confidence: how sure the agent says it is, in percent. While a step is open, the lowest that was stated
                of it counts.

        Raises:
            Held: it waits for a person, longer than `patience`. The same call made again finds the decision.
            OutcomeUnknown: it was dispatched, its outcome is lost, and only a person can settle it.
            QueueFull: the agent has too much under way; nothing was done, and it says when to try again.
        """
        self.last_used = self._gate.clock.now()
        found = self._find((kind, name, arguments), kind, key, joins=joins, effects=effects, confidence=confidence)
        if isinstance(found, Outcome):
            return found
        if found.task is not None:
            await self._stated.write()
        else:
            found.task = asyncio.create_task(self._travel(found, effects or self._gate.effects))
            found.task.add_done_callback(found.turned)
            if found.is_counted:
                found.task.add_done_callback(self._left)
        return await self._wait(found)

    async def refusal(self, *names: str, arguments: bytes, because: AnswerableError | None = None) -> Outcome | None:
        """The refusal of a tool call that a model proposes, on the record; None if the agent may make it.

        Nothing is executed. A call that needs approval may be made: it is held where it is made. So may one
        that repeats a call still open: policy would count that call against its own repetition.

        Args:
            names: the tools that the model may mean; it is refused where all of them are.
            because: why it is refused, where that is known before policy is asked.
        """
        for left, name in enumerate(names, start=1 - len(names)):
            asked = ("tool", name, arguments)
            if self._is_open((*asked, None)):
                return None
            # Proposals are not told apart by what they say: each is judged anew.
            step = self._step((*asked, None), f"proposed:{secrets.token_hex(8)}")
            work = self._new_work(asked, "tool", step, denial=because)
            try:
                decision = await self._authorizer.authorize(work.action)
                if decision.verdict != "deny":
                    return None
                if not left:
                    return (await self._journal.open(work.action, decision)).refusal
            finally:
                self._forget(work)
        raise AssertionError("there is a last name")

    def delivered(self, outcome: Outcome) -> None:
        """The agent has this outcome: the same call made again is a new one."""
        self._deliveries.mark(outcome.receipt)

    def wake(self) -> None:
        """Something was recorded that a step may wait for."""
        try:
            self._gate.ledger.refresh(self._history)
        except ObjectErased:
            self._is_over = True
        if self._history.dropped:
            self._labels = self._history.exposed()
        for work in self._works.values():
            work.news.set()

    def hurry(self) -> None:
        """Keep no caller waiting for a person any more."""
        self._in_a_hurry.set()

    async def drop(self) -> None:
        """The run is closed: what was noted of its deliveries is of no use any more."""
        await self._deliveries.drop()

    async def finish(self) -> None:
        """Give up waits, let effects under way end, and write the marks of delivery down."""
        for work in list(self._works.values()):
            if work.parked.is_set() and work.task is not None:
                work.task.cancel()
        tasks = [work.task for work in self._works.values() if work.task is not None]
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._deliveries.flush()

    # -- what the road asks (journal and authorizer) ------------------------------------------------------------------

    def asked(self, step: StepKey) -> None:
        self._works[step].news.clear()

    async def cleared(self, action: Action) -> None:
        """Nothing is replayed here, so nothing is unclaimed."""

    async def answered(self, step: StepKey) -> None:
        work = self._works[step]
        if not work.waiters:
            raise asyncio.CancelledError  # nobody would take the answer: the same call made again asks anew
        work.parked.set()
        work.turned()
        try:
            await work.news.wait()
        finally:
            work.parked.clear()

    def edited(self, action: Action) -> Action:
        edited = self._maker.edited(action, self._works[action.step].call, self._history.edits.get(action.step))
        sure = self._stated.of(action.step)
        return edited if sure == edited.confidence else replace(edited, confidence=sure)

    def denial(self, action: Action) -> AnswerableError | None:
        denial = self._works[action.step].call.denial
        if denial is not None or not self._bounds.has_wall:
            return denial
        return self._bounds.check_age(action.name, (self._gate.clock.now() - self._opened_at).total_seconds())

    def lost(self, error: Exception) -> None:
        """Nothing is handed back here before it is on disk."""

    # -- steps --------------------------------------------------------------------------------------------------------

    def _find(
        self,
        asked: _Asked,
        kind: ActionKind,
        key: str | None,
        *,
        joins: bool,
        effects: Effects | None,
        confidence: int | None,
    ) -> _Work | Outcome:
        """The work that this call is or joins, or the outcome it has."""
        series = (*asked, key)
        latest = self._latest_of(series)
        if latest >= 0:
            step = self._step(series, latest)
            work, final = self._works.get(step), self._history.finals.get(step)
            joins = joins or key is not None
            # What waits, and what a crash cut off, is nobody's second sample: it is gone on with.
            if final is None and (joins or work is None or work.parked.is_set()):
                # SECURITY: asked again more confidently, what was held for a doubt is held all the same.
                confidence = self._stated.hear(step, confidence)
                return work or self._begin(asked, kind, step, effects, confidence, is_new=False)
            if final is not None and joins and self._is_still_the_answer(final, kind, key):
                return final
        begun = self._begin(asked, kind, self._step(series, latest + 1), effects, confidence, is_new=True)
        self._latest[series] = latest + 1  # not where it was refused for now
        return begun

    def _is_still_the_answer(self, final: Outcome, kind: ActionKind, key: str | None) -> bool:
        # A model call that failed may be made again: it changed nothing but the bill.
        is_worth_repeating = kind == "model" and final.status == "failed"
        return not is_worth_repeating and (key is not None or not self._was_delivered(final))

    def _begin(
        self,
        asked: _Asked,
        kind: ActionKind,
        step: StepKey,
        effects: Effects | None,
        confidence: int | None,
        *,
        is_new: bool,
    ) -> _Work | Outcome:
        told = self._bounds.told_before(*asked) if is_new else None
        if told is not None:
            return Outcome.of_error("refused", told)
        turns = self._gate.turns if is_new else None
        if turns is not None and (full := turns.enter(self.spec.tenant, self.spec.name)) is not None:
            raise full
        breach = self._bounds.count(*asked) if is_new else None
        work = self._new_work(asked, kind, step, effects, denial=breach, confidence=confidence)
        work.is_counted = turns is not None
        return work

    def _new_work(
        self,
        asked: _Asked,
        kind: ActionKind,
        step: StepKey,
        effects: Effects | None = None,
        *,
        denial: AnswerableError | None = None,
        confidence: int | None = None,
    ) -> _Work:
        call = Call(
            step=step,
            signature=("", *asked),
            future=SliceFuture(loop=asyncio.get_running_loop()),
            confidence=self._stated.hear(step, confidence),
            denial=denial,
        )
        action = self._maker.make(
            call,
            kind,
            labels=tuple(sorted(self._labels)),
            subjects=tuple(sorted(self._subjects)),
            effects=effects,
        )
        call.denial = denial or call.denial
        self._works[step] = work = _Work(action=action, call=call, asked=asked)
        return work

    def _latest_of(self, series: _Series) -> int:
        """The number of the last such call, -1 if there was none; after a restart the record knows."""
        if series not in self._latest:
            latest = -1
            while self._is_known(self._step(series, latest + 1)):
                latest += 1
            self._latest[series] = latest
        return self._latest[series]

    def _is_open(self, series: _Series) -> bool:
        """Whether the last such call is under way, held, in doubt, or has an answer that nobody had."""
        latest = self._latest_of(series)
        final = self._history.finals.get(self._step(series, latest))
        return latest >= 0 and (final is None or not self._was_delivered(final))

    def _is_known(self, step: StepKey) -> bool:
        history = self._history
        return step in history.finals or step in history.intents or step in history.held or step in self._works

    def _was_delivered(self, outcome: Outcome) -> bool:
        if self._deliveries.has(outcome.receipt):
            return True
        return self._gate.clock.now() - parse_time(outcome.at) > self._retry_window

    def _step(self, series: _Series, number: int | str) -> StepKey:
        # A new call is named twice in a row: as one that may be known, and as the one that it is.
        if self._named is not None and self._named[0] == series and self._named[1] == number:
            return self._named[2]
        kind, name, arguments, key = series
        occurrence = str(number) if key is None else f"key:{key}:{number}"
        said = stable_json(["session", kind, name, arguments.decode(), occurrence])
        step = StepKey(self._run_key.digest(said).hex()[:32])
        self._named = series, number, step
        return step

    def _left(self, _: object) -> None:
        if self._gate.turns is not None:
            self._gate.turns.leave(self.spec.tenant, self.spec.name)

    # -- work ---------------------------------------------------------------------------------------------------------

    async def _travel(self, work: _Work, effects: Effects) -> Outcome:
        road = Road(journal=self._journal, authorizer=self._authorizer, effects=effects, reporter=self._gate.reporter)
        try:
            await self._stated.write()
            outcome = await road.perform(work.action)
        finally:
            self._gate.performing.end(work.action)
            self._forget(work)
        self._stated.forget(work.action.step)
        self._bounds.learn(*work.asked, outcome)
        self._labels.update(outcome.labels)
        self._subjects.update(outcome.subjects)
        return outcome

    async def _wait(self, work: _Work) -> Outcome:
        task = work.task
        assert task is not None
        work.waiters += 1
        try:
            while True:
                await work.turn()
                if not task.done():
                    await self._be_patient(task)
                if task.done():
                    return task.result()
                if work.parked.is_set():
                    raise self._waiting(work)
        finally:
            work.waiters -= 1
            self.last_used = self._gate.clock.now()
            if not work.waiters and work.parked.is_set():
                # What a person permits is done when the agent asks again, not behind its back.
                task.cancel()
                self._forget(work)

    async def _be_patient(self, task: "asyncio.Task[Outcome]") -> None:
        hurry = asyncio.ensure_future(self._in_a_hurry.wait())
        try:
            await asyncio.wait((task, hurry), timeout=self._patience_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()

    def _forget(self, work: _Work) -> None:
        if self._works.get(work.action.step) is work:
            del self._works[work.action.step]

    def _waiting(self, work: _Work) -> AnswerableError:
        step, name = work.action.step, work.action.name
        if self._history.order == "pause":
            return RunPaused(name=name, run=self.run)
        intent = self._history.intents.get(step)
        if intent is not None and not intent.is_written_off:
            return OutcomeUnknown(name=name, reason="no answer came, and neither key nor probe can tell")
        return Held(name=name, approval=ApprovalId(self._history.held.get(step, "")))


class _SessionJournal(SliceJournal):
    """Marks of delivery ride on whatever commit comes next."""

    def __init__(self, inner: RunJournal, session: Session, deliveries: Deliveries, gate: Gate) -> None:
        super().__init__(inner, session, gate.performing)
        self._deliveries = deliveries

    async def open(self, action: Action, decision: Any) -> Step:
        if action.needs_intent:
            self._deliveries.ride()
        return await super().open(action, decision)

    async def close(self, step: Step, outcome: Outcome) -> Outcome:
        self._deliveries.ride()
        return await super().close(step, outcome)
