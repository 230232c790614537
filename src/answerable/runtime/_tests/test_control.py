"""Orders to a run: they take effect at the next action, outlive the process, and say who gave them and why."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable.core import Action, Decision, RunId
from answerable.ledger import rebuild
from answerable.runtime import (
    AgentSpec,
    Control,
    ControlRefused,
    Limits,
    OrdersProjection,
    Parked,
    Run,
    RunKilled,
    RunPaused,
    RunsProjection,
    RunUnknown,
    Sessions,
    SessionsProjection,
    find_order,
    find_run,
)
from answerable.runtime._tests.house import House, Shed, until

WHO: Any = {"by": "person:dana", "reason": "the stock is being counted"}

pytestmark = pytest.mark.requirement("RT-4")


@contextlib.asynccontextmanager
async def house_of(directory: Path, shed: Shed, **more: Any) -> AsyncIterator[tuple[House, Control]]:
    projections = (OrdersProjection(), SessionsProjection())
    async with asyncio.timeout(30), House(directory, shed, projections=projections, **more) as house:
        yield house, Control(house.ledger)


async def two_writes(run: Run, given: None) -> str:
    await run.tool("write", n=1)
    await run.tool("write", n=2)
    return "done"


async def signalled(run: Run, given: None) -> Any:
    said = await run.signal("go")
    await run.tool("write", said=said)
    return said


async def asleep(run: Run, given: None) -> str:
    await run.sleep(2)  # longer than a busy machine takes to have it parked
    await run.tool("write")
    return "woke"


def test_a_paused_run_finishes_what_was_dispatched_and_begins_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    shed = Shed()
    shed.gates["write"] = asyncio.Event()

    async def story() -> None:
        async with house_of(tmp_path, shed) as (house, control):
            house.agent(two_writes)
            run = await house.runs.start("agent")
            advancing = asyncio.create_task(house.worker.advance(run))
            await until(lambda: shed.calls == ["write"])
            await control.pause(run, **WHO)
            shed.gates["write"].set()

            assert await advancing == Parked(None)
            assert house.phases(run) == ["run.open", "intent", "control", "outcome"]
            assert await house.worker.advance(run) == Parked(None)
            order = find_order(house.ledger.reader, run)
            assert order is not None
            assert (order.do, order.reason) == ("pause", WHO["reason"])
            assert "dana" not in order.by

            await control.resume(run, by="person:eve", reason="counted")
            house.serve()
            assert await house.runs.result(run) == "done"
            assert sorted(shed.books.values()) == [1, 1]

    asyncio.run(story())
    assert all(table.is_equal for table in rebuild(tmp_path, [RunsProjection(), OrdersProjection()]))


def test_an_order_that_comes_between_decision_and_intent_is_still_in_time(tmp_path: Path) -> None:
    shed = Shed()

    class PausesFirst:
        """Permits, and has the run paused meanwhile."""

        async def authorize(self, action: Action) -> Decision:
            if not shed.calls and find_order(house.ledger.reader, action.run) is None and not paused:
                paused.append(action.run)
                await Control(house.ledger).pause(action.run, **WHO)
            return Decision(verdict="permit", rules=("all",))

    paused: list[RunId] = []
    house: House

    async def story() -> None:
        nonlocal house
        house = House(tmp_path, shed, projections=(OrdersProjection(),))
        house.policy = PausesFirst()  # type: ignore[assignment]
        async with asyncio.timeout(30), house:
            house.agent(two_writes)
            run = await house.runs.start("agent")
            assert await house.worker.advance(run) == Parked(None)
            assert shed.calls == []
            assert house.phases(run) == ["run.open", "control"]

            await Control(house.ledger).resume(run, **WHO)
            house.serve()
            assert await house.runs.result(run) == "done"

    asyncio.run(story())


@pytest.mark.requirement("RT-2")
def test_a_signal_to_a_paused_run_is_kept_and_taken_when_it_is_resumed(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            house.agent(signalled)
            run = await house.runs.start("agent")
            await control.pause(run, **WHO)
            await house.runs.signal(run, "go", 7)
            assert await house.worker.advance(run) == Parked(None)
            assert "intent" not in house.phases(run)

            await control.resume(run, **WHO)
            house.serve()
            assert await house.runs.result(run) == 7

    asyncio.run(story())


@pytest.mark.requirement("RT-2")
def test_a_timer_that_falls_due_in_a_paused_run_is_fired_when_it_is_resumed(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            house.agent(asleep)
            run = await house.runs.start("agent")
            parked = await house.worker.advance(run)
            assert isinstance(parked, Parked)
            due = parked.until
            assert due is not None
            await control.pause(run, **WHO)
            house.serve()
            await until(lambda: house.ledger.clock.now() > due)
            assert house.shed.calls == []

            await control.resume(run, **WHO)
            assert await house.runs.result(run) == "woke"

    asyncio.run(story())


def test_an_order_outlives_the_process_that_took_it(tmp_path: Path) -> None:
    shed = Shed()

    async def first() -> RunId:
        async with house_of(tmp_path, shed) as (house, control):
            house.agent(two_writes)
            run = await house.runs.start("agent")
            await control.pause(run, **WHO)
            return run

    async def second(run: RunId) -> None:
        async with house_of(tmp_path, shed) as (house, control):
            house.agent(two_writes)
            assert await house.worker.advance(run) == Parked(None)
            assert shed.calls == []
            await control.kill(run, **WHO)
            house.serve()
            with pytest.raises(RunKilled):
                await house.runs.result(run)

    asyncio.run(second(asyncio.run(first())))


@pytest.mark.requirement("GV-3")
def test_a_killed_run_records_what_was_dispatched_and_closes_as_killed(tmp_path: Path) -> None:
    shed = Shed()
    shed.gates["write"] = asyncio.Event()

    async def story() -> None:
        async with house_of(tmp_path, shed) as (house, control):
            house.agent(two_writes)
            run = await house.runs.start("agent")
            house.serve()
            await until(lambda: shed.calls == ["write"])
            await control.kill(run, **WHO)
            shed.gates["write"].set()

            with pytest.raises(RunKilled, match="counted"):
                await house.runs.result(run)
            assert house.phases(run) == ["run.open", "intent", "control", "outcome", "run.close"]
            row = find_run(house.ledger.reader, run)
            assert row is not None
            assert (row.state, row.error) == ("killed", "refused.run_killed")
            assert find_order(house.ledger.reader, run) is None

    asyncio.run(story())
    assert all(table.is_equal for table in rebuild(tmp_path, [RunsProjection(), OrdersProjection()]))


@pytest.mark.requirement("GV-3")
def test_a_run_that_waits_is_killed_at_once_even_where_nobody_knows_its_agent(tmp_path: Path) -> None:
    async def first() -> RunId:
        async with house_of(tmp_path, Shed()) as (house, _):
            house.agent(signalled)
            run = await house.runs.start("agent")
            await house.worker.advance(run)
            return run

    async def second(run: RunId) -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            house.serve()
            await control.kill(run, **WHO)
            with pytest.raises(RunKilled):
                await house.runs.result(run)

    asyncio.run(second(asyncio.run(first())))


def test_an_order_that_does_not_fit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            house.agent(two_writes)
            run = await house.runs.start("agent")
            with pytest.raises(ControlRefused, match="not paused"):
                await control.resume(run, **WHO)
            with pytest.raises(ControlRefused, match="a name and a reason"):
                await control.pause(run, by="person:dana", reason="")
            await control.pause(run, **WHO)
            with pytest.raises(ControlRefused, match="it is paused"):
                await control.pause(run, **WHO)
            await control.kill(run, **WHO)
            with pytest.raises(ControlRefused, match="it is killed"):
                await control.resume(run, **WHO)
            with pytest.raises(RunUnknown):
                await control.kill(RunId("run_0"), **WHO)
            assert house.phases(run) == ["run.open", "control", "control"]

            house.serve()
            with pytest.raises(RunKilled):
                await house.runs.result(run)
            with pytest.raises(RunUnknown, match="ended"):
                await control.pause(run, **WHO)

    asyncio.run(story())


async def no_code(run: Any, given: Any) -> None:
    raise AssertionError("a session's agent has no code here")


def test_a_paused_session_answers_that_it_is_paused_and_a_killed_one_is_closed(tmp_path: Path) -> None:
    shed = Shed()

    async def story() -> None:
        async with house_of(tmp_path, shed) as (house, control):
            house.agents.add(AgentSpec(name="clerk", fn=no_code, limits=Limits(identical_calls=None)))
            sessions = Sessions(house.gate, house.agents, patience=timedelta(milliseconds=20))
            await sessions.start()
            session = await sessions.get("clerk")
            await control.pause(session.run, **WHO)
            with pytest.raises(RunPaused):
                await session.perform("tool", "write", b"{}")
            assert shed.calls == []

            await control.resume(session.run, **WHO)
            assert (await session.perform("tool", "write", b"{}")).status == "ok"
            await control.kill(session.run, **WHO)
            await until(lambda: house.phases(session.run)[-1] == "run.close")
            assert (await sessions.get("clerk")).run != session.run
            await sessions.stop()

    asyncio.run(story())
