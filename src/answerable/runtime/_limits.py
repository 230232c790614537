"""Bounds on one run, from its agent's declaration."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from answerable.core import AnswerableError, Money, Outcome
from answerable.runtime._errors import RepeatedCall, StepLimitExceeded, TimeLimitExceeded

__all__ = ["Bounds", "Limits", "narrowest"]

AMOUNT = "amount:"
_MOST_IGNORED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most a run may do; None for no bound.

    Args:
        steps: calls of tools and models.
        wall: age of the run, waiting included.
        tokens: tokens read and written by models; held by the budget.
        cost_nano_usd: price in 10⁻⁹ US dollars; held by the budget.
        amount: money that its tools move, no other currency then; held by the budget.
        identical_calls: how often the same call may give the same result, unless a timer or signal came between.
        depth: how deep runs may delegate to others, and how often hand over.
    """

    steps: int | None = 1000
    wall: timedelta | None = None
    tokens: int | None = None
    cost_nano_usd: int | None = None
    amount: Money | None = None
    identical_calls: int | None = 5
    depth: int | None = 3

    def within(self, other: "Limits") -> "Limits":
        """Each bound of the two that is the tighter."""
        names = [each.name for each in fields(self) if each.name != "amount"]
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return Limits(
            amount=_less(self.amount, other.amount),
            **{name: min((each for each in pair if each is not None), default=None) for name, pair in pairs.items()},
        )

    def to_json(self) -> dict[str, int]:
        """As `run.open` states them, so that budgets follow from the record alone."""
        said = {
            "steps": self.steps,
            "wallS": None if self.wall is None else int(self.wall.total_seconds()),
            "tokens": self.tokens,
            "costNanoUsd": self.cost_nano_usd,
            **({} if self.amount is None else {f"{AMOUNT}{self.amount.currency}": self.amount.minor}),
            "identicalCalls": self.identical_calls,
            "depth": self.depth,
        }
        return {name: value for name, value in said.items() if value is not None}


class Bounds:
    """Counts what a run did against what `run.open` allows it.

    Replay counts the same, because it makes the same calls and is handed the same outcomes.
    """

    def __init__(self, limits: dict[str, Any]) -> None:
        self._steps: int | None = limits.get("steps")
        self._wall_s: int | None = limits.get("wallS")
        self._identical: int | None = limits.get("identicalCalls")
        self._taken = 0
        self._ignored = 0
        self._answers: dict[tuple[str, str, bytes], tuple[bytes, int]] = {}
        self._stuck: dict[tuple[str, str, bytes], AnswerableError] = {}
        self.breach: AnswerableError | None = None
        """A breach that the agent was told of: every further call gets it at once."""

    def told_before(self, kind: str, name: str, arguments: bytes) -> AnswerableError | None:
        """The breach this call runs into again; it gets no second receipt."""
        found = self.breach or (self._stuck.get((kind, name, arguments)) if self._stuck else None)
        self._ignored += found is not None
        return found

    @property
    def has_wall(self) -> bool:
        """Whether the run's age is bounded at all."""
        return self._wall_s is not None

    @property
    def is_ignored(self) -> bool:
        """Whether the agent goes on calling as if it had not been told."""
        return self._ignored > _MOST_IGNORED

    def count(self, kind: str, name: str, arguments: bytes) -> AnswerableError | None:
        """Count a call; what it breaks, if anything."""
        self._taken += 1
        if self._steps is not None and self._taken > self._steps:
            return StepLimitExceeded(name=name, limit=self._steps)
        if self._identical is not None:
            answer = self._answers.get((kind, name, arguments))
            if answer is not None and answer[1] >= self._identical:
                return RepeatedCall(name=name, times=answer[1])
        return None

    def check_age(self, name: str, age_s: float) -> AnswerableError | None:
        """What a new call breaks by coming this late."""
        if self._wall_s is not None and age_s > self._wall_s:
            return TimeLimitExceeded(name=name, limit_s=self._wall_s)
        return None

    def learn(self, kind: str, name: str, arguments: bytes, outcome: Outcome) -> None:
        """Take in an outcome that was handed back."""
        call = (kind, name, arguments)
        if outcome.status == "refused":
            self._learn_refusal(call, outcome)
        if outcome.status == "refused" or self._identical is None:
            return
        last, times = self._answers.get(call, (b"", 0))
        self._answers[call] = (outcome.value, times + 1 if last == outcome.value else 1)

    def restore(self, *, taken: int) -> None:
        """Count the steps that were taken before a restart, where no replay does."""
        self._taken = taken

    def progressed(self) -> None:
        """A timer or signal came: asking again is no longer idle repetition."""
        self._answers.clear()

    def _learn_refusal(self, call: tuple[str, str, bytes], outcome: Outcome) -> None:
        # Codes of the runtime's own refusals are rare, so look before parsing.
        for kind in (StepLimitExceeded, TimeLimitExceeded, RepeatedCall):
            if kind.code.encode() in outcome.value:
                error = _error_of(outcome)
                if isinstance(error, RepeatedCall):
                    self._stuck[call] = error
                elif isinstance(error, StepLimitExceeded | TimeLimitExceeded):
                    self.breach = error


def narrowest(*limits: Mapping[str, int]) -> dict[str, int]:
    """The tightest of several bounds, each as `run.open` states it."""
    names = dict.fromkeys(name for each in limits for name in each)
    found = {name: min(each[name] for each in limits if name in each) for name in names}
    for each in limits:
        if any(name.startswith(AMOUNT) for name in each):  # it lets no other currency go
            found |= {name: 0 for name in found if name.startswith(AMOUNT) and name not in each}
    return found


def _less(one: Money | None, other: Money | None) -> Money | None:
    if one is None or other is None:
        return one or other
    return Money(min(one.minor, other.minor) if one.currency == other.currency else 0, one.currency)


def _error_of(outcome: Outcome) -> AnswerableError | None:
    try:
        outcome.result  # noqa: B018 - raises what is recorded
    except AnswerableError as error:
        return error
    return None
