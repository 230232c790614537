"""The road: claim → authorize → open → execute → close → report.

Every action of every agent travels it: model calls, tool calls, approvals asked for. Whatever
becomes of one (done, failed, refused, held, lost) it leaves a receipt on the way.
"""

from dataclasses import dataclass

from answerable.action._ports import Authorizer, Effects, Journal, Reporter, Step
from answerable.core import Action, AnswerableError, Effect, ExecutionError, Outcome

__all__ = ["OutcomeUnknown", "Road"]

_MOST_ATTEMPTS = 5  # a write that stays lost this often, key or not, is for a person to look at


@dataclass(eq=False, kw_only=True)
class OutcomeUnknown(ExecutionError):
    """An effect was dispatched and its outcome was not seen."""

    code = "execution.outcome_unknown"
    what = "`{name}` was dispatched and its outcome is unknown: {reason}"
    why = "it may or may not have happened, and repeating it could do it twice"
    fix = "declare an idempotency key or a status probe, or decide with `answerable runs resolve`"

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """The one way an action gets done."""

    journal: Journal
    authorizer: Authorizer
    effects: Effects
    reporter: Reporter

    async def perform(self, action: Action) -> Outcome:
        """Perform one action once, however often this is called.

        A refusal takes the same road as a success: it leaves a receipt too. A step that waits (for
        an approval, or because a crash left its effect in doubt) comes back to `claim` when it is
        answered, because the answer may be an outcome, an edit or a permission.
        """
        while True:
            claim = await self.journal.claim(action)
            action = claim.action
            if claim.outcome:
                return claim.outcome
            if claim.doubt and not await self._may_repeat(claim.doubt):
                continue
            step = await self.journal.open(action, await self.authorizer.authorize(action))
            if step.status in ("held", "doubt"):
                await self.journal.answered(step)
            elif step.refusal:
                outcome = step.refusal
                break
            elif step.status == "admitted":
                outcome = await self._execute_and_close(step)
                if outcome.status != "unknown":
                    break
        self.reporter.report(step, outcome)
        return outcome

    async def _execute_and_close(self, step: Step) -> Outcome:
        try:
            outcome = await self.effects.execute(step)
        except AnswerableError as error:
            outcome = Outcome.of_error("failed" if _is_harmless(step) else "unknown", error)
        except Exception as error:  # noqa: BLE001 - the port's outer edge: becomes a receipt
            lost = OutcomeUnknown(name=step.action.name, reason=type(error).__name__)
            outcome = Outcome.of_error("failed" if _is_harmless(step) else "unknown", lost)
        return await self.journal.close(step, outcome)

    async def _may_repeat(self, doubt: Step) -> bool:
        """Settle a lost attempt: by its nature, its key, its probe, or a person. Never in silence."""
        if doubt.action.effect is Effect.READ:
            return True
        if doubt.action.is_repeatable and doubt.attempt < _MOST_ATTEMPTS:
            return True
        if doubt.action.described.has_probe:
            found = await self.effects.probe(doubt)
            if found == "did not happen":
                await self.journal.write_off(doubt, "the status probe says it did not happen")
                return True
            if isinstance(found, Outcome):
                await self.journal.close(doubt, found)
                return False
        await self.journal.answered(doubt)
        return False


def _is_harmless(step: Step) -> bool:
    return step.action.effect is Effect.READ
