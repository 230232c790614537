"""The journal of one run: claim, open and close, as the road asks for them.

An intent is on disk before its effect, and so is every outcome before it. A read that reserves nothing
has no intent: it is admitted from memory, and its one receipt is the outcome.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from answerable.action import Claim, Step
from answerable.core import (
    Action,
    AnswerableError,
    ApprovalObligation,
    Decision,
    FaultPoint,
    Outcome,
    ReceiptId,
    RecordedError,
    Refused,
    format_time,
    new_approval_id,
    parse_time,
    reach,
)
from answerable.ledger._drivers._failures import PASSING
from answerable.ledger._history import History, as_recorded
from answerable.ledger._landing import Landing
from answerable.ledger._leases import Slice
from answerable.ledger._ports import Ruling, RulingTx
from answerable.ledger._receipt import Appended, Draft
from answerable.ledger._record import Transaction
from answerable.ledger._said import action_members, authority_of, error_code
from answerable.ledger._tombstones import is_erased
from answerable.ledger._vault import commitment

if TYPE_CHECKING:
    from answerable.ledger._ledger import Ledger

__all__ = ["RunJournal", "SliceLost"]

_log = logging.getLogger(__name__)
Lost = Callable[[Exception, Coroutine[Any, Any, Any]], None]
_PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1, 2, *[5] * 24)  # two minutes in all: then a person is asked what became of it


@dataclass(eq=False, kw_only=True)
class SliceLost(Refused):
    """Another worker advances the run now; this one may start nothing new."""

    code = "refused.slice_lost"
    what = "run `{run}` is advanced by another worker now"
    why = "this worker's lease ended while it was working"
    fix = "nothing to do: the other worker goes on from the record"

    run: str


class RunJournal:
    """What the road asks of the record, for one slice of one run."""

    def __init__(self, ledger: "Ledger", slice_: Slice, history: History) -> None:
        self._ledger = ledger
        self._slice = slice_
        self.history = history

    async def claim(self, action: Action) -> Claim:
        """What is already recorded of this step."""
        step = action.step
        outcome = self.history.finals.get(step)
        if outcome is not None:
            return Claim(action=action, outcome=outcome)
        intent = self.history.intents.get(step)
        if intent is None or intent.is_written_off:
            return Claim(action=action)
        doubt = Step(action=action, status="doubt", attempt=intent.attempt, intent=intent.receipt, wait=intent.receipt)
        return Claim(action=action, doubt=doubt)

    async def open(self, action: Action, decision: Decision) -> Step:
        """Record the intent, the hold or the refusal; see `action.Journal.open`."""
        before = self.history.intents.get(action.step)
        opening = _Opening(self._ledger, self._slice, action, decision, before.attempt + 1 if before else 1)
        if opening.is_unrecorded:
            ruling = opening.rule(self._ledger.glance)
            if ruling is _FREE:
                return opening.admitted
        reach(FaultPoint.BEFORE_INTENT)
        step, appended = await self._ledger.writer.submit(opening.record)
        if appended is not None and appended.status == "ok":
            if step.status == "admitted" and appended.seq == self.history.seen + 1:
                self.history.intended(action.step, step.attempt, appended.id, appended.seq)
            else:
                await self.refresh()
        if step.status == "admitted":
            reach(FaultPoint.AFTER_INTENT)
            if not self._ledger.leases.is_held:
                # SECURITY: to whoever has the run now the intent is in doubt; nothing may be dispatched under it.
                await self.write_off(step, "the worker's lease was over before it was dispatched")
                raise SliceLost(run=action.run)
        elif step.status == "refused":
            reach(FaultPoint.AFTER_DENIED)
        elif step.status == "held":
            reach(FaultPoint.AFTER_HELD)
        elif step.status == "doubt":  # another slice opened this attempt first: read what it wrote
            await self.refresh()
        return step

    async def settled(self) -> None:
        """Read on, once all that has its place in the record by now is on disk."""
        await self._ledger.writer.submit(lambda tx: None)
        await self.refresh()

    async def close(self, step: Step, outcome: Outcome, *, lost: Lost | None = None) -> Outcome:
        """Record the outcome, once; see `action.Journal.close`.

        Args:
            lost: if given, the outcome comes back as soon as it has its place in the record, before it is on
                disk. No later intent is on disk without it. Called if it does not get there, with the reason
                and with what goes on trying; the history read so far is not to be built on then.
        """
        reach(FaultPoint.AFTER_EFFECT)
        closing = _Closing(self._ledger, step, outcome, self._slice.fence)
        if lost is None:
            appended = await self._held(closing)
            reach(FaultPoint.AFTER_OUTCOME)
        else:
            appended = await self._placed(closing, lost)
        self._ledger.forget_input(step.action)
        if self._is_next(closing, appended):
            about = self._ledger.called(step.action.tenant, {*step.action.subjects, *outcome.subjects})
            recorded = as_recorded(outcome, appended.id, appended.seq, appended.at, subjects=about)
            self.history.finished(step.action, recorded)
            reach(FaultPoint.HANDED_BACK)
            return recorded
        await self.refresh()  # what was recorded first stands
        return self.history.finals.get(step.action.step, outcome)

    async def _placed(self, closing: "_Closing", lost: Lost) -> Appended:
        """Give the outcome its place; wait for the disk only where that is not the next in the history."""
        landing = Landing(lambda error: lost(error, self._held(closing)))
        try:
            appended = await self._ledger.writer.submit(closing.record, landed=landing.landed)
            if self._is_next(closing, appended):
                landing.release()
            else:
                await landing.on_disk()
        except PASSING:
            return await self._held(closing)
        return appended

    def _is_next(self, closing: "_Closing", appended: Appended) -> bool:
        """Whether this outcome is what follows on the history read so far."""
        return appended.status == "ok" and closing.is_final and appended.seq == self.history.seen + 1

    async def _held(self, closing: "_Closing") -> Appended:
        """Write the outcome, again if the disk is full or who keeps the key is away: its effect would be in doubt.

        A commit that went through although it was reported as failed answers `dup` the next time.
        """
        pauses = iter(_PAUSES_S)
        while True:
            try:
                return await self._ledger.writer.submit(closing.record)
            except PASSING as error:
                pause_s = next(pauses, None)
                if pause_s is None:
                    raise
                _log.error("an outcome of run %s cannot be written yet: %s", self.history.run, error)
                await asyncio.sleep(pause_s)

    async def write_off(self, step: Step, why: str) -> None:
        """Record that the attempt in doubt did not happen."""
        await self._ledger.write_off(step.action, step.intent, why)
        await self.refresh()

    async def refresh(self) -> None:
        """Take in what others appended to this run meanwhile."""
        self._ledger.refresh(self.history)


_FREE = Ruling()
"""Nothing stands in the way, and nothing is taken."""


class _Opening:
    """One call of `open`: prepared on the loop, decided inside the transaction."""

    def __init__(self, ledger: "Ledger", slice_: Slice, action: Action, decision: Decision, attempt: int) -> None:
        self._ledger = ledger
        self._slice = slice_
        self._action = action
        self._decision = decision
        self._attempt = attempt
        self._input, self._keyset, self.digest = ledger.committed_input(action)

    @property
    def is_unrecorded(self) -> bool:
        return self._decision.verdict == "permit" and not self._action.needs_intent

    @property
    def admitted(self) -> Step:
        return Step(action=self._action, status="admitted", attempt=self._attempt, decision=self._decision)

    def rule(self, tx: RulingTx) -> Ruling:
        """What all projections together say; the first to refuse decides."""
        approvals: tuple[ReceiptId, ...] = ()
        budget: tuple[dict[str, Any], ...] = ()
        wait = ""
        for projection in self._ledger.ruling:
            ruling = projection.check(tx, self._action, self._decision, self.digest)
            if ruling is None:
                continue
            if ruling.refuse or ruling.moved:
                return ruling
            if ruling.hold:
                wait = ruling.wait or "new"
            approvals += ruling.approvals
            budget += ruling.budget
        if self._decision.verdict == "hold" and not approvals and not wait:
            wait = "new"  # SECURITY: nobody discharged the obligation, so it is open
        if not wait and not approvals and not budget:
            return _FREE
        return Ruling(hold=bool(wait), wait="" if wait == "new" else wait, approvals=approvals, budget=budget)

    def record(self, tx: Transaction) -> tuple[Step, Appended | None]:
        """Inside the transaction: the receipt that says what was decided, if one is due."""
        if tx.fence(self._action.run) != self._slice.fence:
            raise SliceLost(run=self._action.run)
        if self._decision.verdict == "deny":
            return self._deny(tx, self._decision.error)
        ruling = self.rule(tx)
        if ruling.moved:
            return Step(action=self._action, status="moved", attempt=self._attempt), None
        if ruling.refuse:
            return self._deny(tx, ruling.refuse)
        if ruling.hold:
            return self._hold(tx, ruling.wait)
        if not self._action.needs_intent and not ruling.approvals and not ruling.budget:
            return self.admitted, None
        return self._admit(tx, ruling)

    def _admit(self, tx: Transaction, ruling: Ruling) -> tuple[Step, Appended | None]:
        authority = self._authority(tx, "permit")
        if ruling.approvals:
            authority["approvals"] = sorted(ruling.approvals)
        if ruling.budget:
            authority["budget"] = list(ruling.budget)
        draft = self._draft(
            "intent",
            once=f"i:{self._action.run}:{self._action.step}:{self._attempt}",
            attempt=self._attempt,
            authority=authority,
        )
        appended = tx.append(draft, keyset=self._keyset, committed={"input": self._input})
        if appended.status != "ok":
            return Step(action=self._action, status="doubt", attempt=self._attempt), None
        step = Step(
            action=self._action,
            status="admitted",
            attempt=self._attempt,
            decision=self._decision,
            intent=appended.id,
        )
        return step, appended

    def _deny(self, tx: Transaction, error: AnswerableError | None) -> tuple[Step, Appended | None]:
        error = error or RecordedError(code_then="refused.policy", message_then="policy does not permit it")
        refusal = Outcome.of_error("refused", error)
        authority = self._authority(tx, "deny")
        authority["reason"] = error.code
        draft = self._draft(
            "denied",
            once=f"o:{self._action.run}:{self._action.step}",
            authority=authority,
            output=refusal.value,
            effect={"status": "refused", "observedBy": "gate", "error": error.code},
        )
        appended = tx.append(draft)
        if appended.status == "ok":
            refusal = Outcome.of_error("refused", error, seq=appended.seq, at=appended.at, receipt=appended.id)
        step = Step(
            action=self._action,
            status="refused",
            attempt=self._attempt,
            decision=self._decision,
            refusal=refusal,
            intent=appended.id,
        )
        return step, appended

    def _hold(self, tx: Transaction, wait: str) -> tuple[Step, Appended | None]:
        held = Step(action=self._action, status="held", attempt=self._attempt, decision=self._decision, wait=wait)
        if wait:
            return held, None
        obligation = next(iter(self._decision.obligations), None)
        if obligation is None:  # SECURITY: a hold that nobody can answer is a refusal
            return self._deny(tx, None)
        approval = new_approval_id()
        due = parse_time(tx.now) + (obligation.timeout or timedelta(days=3))
        draft = self._draft(
            "held",
            once=f"h:{self._action.run}:{self._action.step}:{self.digest}",
            authority=self._authority(tx, "hold"),
            control={
                "approval": approval,
                "role": obligation.role,
                "n": obligation.n,
                "notInitiator": obligation.not_initiator,
                "due": format_time(due),
                "onTimeout": obligation.on_timeout,
                **_terms(obligation),
            },
        )
        appended = tx.append(draft, keyset=self._keyset, committed={"input": self._input})
        return Step(action=self._action, status="held", attempt=self._attempt, wait=approval), appended

    def _draft(self, phase: Any, *, once: str, attempt: int = 0, output: bytes | None = None, **members: Any) -> Draft:
        action = self._action
        return Draft(
            tenant=action.tenant,
            run=action.run,
            phase=phase,
            agent=action.agent,
            build=action.build,
            step=action.step,
            branch=action.branch,
            attempt=attempt,
            once=once,
            on_behalf_of=self._ledger.party(action),
            members={**action_members(action, self.digest), **members},
            input=action.arguments,
            output=output,
            subjects=action.subjects,
            fence=self._slice.fence,
        )

    def _authority(self, tx: Transaction, decided: str) -> dict[str, Any]:
        return authority_of(tx, self._action, self._decision, decided)


class _Closing:
    """One call of `close`."""

    def __init__(self, ledger: "Ledger", step: Step, outcome: Outcome, fence: int) -> None:
        self._ledger = ledger
        self._step = step
        self._outcome = outcome
        self._fence = fence
        # A read has no intent: its outcome is its only receipt, and carries its input and authority too.
        self.input = None if step.intent else step.action.arguments
        self.is_final = False

    def record(self, tx: Transaction) -> Appended:
        step, outcome, action = self._step, self._outcome, self._step.action
        # After `run.close` nothing is final any more: what is learned late is an observation.
        is_late = tx.is_closed(action.run)
        if is_late and (bare := self._bare(tx)) is not None:
            return tx.append(bare)
        input_, keyset, digest = self._ledger.committed_input(action)
        subjects = action.subjects
        is_observed = outcome.status == "unknown" or is_late
        self.is_final = not is_observed
        effect: dict[str, Any] = {"status": outcome.status, "observedBy": outcome.observed_by}
        if outcome.evidence:
            effect["evidence"] = list(outcome.evidence)
        if outcome.tries > 1:
            effect["tries"] = outcome.tries
        if outcome.status != "ok":
            effect["error"] = error_code(outcome)
        members = {**action_members(action, digest), "effect": effect}
        if outcome.labels:
            members["labels"] = sorted(outcome.labels)
        else:
            members.pop("labels", None)
        if outcome.usage:
            members["usage"] = outcome.usage.to_json()
        if outcome.subjects:
            subjects = tuple(sorted({*action.subjects, *outcome.subjects}))
            keyset = self._ledger.keyset(action.tenant, subjects, action.run)
            members["control"] = {"subjects": list(outcome.subjects)}
        if not step.intent and step.decision:
            members["authority"] = authority_of(tx, action, step.decision, "permit")
        output = commitment(keyset.salt(action.run, action.step, "output"), outcome.value)
        committed = {"output": output} if self.input is None else {"input": input_, "output": output}
        if self.input is not None and outcome.subjects:
            committed["input"] = commitment(keyset.salt(action.run, action.step, "input"), self.input)
        draft = Draft(
            tenant=action.tenant,
            run=action.run,
            phase="observation" if is_observed else "outcome",
            agent=action.agent,
            build=action.build,
            step=action.step,
            branch=action.branch,
            attempt=step.attempt,
            intent=step.intent,
            once=_once(action, is_observed=is_observed, is_late=is_late),
            on_behalf_of=self._ledger.party(action),
            members=members,
            input=self.input,
            output=outcome.value,
            subjects=subjects,
            # To whoever has the run by now the step was in doubt: it may be parked, or about to be.
            wake=self.is_final and tx.fence(action.run) != self._fence,
        )
        return tx.append(draft, keyset=keyset, committed=committed)

    def _bare(self, tx: Transaction) -> Draft | None:
        """The observation without its texts, where those whom they concern were erased meanwhile."""
        step, outcome, action = self._step, self._outcome, self._step.action
        concerned = self._ledger.called(action.tenant, {*action.subjects, *outcome.subjects})
        if not is_erased(tx, action.tenant, (*concerned, action.run)):
            return None
        intent = self._ledger.reader.find(step.intent) if step.intent else None
        return Draft(
            tenant=action.tenant,
            run=action.run,
            phase="observation",
            agent=action.agent,
            build=action.build,
            step=action.step,
            branch=action.branch,
            attempt=step.attempt,
            intent=step.intent,
            once=_once(action, is_observed=True, is_late=True),
            members={
                "effect": {"status": outcome.status, "observedBy": outcome.observed_by},
                **({"action": intent.predicate["action"]} if intent is not None else {}),
            },
        )


def _terms(obligation: ApprovalObligation) -> dict[str, bool]:
    """What else a verifier holds the answers to, where it is asked for."""
    said = {
        "notChain": obligation.not_chain,
        "mayEdit": obligation.may_edit,
        "mayRepeat": obligation.may_repeat,
        "signed": obligation.is_signed,
    }
    return {name: True for name, is_asked in said.items() if is_asked}


def _once(action: Action, *, is_observed: bool, is_late: bool) -> str:
    if is_late:
        return f"l:{action.run}:{action.step}"
    return "" if is_observed else f"o:{action.run}:{action.step}"
