"""A roll-back undoes what a run did, the latest first, and says what it could not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from answerable.core import ApprovalObligation, Decision, Outcome, RecordedError, Refused, RunId
from answerable.runtime import (
    Control,
    ControlRefused,
    LinksProjection,
    OrdersProjection,
    RollbackIncomplete,
    Run,
    find_run,
)
from answerable.runtime._tests.house import House, Shed, until

WHO: Any = {"by": "person:dana", "reason": "the customer left"}

pytestmark = pytest.mark.requirement("RT-4")


def undo_of(name: str, arguments: dict[str, Any], result: Any) -> tuple[str, dict[str, Any]] | None:
    """`write…` and `keyed…` are undone by `undo_…`; anything else by nothing."""
    return (f"undo_{name}", {"n": arguments["n"]}) if name.startswith(("write", "keyed")) else None


@contextlib.asynccontextmanager
async def house_of(directory: Path, shed: Shed) -> AsyncIterator[tuple[House, Control]]:
    projections = (OrdersProjection(), LinksProjection())
    async with asyncio.timeout(30), House(directory, shed, projections=projections, compensation=undo_of) as house:
        yield house, Control(house.ledger, house.agents)


async def three_effects(run: Run, given: Any) -> str:
    await run.tool("write", n=1)
    await run.tool("read", n=0)
    await run.tool("write", n=2)
    await run.tool("keyed", n=3)
    return "done"


def undone(house: House, run: RunId) -> list[tuple[str, int]]:
    """What a roll-back asked its tools for, in order."""
    asked = []
    for receipt in house.receipts(run):
        if receipt.phase == "intent":
            text = house.ledger.reader.text(receipt).input
            asked.append((receipt.predicate["action"]["name"], int(text.split(b":")[1].strip(b"}"))))  # type: ignore[union-attr]
    return asked


def test_effects_are_undone_in_reverse_order_each_on_the_road_in_a_run_of_its_own(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            await house.once(three_effects)
            back = await control.roll_back(house.run, **WHO)

            said = await house.runs.result(back)
            assert undone(house, back) == [("undo_keyed", 3), ("undo_write", 2), ("undo_write", 1)]
            assert [each["by"] for each in said["undone"]] == ["undo_keyed", "undo_write", "undo_write"]
            origin = house.receipts(back)[0].predicate["control"]["origin"]
            assert (origin["how"], origin["run"], origin["reason"]) == ("rollback", house.run, WHO["reason"])
            assert house.receipts(back)[1].predicate["labels"] == [
                "untrusted:keyed",
                "untrusted:read",
                "untrusted:write",
            ]

            again = await control.roll_back(house.run, **WHO)
            assert (await house.runs.result(again))["undone"] == [], "what is undone stays so"

    asyncio.run(story())


def test_a_run_is_rolled_back_to_a_step(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            await house.once(three_effects)
            second = [receipt.predicate for receipt in house.receipts(house.run) if receipt.phase == "intent"][1]
            back = await control.roll_back(house.run, second["step"], **WHO)
            await house.runs.result(back)

            assert undone(house, back) == [("undo_keyed", 3), ("undo_write", 2)]

    asyncio.run(story())


def test_an_undoing_that_fails_leaves_the_rest_and_the_next_roll_back_goes_on_there(tmp_path: Path) -> None:
    shed = Shed()
    works = shed.execute
    is_broken = True

    async def breaks(step: Any) -> Outcome:
        if is_broken and step.action.name == "undo_write":
            broken = RecordedError(code_then="execution.test", message_then="no")
            return Outcome.of_error("failed", broken)
        return await works(step)

    shed.execute = breaks  # type: ignore[method-assign]

    async def story() -> None:
        nonlocal is_broken
        async with house_of(tmp_path, shed) as (house, control):
            await house.once(three_effects)
            first = await control.roll_back(house.run, **WHO)
            with pytest.raises(RollbackIncomplete) as caught:
                await house.runs.result(first)
            assert (caught.value.undone, caught.value.left, caught.value.at) == (1, 2, "write")
            row = find_run(house.ledger.reader, first)
            assert row is not None
            assert row.state == "failed"

            is_broken = False
            second = await control.roll_back(house.run, **WHO)
            assert len((await house.runs.result(second))["undone"]) == 2
            assert undone(house, second) == [("undo_write", 2), ("undo_write", 1)]
            with pytest.raises(ControlRefused, match="ordered again"):
                await control.retry(first, **WHO)

    asyncio.run(story())


async def with_a_letter(run: Run, given: Any) -> None:
    await run.tool("write", n=1)
    await run.tool("letter", n=2)


def test_where_something_cannot_be_undone_nothing_is_begun_unless_that_was_allowed(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            await house.once(with_a_letter)
            whole = await control.roll_back(house.run, **WHO)
            with pytest.raises(RollbackIncomplete, match="no tool is declared"):
                await house.runs.result(whole)
            assert undone(house, whole) == []

            part = await control.roll_back(house.run, partial=True, **WHO)
            said = await house.runs.result(part)
            assert undone(house, part) == [("undo_write", 1)]
            assert [each["name"] for each in said["left"]] == ["letter"]

    asyncio.run(story())


async def lost_letter(run: Run, given: Any) -> None:
    await run.tool("write", n=1)
    await run.tool("losewrite", n=2)


@pytest.mark.requirement("RT-3")
def test_an_effect_of_unknown_fate_is_told_and_never_undone_in_silence(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            house.agent(lost_letter)
            house.serve()
            run = await house.runs.start("agent")
            await until(lambda: "observation" in house.phases(run))
            with pytest.raises(ControlRefused, match="kill it first"):
                await control.roll_back(run, **WHO)
            await control.kill(run, **WHO)
            await until(lambda: house.phases(run)[-1] == "run.close")

            back = await control.roll_back(run, **WHO)
            with pytest.raises(RollbackIncomplete, match="nobody knows whether it happened"):
                await house.runs.result(back)
            assert undone(house, back) == []

    asyncio.run(story())


@pytest.mark.requirement("GV-1", "GV-2")
def test_undoing_is_decided_like_any_action_and_held_or_refused_by_policy(tmp_path: Path) -> None:
    held = Decision(verdict="hold", obligations=(ApprovalObligation(role="lead"),))
    denied = Decision(verdict="deny", error=RecordedError(code_then="refused.test", message_then="no"))

    async def story() -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            await house.once(three_effects)
            house.policy.decide["undo_keyed"] = lambda: held
            back = await control.roll_back(house.run, **WHO)
            await until(lambda: "held" in house.phases(back))
            assert await control.roll_back(house.run, **WHO) == back, "one is under way"
            await control.kill(back, **WHO)
            await until(lambda: house.phases(back)[-1] == "run.close")

            house.policy.decide["undo_keyed"] = lambda: denied
            back = await control.roll_back(house.run, **WHO)
            with pytest.raises(RollbackIncomplete, match="0 effects undone, 3 left"):
                await house.runs.result(back)
            assert "intent" not in house.phases(back)

    asyncio.run(story())
    assert issubclass(ControlRefused, Refused)


def test_a_roll_back_that_crashed_goes_on_where_it_was(tmp_path: Path) -> None:
    shed = Shed()

    async def first() -> RunId:
        async with house_of(tmp_path, shed) as (house, control):
            await house.once(three_effects)
            back = await control.roll_back(house.run, **WHO)
            shed.gates["undo_write"] = asyncio.Event()
            await until(lambda: "undo_write" in shed.calls)
            for serving in house._serving:
                serving.cancel()
            shed.gates.pop("undo_write").set()
            return back

    async def second(back: RunId) -> None:
        async with house_of(tmp_path, shed) as (house, _):
            house.agent(three_effects)
            house.serve()
            await house.runs.result(back)
            assert undone(house, back) == [("undo_keyed", 3), ("undo_write", 2), ("undo_write", 1)]

    asyncio.run(second(asyncio.run(first())))
    assert [shed.calls.count(name) for name in ("undo_keyed", "undo_write")] == [1, 2]
