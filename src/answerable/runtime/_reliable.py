"""Tries again what may be tried again, and stops waiting when the declared time is over."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from answerable.action import Effects, Finding, OutcomeUnknown, Step
from answerable.core import (
    Action,
    ActionKind,
    AnswerableError,
    Description,
    Effect,
    FaultPoint,
    Outcome,
    Transient,
    Usage,
    reach,
)
from answerable.runtime._errors import TimedOut

__all__ = ["Reliable", "RetryPolicy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and when a transient failure is tried again.

    Args:
        tries: at most this often in all.
        first: pause before the second try; each later pause is `factor` times the one before, `most` at most.
        jitter: share of the pause that is random, 0 to 1, so that many callers do not return as one.
    """

    tries: int = 3
    first: timedelta = timedelta(milliseconds=200)
    factor: float = 2.0
    most: timedelta = timedelta(seconds=30)
    jitter: float = 0.5

    def pause_s(self, tried: int, chance: float) -> float:
        """The pause after `tried` tries, in seconds; `chance` is uniform on [0, 1)."""
        full = min(self.first.total_seconds() * self.factor ** (tried - 1), self.most.total_seconds())
        return full * (1 - self.jitter * chance)


class Reliable:
    """An `Effects` that retries another's within one attempt: one intent, one outcome.

    Tried again is only what surely did not happen (a `failed` outcome that is `Transient`, or an
    error that says `dispatched = False`) and what changes nothing when done twice (reads, and calls
    that honour their key).

    Args:
        policy_for: the retry policy of an action.
    """

    def __init__(
        self,
        effects: Effects,
        policy_for: Callable[[Action], RetryPolicy] | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._effects = effects
        self._policy_for = policy_for or _default_policy
        self._sleep = sleep
        self._chance = chance

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        """What the call is, from its declaration."""
        return self._effects.describe(kind, name, arguments)

    async def probe(self, step: Step) -> Finding:
        """Ask whether an attempt in doubt happened."""
        return await self._effects.probe(step)

    async def execute(self, step: Step) -> Outcome:
        """Do it, again if need be. A write that was dispatched and not answered ends `unknown`."""
        tried = 0
        before: Usage | None = None  # what earlier tries used
        while True:
            tried += 1
            error: AnswerableError | None
            try:
                outcome = await self._once(step)
            except (Transient, OutcomeUnknown, TimedOut) as raised:
                error, is_certain = raised, getattr(raised, "dispatched", True) is False
                outcome = Outcome.of_error("failed" if is_certain or _is_read(step) else "unknown", raised)
            else:
                error = _passing(outcome)
            if before is not None:
                outcome = replace(outcome, tries=tried, usage=before + outcome.usage)
            may_repeat = outcome.status == "failed" or step.action.is_repeatable
            if error is None or not may_repeat or tried >= (policy := self._policy_for(step.action)).tries:
                return outcome
            before = outcome.usage
            asked_s = getattr(error, "retry_after_s", 0)
            await self._sleep(max(policy.pause_s(tried, self._chance()), asked_s))

    async def _once(self, step: Step) -> Outcome:
        reach(FaultPoint.EFFECT_DISPATCHED)
        limit = step.action.described.timeout
        if limit is None:
            return await self._effects.execute(step)
        try:
            async with asyncio.timeout(limit.total_seconds()) as timer:
                return await self._effects.execute(step)
        except TimeoutError:
            if not timer.expired():
                raise
            name, limit_s = step.action.name, f"{limit.total_seconds():g}"
            if _is_read(step):
                raise TimedOut(name=name, limit_s=limit_s) from None
            raise OutcomeUnknown(name=name, reason=f"no answer within {limit_s} s") from None


_DEFAULT = RetryPolicy()


def _default_policy(action: Action) -> RetryPolicy:
    return _DEFAULT


def _is_read(step: Step) -> bool:
    return step.action.effect is Effect.READ


def _passing(outcome: Outcome) -> AnswerableError | None:
    """The error in an outcome, if trying again may help."""
    if outcome.status not in ("failed", "unknown"):
        return None
    try:
        outcome.result  # noqa: B018 - raises what the outcome carries
    except (Transient, OutcomeUnknown, TimedOut) as error:
        return error
    except AnswerableError:
        return None
    return None
