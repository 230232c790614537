"""Tries again what may be tried again, and stops waiting when the declared time is over."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from answerable.action import Effects, Finding, OutcomeUnknown, Step
from answerable.core import Action, ActionKind, Description, Effect, FaultPoint, Outcome, Transient, reach
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

    Tried again is only what changes nothing when done twice (reads, calls that honour their key), or
    what surely was not dispatched (the error says so by `dispatched = False`).

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
        """Do it, again if need be. A write that was dispatched and not answered raises: its fate is unknown."""
        policy = self._policy_for(step.action)
        tried = 0
        while True:
            tried += 1
            try:
                outcome = await self._once(step)
            except (Transient, OutcomeUnknown, TimedOut) as error:
                is_certain = getattr(error, "dispatched", True) is False
                if tried >= policy.tries or not (step.action.is_repeatable or is_certain):
                    if is_certain or step.action.effect is Effect.READ:
                        return Outcome.of_error("failed", error, tries=tried)
                    raise
            else:
                return replace(outcome, tries=tried) if tried > 1 else outcome
            await self._sleep(policy.pause_s(tried, self._chance()))

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
            if step.action.effect is Effect.READ:
                raise TimedOut(name=name, limit_s=limit_s) from None
            raise OutcomeUnknown(name=name, reason=f"no answer within {limit_s} s") from None


_DEFAULT = RetryPolicy()


def _default_policy(action: Action) -> RetryPolicy:
    return _DEFAULT
