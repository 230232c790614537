import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from answerable.action import Finding, Step
from answerable.core import (
    Action,
    ActionKind,
    AgentId,
    Description,
    Effect,
    Outcome,
    Permanent,
    RunId,
    StepKey,
    TenantId,
    Transient,
)
from answerable.runtime import Reliable, RetryPolicy


@dataclass(eq=False, kw_only=True)
class Flaky(Transient):
    """It may work later."""

    code = "test.flaky"


@dataclass(eq=False, kw_only=True)
class Hopeless(Permanent):
    """It will not."""

    code = "test.hopeless"


def outcome_of(effect: Effect, *does: Callable[[], Outcome], honours_key: bool = False, hangs: bool = False) -> Outcome:
    """What `Reliable` makes of tools that do these things, try after try; pauses are in `pauses`."""
    tries = iter(does)
    pauses.clear()

    class Tools:
        def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
            raise NotImplementedError

        async def probe(self, step: Step) -> Finding:
            raise NotImplementedError

        async def execute(self, step: Step) -> Outcome:
            if hangs:
                await asyncio.Event().wait()
            return next(tries)()

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)

    action = Action(
        tenant=TenantId("default"),
        run=RunId("run_1"),
        agent=AgentId("a"),
        step=StepKey("1"),
        branch="",
        kind="tool",
        name="t",
        arguments=b"{}",
        environment="",
        described=Description(
            effect=effect, honours_key=honours_key, timeout=timedelta(milliseconds=1) if hangs else None
        ),
    )
    policy = RetryPolicy(first=timedelta(seconds=1), jitter=0.5)
    reliable = Reliable(Tools(), lambda _: policy, sleep=sleep, chance=lambda: 1.0)
    return asyncio.run(reliable.execute(Step(action=action, status="admitted")))


pauses: list[float] = []


def ok() -> Outcome:
    return Outcome(status="ok", value=b"1")


def failed() -> Outcome:
    return Outcome.of_error("failed", Flaky())


def unknown() -> Outcome:
    return Outcome.of_error("unknown", Flaky())


def hopeless() -> Outcome:
    return Outcome.of_error("failed", Hopeless())


def raises() -> Outcome:
    raise Flaky


def raises_undispatched() -> Outcome:
    error = Flaky()
    error.dispatched = False  # type: ignore[attr-defined]
    raise error


@pytest.mark.requirement("RT-2", "TL-2")
def test_what_surely_did_not_happen_is_tried_again_with_growing_pauses() -> None:
    outcome = outcome_of(Effect.WRITE, failed, failed, ok)

    assert (outcome.status, outcome.tries) == ("ok", 3)
    assert pauses == [0.5, 1.0]


@pytest.mark.requirement("RT-2", "TL-2")
def test_a_permanent_failure_is_not_tried_again() -> None:
    assert (outcome_of(Effect.READ, hopeless).status, pauses) == ("failed", [])


@pytest.mark.requirement("RT-2", "RT-3")
def test_a_write_that_may_have_happened_is_not_tried_again() -> None:
    assert outcome_of(Effect.WRITE, unknown).status == "unknown"
    assert outcome_of(Effect.WRITE, raises).status == "unknown"
    assert outcome_of(Effect.IRREVERSIBLE, raises).tries == 1


@pytest.mark.requirement("RT-3")
def test_a_write_that_honours_its_key_is_tried_again_and_stays_unknown_if_it_stays_lost() -> None:
    assert outcome_of(Effect.WRITE, raises, unknown, ok, honours_key=True).tries == 3
    assert outcome_of(Effect.WRITE, raises, raises, raises, honours_key=True).status == "unknown"


def test_a_write_that_was_never_dispatched_has_failed_and_not_vanished() -> None:
    assert outcome_of(Effect.WRITE, raises_undispatched, ok).status == "ok"
    assert outcome_of(Effect.WRITE, *[raises_undispatched] * 3).status == "failed"


def test_a_write_that_does_not_answer_in_time_is_unknown_and_a_read_has_failed() -> None:
    assert outcome_of(Effect.WRITE, hangs=True).status == "unknown"
    assert outcome_of(Effect.READ, hangs=True).status == "failed"
