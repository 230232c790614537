"""The road's journal and authorizer as one slice gives them: they know what the slice knows."""

import asyncio
import functools
import logging
from collections.abc import Coroutine
from typing import Any, Protocol

from answerable.action import Authorizer, Claim, Step
from answerable.core import Action, AnswerableError, Decision, Effect, Outcome, StepKey
from answerable.ledger import RunJournal

__all__ = ["Performing", "SliceAuthorizer", "SliceJournal", "Waits"]

log = logging.getLogger("answerable.runtime")


class Waits(Protocol):
    """A slice, as far as its journal knows it."""

    def asked(self, step: StepKey) -> None:
        """The record is about to be read for this step: what wakes from now on is news to it."""

    async def cleared(self, action: Action) -> None:
        """Return once a new write may go ahead: the journal holds no effect the agent has yet to call."""

    async def answered(self, step: StepKey) -> None:
        """Return once something woke the run after `asked`."""

    def edited(self, action: Action) -> Action:
        """The action with the arguments that an approver put in place of the agent's, if one did."""

    def denial(self, action: Action) -> AnswerableError | None:
        """Why the runtime itself refuses the action."""

    def lost(self, error: Exception) -> None:
        """An outcome that was handed back is not on disk: what was built on it is void."""


class Performing:
    """Effects under way in this process, whichever slice began them: they are not in doubt."""

    def __init__(self) -> None:
        self._done: dict[tuple[str, StepKey], asyncio.Future[None] | None] = {}
        self._writing: set[asyncio.Task[None]] = set()

    def begin(self, action: Action) -> None:
        """The gate is doing it."""
        self._done[action.run, action.step] = None

    def end(self, action: Action) -> None:
        """The gate has its outcome on the record, or has lost it."""
        done = self._done.pop((action.run, action.step), None)
        if done is not None and not done.done():
            done.set_result(None)

    def pending(self, action: Action) -> "asyncio.Future[None] | None":
        """Resolves when the effect is no longer under way; None if it is not."""
        step = (action.run, action.step)
        if step not in self._done:
            return None
        done = self._done[step]
        if done is None:
            done = self._done[step] = asyncio.get_running_loop().create_future()
        return done

    def write_on(self, action: Action, writing: Coroutine[Any, Any, Any]) -> None:
        """Keep its effect from being in doubt while its outcome is being written, whatever becomes of its slice."""
        self.begin(action)

        async def write() -> None:
            try:
                await writing
            except Exception:
                log.exception("run %s: the outcome of step %s is not on the record", action.run, action.step)
            finally:
                self.end(action)

        self._writing.add(task := asyncio.get_running_loop().create_task(write()))
        task.add_done_callback(self._writing.discard)


class SliceJournal:
    """A run's journal whose waits end when the slice is woken.

    Args:
        runs_ahead: whether the agent may have an outcome before it is on disk: whatever it does with it is an
            action again, whose intent is not on disk without it. It never has one before that only a person
            could find out again.
    """

    def __init__(self, inner: RunJournal, waits: Waits, performing: Performing, *, runs_ahead: bool = False) -> None:
        self._inner = inner
        self._waits = waits
        self._performing = performing
        self._runs_ahead = runs_ahead

    async def claim(self, action: Action) -> Claim:
        """What is already recorded of this step; a new write waits until it may be new."""
        self._waits.asked(action.step)
        while (under_way := self._performing.pending(action)) is not None:
            await asyncio.shield(under_way)  # an earlier slice of this worker began it and is still at it
            await self._inner.refresh()
        while self._inner.history.order == "pause":
            await self._waits.answered(action.step)
            self._waits.asked(action.step)
        claim = await self._inner.claim(self._waits.edited(action))
        if claim.doubt is not None:
            # The outcome may have its place in the record and be on its way to the disk, given by an earlier slice.
            await self._inner.settled()
            if self._performing.pending(action) is not None:  # it did not get there, and is being written again
                return await self.claim(action)
            claim = await self._inner.claim(self._waits.edited(action))
        if claim.outcome is None and claim.doubt is None and action.effect is not Effect.READ:
            await self._waits.cleared(action)
        return claim

    async def open(self, action: Action, decision: Decision) -> Step:
        """Record the intent, the hold or the refusal."""
        step = await self._inner.open(action, decision)
        if step.status == "moved":  # by an order to pause, maybe, which `claim` must know of
            await self._inner.refresh()
        if step.status == "admitted" and step.intent:
            self._performing.begin(action)
        return step

    async def close(self, step: Step, outcome: Outcome) -> Outcome:
        """Record the outcome, once."""
        action = step.action
        runs_ahead = self._runs_ahead and (action.is_repeatable or action.described.has_probe)
        lost = functools.partial(self._lost, action) if runs_ahead else None
        try:
            return await self._inner.close(step, outcome, lost=lost)
        finally:
            self._performing.end(action)

    def _lost(self, action: Action, error: Exception, writing: Coroutine[Any, Any, Any]) -> None:
        self._performing.write_on(action, writing)
        self._waits.lost(error)

    async def write_off(self, step: Step, why: str) -> None:
        """Record that the attempt in doubt did not happen."""
        await self._inner.write_off(step, why)

    async def answered(self, step: Step) -> None:
        """Park until something woke the run."""
        await self._waits.answered(step.action.step)


class SliceAuthorizer:
    """Policy, after the runtime's own refusals, so that these leave a receipt like any other."""

    def __init__(self, inner: Authorizer, waits: Waits) -> None:
        self._inner = inner
        self._waits = waits

    async def authorize(self, action: Action) -> Decision:
        """The decision on this action now."""
        denial = self._waits.denial(action)
        if denial is not None:
            return Decision(verdict="deny", rules=("runtime",), error=denial)
        return await self._inner.authorize(action)
