"""Runs that come of runs: children with less authority, successors, and what ends with what."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from answerable.core import Action, Decision, RecordedError, RunId
from answerable.ledger import rebuild
from answerable.runtime import (
    AgentSpec,
    Control,
    DelegationRefused,
    DelegationTooDeep,
    Limits,
    LinksProjection,
    NotDelegated,
    OrdersProjection,
    Run,
    RunKilled,
    SignalInvalid,
    find_run,
    links_from,
)
from answerable.runtime._tests.house import House, Shed, until

WHO: Any = {"by": "person:dana", "reason": "enough"}

pytestmark = pytest.mark.requirement("RT-9")


@contextlib.asynccontextmanager
async def house_of(directory: Path, shed: Shed, **agents: Any) -> AsyncIterator[House]:
    projections = (OrdersProjection(), LinksProjection())
    async with asyncio.timeout(30), House(directory, shed, projections=projections) as house:
        for name, fn in agents.items():
            house.agents.add(AgentSpec(name=name, fn=fn, limits=Limits(identical_calls=None)))
        yield house


def child_of(house: House, run: RunId) -> RunId:
    return links_from(house.ledger.reader, run)[0].run


def opened(house: House, run: RunId) -> dict[str, Any]:
    said: dict[str, Any] = house.receipts(run)[0].predicate
    return said


def state(house: House, run: RunId) -> str:
    row = find_run(house.ledger.reader, run)
    return row.state if row else ""


async def boss(run: Run, given: Any) -> Any:
    await run.tool("read", n=1)
    return await run.delegate("helper", given)


async def helper(run: Run, given: Any) -> Any:
    done = await run.tool("write", n=given)
    return [given, done["name"]]


async def waiting_helper(run: Run, given: Any) -> Any:
    return await run.signal("go")


def test_a_child_does_its_part_in_a_run_of_its_own_and_its_result_comes_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed(), boss=boss, helper=helper) as house:
            house.serve()
            run = await house.runs.start("boss", 5, on_behalf_of="person:ann", resources=["order:1"])

            assert await house.runs.result(run) == [5, "write"]
            child = child_of(house, run)
            said = opened(house, child)
            assert said["control"]["origin"] == {
                "how": "delegate",
                "run": run,
                "step": said["control"]["origin"]["step"],
            }
            assert said["control"]["chain"] == ["boss"]
            assert said["control"]["resources"] == ["order:1"]
            assert said["control"]["labels"] == ["untrusted:read"], "what the delegator saw taints what it delegates"
            assert said["onBehalfOf"] == opened(house, run)["onBehalfOf"]
            answer = [receipt.predicate for receipt in house.receipts(run) if receipt.phase == "signal"]
            assert answer[0]["control"]["labels"] == ["untrusted:read", "untrusted:write"]

    asyncio.run(story())
    assert all(table.is_equal for table in rebuild(tmp_path, [LinksProjection()]))


def test_a_run_that_waits_for_its_child_is_a_row_and_nothing_in_memory(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed(), boss=boss, helper=waiting_helper) as house:
            run = await house.runs.start("boss")
            assert type(await house.worker.advance(run)).__name__ == "Parked"
            child = child_of(house, run)
            assert type(await house.worker.advance(child)).__name__ == "Parked"

            house.serve()
            await house.runs.signal(child, "go", "went")
            assert await house.runs.result(run) == "went"
            assert house.phases(run).count("intent") == 1

    asyncio.run(story())


async def failing(run: Run, given: Any) -> Any:
    return await run.tool("fail")


def test_a_childs_failure_is_raised_where_it_was_delegated(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed(), boss=boss, helper=failing) as house:
            house.serve()
            run = await house.runs.start("boss")
            with pytest.raises(RecordedError, match="fail"):
                await house.runs.result(run)

    asyncio.run(story())


async def narrow_boss(run: Run, given: Any) -> Any:
    return await run.delegate("middle", given, allow=["delegation:*", "read*", "write"])


async def middle(run: Run, given: Any) -> Any:
    return await run.delegate("helper", given, allow=["*"])


async def tries_all(run: Run, given: Any) -> list[str]:
    said = []
    for name in ("read_one", "write", "keyed"):
        try:
            await run.tool(name, n=1)
            said.append("done")
        except NotDelegated as error:
            said.append(error.code)
    return said


@pytest.mark.requirement("GV-1")
def test_a_child_may_do_no_more_than_each_of_its_delegators_allowed(tmp_path: Path) -> None:
    shed = Shed()

    async def story() -> None:
        async with house_of(tmp_path, shed, boss=narrow_boss, middle=middle, helper=tries_all) as house:
            house.serve()
            run = await house.runs.start("boss")
            assert await house.runs.result(run) == ["done", "done", "refused.not_delegated"]
            assert "keyed" not in shed.calls

    asyncio.run(story())


@pytest.mark.requirement("GV-1")
def test_a_child_may_not_do_what_policy_forbids_its_delegator(tmp_path: Path) -> None:
    shed = Shed()

    class NotTheBoss:
        async def authorize(self, action: Action) -> Decision:
            if action.agent == "boss" and action.name == "write":
                return Decision(verdict="deny", error=NotDelegated(name="write", allowed="nothing"))
            return Decision(verdict="permit", rules=("all",))

    async def story() -> None:
        house = House(tmp_path, shed, projections=(OrdersProjection(), LinksProjection()))
        house.policy = NotTheBoss()  # type: ignore[assignment]
        async with asyncio.timeout(30), house:
            for name, fn in (("boss", boss), ("helper", helper)):
                house.agents.add(AgentSpec(name=name, fn=fn))
            house.serve()
            with pytest.raises(NotDelegated):
                await house.runs.result(await house.runs.start("boss", 1))
            assert await house.runs.result(await house.runs.start("helper", 1)) == [1, "write"]

    asyncio.run(story())


async def endless(run: Run, given: int) -> Any:
    return await run.delegate("endless", given + 1)


@pytest.mark.requirement("RT-6")
def test_agents_that_delegate_to_each_other_for_ever_are_stopped(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed(), endless=endless) as house:
            house.serve()
            run = await house.runs.start("endless", 0)
            with pytest.raises(DelegationTooDeep):
                await house.runs.result(run)
            depth = 0
            while links := links_from(house.ledger.reader, run):
                run, depth = links[0].run, depth + 1
            assert depth == Limits().depth

    asyncio.run(story())


@pytest.mark.requirement("RT-6")
def test_a_childs_bounds_are_within_its_own_agents_and_its_delegators(tmp_path: Path) -> None:
    async def bounded(run: Run, given: Any) -> Any:
        return await run.delegate("helper", 1, limits=Limits(steps=7, tokens=900))

    async def story() -> None:
        async with house_of(tmp_path, Shed(), boss=bounded) as house:
            house.agents.add(AgentSpec(name="helper", fn=helper, limits=Limits(steps=50, tokens=1000)))
            house.serve()
            run = await house.runs.start("boss", limits=Limits(steps=20, tokens=500))
            await house.runs.result(run)
            limits = opened(house, child_of(house, run))["control"]["limits"]
            assert (limits["steps"], limits["tokens"], limits["depth"]) == (7, 500, 2)

    asyncio.run(story())


def test_an_agent_that_is_not_there_or_of_another_environment_gets_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed(), boss=boss) as house:
            house.serve()
            with pytest.raises(DelegationRefused, match="no agent of this name"):
                await house.runs.result(await house.runs.start("boss"))
            house.agents.add(AgentSpec(name="helper", fn=helper, environment="production"))
            with pytest.raises(DelegationRefused, match="belongs to `production`"):
                await house.runs.result(await house.runs.start("boss"))

    asyncio.run(story())


@pytest.mark.requirement("RT-4", "GV-3")
def test_children_end_with_the_run_that_delegated_them(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed(), boss=boss, helper=waiting_helper) as house:
            house.serve()
            run = await house.runs.start("boss")
            await until(lambda: bool(links_from(house.ledger.reader, run)))
            child = child_of(house, run)
            await Control(house.ledger).kill(run, **WHO)
            with pytest.raises(RunKilled):
                await house.runs.result(run)
            with pytest.raises(RunKilled, match="has ended"):
                await house.runs.result(child)

    asyncio.run(story())


async def triage(run: Run, given: str) -> Any:
    await run.tool("read", n=1)
    await run.hand_over("helper", given)


def test_who_takes_over_answers_for_the_run_and_knows_what_it_was_exposed_to(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed(), triage=triage, helper=helper, boss=outer) as house:
            house.serve()
            run = await house.runs.start("triage", "ticket")
            assert await house.runs.result(run) == ["ticket", "write"]
            assert state(house, run) == "continued"
            heir = opened(house, child_of(house, run))
            assert heir["agent"]["id"] == "helper"
            assert heir["control"]["labels"] == ["untrusted:read"]
            assert heir["control"].get("chain", []) == [], "it acts by its own right, which policy gave it"

            assert await house.runs.result(await house.runs.start("boss")) == ["ticket", "write"]

    async def outer(run: Run, given: Any) -> Any:
        return await run.delegate("triage", "ticket")

    asyncio.run(story())


async def polite(run: Run, given: Any) -> str:
    try:
        await run.hand_over("helper", 1)
    except RecordedError as error:
        return error.code_then
    raise AssertionError("not reached")


def test_a_hand_over_that_policy_refuses_leaves_the_run_with_its_agent(tmp_path: Path) -> None:
    denied = Decision(verdict="deny", error=RecordedError(code_then="refused.test", message_then="no"))

    async def story() -> None:
        async with house_of(tmp_path, Shed(), polite=polite, helper=helper) as house:
            house.policy.decide["helper"] = lambda: denied
            house.serve()
            run = await house.runs.start("polite")
            assert await house.runs.result(run) == "refused.test"
            assert links_from(house.ledger.reader, run) == []

    asyncio.run(story())


async def counter(run: Run, given: int) -> Any:
    said = await run.signal("add", int)
    if said == 0:
        return given
    await run.tool("write", n=said)
    await run.continue_as_new(given + said)


@pytest.mark.requirement("RT-2")
def test_a_run_without_end_goes_on_as_new_and_takes_its_untaken_signals_along(tmp_path: Path) -> None:
    shed = Shed()

    async def story() -> None:
        async with house_of(tmp_path, shed, counter=counter) as house:
            run = await house.runs.start("counter", 0, key="the-counter")
            for number in (1, 2, 3):
                await house.runs.signal(run, "add", number)
            house.serve()
            await until(lambda: len(shed.calls) == 3)
            await house.runs.signal(run, "add", 0, key="end")
            await house.runs.signal(run, "add", 9, key="end") if state(house, run) == "open" else None

            assert await house.runs.result(run) == 6
            assert await house.runs.start("counter", 0, key="the-counter") == run
            first = opened(house, child_of(house, run))
            assert first["control"]["labels"] == ["untrusted:signal.add", "untrusted:write"]
            assert first["control"]["ancestors"] == [run]
            second = opened(house, child_of(house, child_of(house, run)))
            assert second["control"]["ancestors"] == [run], "the first of the line is charged for all of it"

    asyncio.run(story())


@pytest.mark.requirement("RT-2")
def test_a_signal_of_another_type_than_awaited_is_named_and_a_reserved_name_is_refused(tmp_path: Path) -> None:
    async def typed(run: Run, given: Any) -> int:
        said: int = await run.signal("n", int)
        return said

    async def story() -> None:
        async with house_of(tmp_path, Shed(), typed=typed) as house:
            house.serve()
            run = await house.runs.start("typed")
            with pytest.raises(SignalInvalid, match="colon"):
                await house.runs.signal(run, "child:run_1", 1)
            await house.runs.signal(run, "n", "no number")
            with pytest.raises(SignalInvalid, match="`n`"):
                await house.runs.result(run)

    asyncio.run(story())
