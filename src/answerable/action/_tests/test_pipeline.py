"""The road: in order, once, and a receipt for every way out."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from answerable.action import Claim, Finding, Road, Step
from answerable.core import (
    Action,
    ActionKind,
    AgentId,
    Decision,
    Description,
    Effect,
    Outcome,
    RecordedError,
    RunId,
    StepKey,
    TenantId,
    Transient,
)

DONE = Outcome(status="ok", value=b'"done"')


def an_action(effect: Effect = Effect.WRITE, **described: object) -> Action:
    return Action(
        tenant=TenantId("default"),
        run=RunId("run_1"),
        agent=AgentId("clerk"),
        step=StepKey("1"),
        branch="",
        kind="tool",
        name="shop.refund",
        arguments=b"{}",
        described=Description(effect=effect, **described),  # type: ignore[arg-type]
        environment="development",
    )


@dataclass
class Rooms:
    """All four ports at once, in memory: keeps the calls in order, and what ended on the record."""

    verdict: str = "permit"
    holds: int = 0
    lost_attempts: int = 0
    probed: Finding = "cannot say"
    raises: Exception | None = None
    result: Outcome = DONE
    calls: list[str] = field(default_factory=list)
    recorded: list[Outcome] = field(default_factory=list)
    executed: int = 0

    async def claim(self, action: Action) -> Claim:
        self.calls.append("claim")
        final = next((outcome for outcome in self.recorded if outcome.status != "unknown"), None)
        if final:
            return Claim(action=action, outcome=final)
        if self.lost_attempts:
            return Claim(action=action, doubt=Step(action=action, status="doubt", attempt=self.lost_attempts))
        return Claim(action=action)

    async def authorize(self, action: Action) -> Decision:
        self.calls.append("authorize")
        return Decision(verdict="deny" if self.verdict == "deny" else "permit")

    async def open(self, action: Action, decision: Decision) -> Step:
        self.calls.append("open")
        if decision.verdict == "deny":
            refusal = Outcome.of_error("refused", RecordedError(code_then="no", message_then="no"))
            return Step(action=action, status="refused", refusal=refusal)
        if self.holds:
            self.holds -= 1
            return Step(action=action, status="held", wait="appr_1")
        self.lost_attempts += 1
        return Step(action=action, status="admitted", attempt=self.lost_attempts)

    async def close(self, step: Step, outcome: Outcome) -> Outcome:
        self.calls.append("close")
        self.recorded.append(outcome)
        return outcome

    async def write_off(self, step: Step, why: str) -> None:
        self.calls.append("write_off")
        self.lost_attempts = 0

    async def answered(self, step: Step) -> None:
        self.calls.append("answered")
        if step.status == "doubt":
            self.recorded.append(DONE)

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        return Description(effect=Effect.WRITE)

    async def execute(self, step: Step) -> Outcome:
        self.calls.append("execute")
        self.executed += 1
        if self.raises:
            raise self.raises
        return self.result

    async def probe(self, step: Step) -> Finding:
        self.calls.append("probe")
        return self.probed

    def report(self, step: Step, outcome: Outcome) -> None:
        self.calls.append("report")

    def perform(self, action: Action) -> Outcome:
        road = Road(journal=self, authorizer=self, effects=self, reporter=self)
        return asyncio.run(asyncio.wait_for(road.perform(action), 5))


@pytest.mark.requirement("EV-1", "GV-1")
def test_a_permitted_action_takes_every_stage_in_order() -> None:
    rooms = Rooms()

    outcome = rooms.perform(an_action())

    assert rooms.calls == ["claim", "authorize", "open", "execute", "close", "report"]
    assert outcome.result == "done"


def test_a_recorded_action_is_handed_back_and_nothing_else_happens() -> None:
    rooms = Rooms(recorded=[DONE])

    rooms.perform(an_action())

    assert rooms.calls == ["claim"]


@pytest.mark.requirement("GV-1")
def test_a_refused_action_is_never_executed_but_still_reported() -> None:
    rooms = Rooms(verdict="deny")

    outcome = rooms.perform(an_action())

    assert rooms.calls == ["claim", "authorize", "open", "report"]
    assert outcome.status == "refused"


@pytest.mark.requirement("GV-2")
def test_a_held_action_is_decided_anew_once_it_is_answered() -> None:
    rooms = Rooms(holds=1)

    rooms.perform(an_action())

    assert rooms.calls[:4] == ["claim", "authorize", "open", "answered"]
    assert rooms.calls[4:] == ["claim", "authorize", "open", "execute", "close", "report"]


@pytest.mark.requirement("RT-3")
def test_a_lost_write_without_key_or_probe_waits_for_a_person_and_is_not_repeated() -> None:
    rooms = Rooms(lost_attempts=1)

    rooms.perform(an_action(Effect.IRREVERSIBLE))

    assert rooms.calls == ["claim", "answered", "claim"]
    assert rooms.executed == 0


@pytest.mark.requirement("RT-3")
@pytest.mark.parametrize("action", [an_action(Effect.READ), an_action(honours_key=True)])
def test_a_lost_read_or_keyed_write_is_repeated_as_the_next_attempt(action: Action) -> None:
    rooms = Rooms(lost_attempts=1)

    rooms.perform(action)

    assert rooms.executed == 1


@pytest.mark.requirement("RT-3")
def test_a_probe_that_found_the_effect_closes_the_step_with_it() -> None:
    rooms = Rooms(lost_attempts=1, probed=DONE)

    outcome = rooms.perform(an_action(has_probe=True))

    assert rooms.calls == ["claim", "probe", "close", "claim"]
    assert (outcome.result, rooms.executed) == ("done", 0)


@pytest.mark.requirement("RT-3")
def test_a_probe_that_says_it_did_not_happen_allows_the_next_attempt() -> None:
    rooms = Rooms(lost_attempts=1, probed="did not happen")

    rooms.perform(an_action(has_probe=True))

    assert rooms.calls[:3] == ["claim", "probe", "write_off"]
    assert rooms.executed == 1


@pytest.mark.requirement("RT-3")
def test_an_exception_after_dispatch_leaves_a_write_in_doubt_and_a_read_failed() -> None:
    write = Rooms(raises=ConnectionResetError())
    read = Rooms(raises=ConnectionResetError())

    write.perform(an_action(Effect.IRREVERSIBLE))
    failed = read.perform(an_action(Effect.READ))

    assert [outcome.status for outcome in write.recorded] == ["unknown", "ok"]
    assert write.calls == ["claim", "authorize", "open", "execute", "close", "claim", "answered", "claim"]
    assert failed.status == "failed"


def test_a_keyed_write_that_stays_lost_ends_with_a_person_not_in_a_loop() -> None:
    rooms = Rooms(result=Outcome.of_error("unknown", Transient()))

    rooms.perform(an_action(honours_key=True))

    assert rooms.executed == 5
    assert rooms.calls[-2:] == ["answered", "claim"]


@pytest.mark.parametrize("stage", ["claim", "authorize", "open"])
def test_a_room_that_raises_means_nothing_was_executed(stage: str) -> None:
    rooms = Rooms()

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    setattr(rooms, stage, broken)
    with pytest.raises(ZeroDivisionError):
        rooms.perform(an_action())

    assert rooms.executed == 0


def test_facts_that_moved_between_decision_and_opening_are_decided_again() -> None:
    rooms = Rooms()
    first = True
    open_ = rooms.open

    async def moved_once(action: Action, decision: Decision) -> Step:
        nonlocal first
        step = await open_(action, decision)
        if first:
            first, rooms.lost_attempts = False, 0
            return replace(step, status="moved")
        return step

    rooms.open = moved_once  # type: ignore[method-assign]
    rooms.perform(an_action())

    assert rooms.calls.count("authorize") == 2
    assert rooms.executed == 1
