"""A fork shares what had begun before it by digest, and does the rest anew as effects of its own."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from answerable.core import Outcome, RecordedError, RunId
from answerable.ledger import DirectoryInUse, Projection, Receipt, SharedReceiptsChanged, rebuild
from answerable.runtime import (
    Control,
    ControlRefused,
    LinksProjection,
    OrdersProjection,
    ReplayDiverged,
    Run,
    RunsProjection,
    links_from,
)
from answerable.runtime._tests.house import House, Shed, until

WHO: Any = {"by": "person:dana", "reason": "the price was wrong"}

pytestmark = pytest.mark.requirement("RT-4")


@contextlib.asynccontextmanager
async def house_of(directory: Path, shed: Shed) -> AsyncIterator[tuple[House, Control]]:
    projections = (OrdersProjection(), LinksProjection())
    async with asyncio.timeout(30), House(directory, shed, projections=projections) as house:
        yield house, Control(house.ledger, house.agents)


async def three_writes(run: Run, given: Any) -> list[Any]:
    first = await run.tool("write", n=1)
    second = await run.tool("write", n=2, given=given)
    moment, chance = run.now().isoformat(), run.random().random()
    third = await run.tool("write", n=3, chance=chance)
    return [first, second, third, moment, chance]


def intents(house: House, run: RunId) -> list[Receipt]:
    return [receipt for receipt in house.receipts(run) if receipt.phase == "intent"]


def test_a_fork_shares_what_came_before_and_does_the_rest_with_keys_of_its_own(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            result = await house.once(three_writes)
            second = intents(house, house.run)[1].predicate
            forked = await control.fork(house.run, second["step"], **WHO)

            again = await house.runs.result(forked)
            assert again[:2] == result[:2]
            assert again[4] == result[4], "chance goes on as it was"
            done = [receipt.predicate["step"] for receipt in intents(house, forked)]
            assert done == [each.predicate["step"] for each in intents(house, house.run)[1:]]
            keys = [r.predicate["action"]["idempotencyKey"] for one in (house.run, forked) for r in intents(house, one)]
            assert len(set(keys)) == 5, "nothing done anew passes for what was done before"
            origin = house.receipts(forked)[0].predicate["control"]["origin"]
            assert (origin["run"], origin["seq"], origin["reason"]) == (house.run, second["seq"], WHO["reason"])
            assert origin["last"] == house.receipts(house.run)[second["seq"] - 1].digest
            assert [(link.run, link.how) for link in links_from(house.ledger.reader, house.run)] == [(forked, "fork")]

    asyncio.run(story())
    projections: list[Projection] = [RunsProjection(), OrdersProjection(), LinksProjection()]
    assert all(table.is_equal for table in rebuild(tmp_path, projections))


def test_a_place_is_named_by_step_by_receipt_or_by_its_number(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            await house.once(three_writes)
            third = intents(house, house.run)[2].predicate
            for at in (third["step"], third["id"], str(third["seq"])):
                forked = await control.fork(house.run, at, **WHO)
                await house.runs.result(forked)
                assert len(intents(house, forked)) == 1
            whole = await control.fork(house.run, **WHO)
            await house.runs.result(whole)
            assert len(intents(house, whole)) == 3
            with pytest.raises(ControlRefused, match="no step or receipt"):
                await control.fork(house.run, "99", **WHO)

    asyncio.run(story())


def test_a_fork_can_be_forked_again_where_it_shares_and_where_it_does_not(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            await house.once(three_writes)
            first, second, third = (each.predicate["step"] for each in intents(house, house.run))
            fork = await control.fork(house.run, second, **WHO)
            await house.runs.result(fork)
            late = await control.fork(fork, third, **WHO)
            early = await control.fork(fork, first, **WHO)

            results = [await house.runs.result(each) for each in (fork, late, early)]
            assert len(intents(house, late)) == 1
            assert len(intents(house, early)) == 3
            assert results[1][:2] == results[0][:2]
            assert results[1][4] == results[0][4] == results[2][4]

    asyncio.run(story())


def test_a_changed_input_is_taken_from_the_fork_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            await house.once(three_writes, "old")
            second = intents(house, house.run)[1].predicate["step"]
            forked = await control.fork(house.run, second, changed={"input": "new"}, **WHO)

            assert (await house.runs.result(forked))[1]["got"]["given"] == "new"
            with pytest.raises(ControlRefused, match="cannot change `colour`"):
                await control.fork(house.run, second, changed={"colour": "red"}, **WHO)

    asyncio.run(story())


def test_an_input_that_changes_what_is_shared_ends_the_fork_and_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            await house.once(three_writes, "old")
            third = intents(house, house.run)[2].predicate["step"]
            forked = await control.fork(house.run, third, changed={"input": "new"}, **WHO)

            with pytest.raises(ReplayDiverged, match="write"):
                await house.runs.result(forked)
            assert intents(house, forked) == []

    asyncio.run(story())


async def asks_twice(run: Run, given: None) -> list[str]:
    return [await run.model("first?"), await run.model("second?")]


def test_a_changed_model_is_asked_only_what_the_fork_does_not_share(tmp_path: Path) -> None:
    shed = Shed()
    described = shed.describe

    async def story() -> None:
        async with house_of(tmp_path, shed) as (house, control):
            house.agent(asks_twice)
            spec = house.agents.get("agent")
            house.agents.add(type(spec)(name="agent", fn=asks_twice, model="model:old", limits=spec.limits))
            house.serve()
            shed.execute = answers  # type: ignore[method-assign]
            run = await house.runs.start("agent")
            assert await house.runs.result(run) == ["model:old", "model:old"]
            second = [receipt for receipt in house.receipts(run) if receipt.phase == "outcome"][1]
            forked = await control.fork(run, second.predicate["step"], changed={"model": "model:new"}, **WHO)
            assert await house.runs.result(forked) == ["model:old", "model:new"]

    async def answers(step: Any) -> Outcome:
        return Outcome(status="ok", value=b'{"text":"%b"}' % step.action.name.encode())

    assert described("model", "model:old", b"{}").effect == "read"
    asyncio.run(story())


async def in_parallel(run: Run, given: None) -> list[Any]:
    return list(await asyncio.gather(run.tool("write", n=1), run.tool("keyed", n=2)))


def test_a_place_before_an_effect_that_is_under_way_or_in_doubt_is_refused(tmp_path: Path) -> None:
    shed = Shed()
    shed.lost.add("write")

    async def story() -> None:
        async with house_of(tmp_path, shed) as (house, control):
            house.agent(in_parallel)
            run = await house.runs.start("agent")
            await house.worker.advance(run)
            lost, kept = intents(house, run)
            with pytest.raises(ControlRefused, match="`write`, begun before it, is under way or in doubt"):
                await control.fork(run, kept.predicate["step"], **WHO)

            await house.runs.resolve(run, lost.predicate["step"], happened=True, result=1, by="dana", reason="seen")
            forked = await control.fork(run, kept.predicate["step"], **WHO)
            house.serve()
            result = await house.runs.result(forked)
            assert result[0] == 1
            assert [each.predicate["action"]["name"] for each in intents(house, forked)] == ["keyed"]

    asyncio.run(story())


async def fails_once(run: Run, given: None) -> Any:
    first = await run.tool("write", n=1)
    return [first, await run.tool("flaky", n=2)]


def test_a_failed_run_is_tried_again_from_the_step_it_failed_with(tmp_path: Path) -> None:
    shed = Shed()
    broken = Outcome.of_error("failed", RecordedError(code_then="execution.test", message_then="broken"))
    works = shed.execute

    async def story() -> None:
        async with house_of(tmp_path, shed) as (house, control):
            house.agent(fails_once)
            house.serve()
            shed.execute = breaks  # type: ignore[method-assign]
            run = await house.runs.start("agent")
            with pytest.raises(RecordedError):
                await house.runs.result(run)
            shed.execute = works  # type: ignore[method-assign]

            again = await control.retry(run, key="r1", **WHO)
            assert await control.retry(run, key="r1", **WHO) == again
            assert (await house.runs.result(again))[1]["name"] == "flaky"
            assert [each.predicate["action"]["name"] for each in intents(house, again)] == ["flaky"]
            with pytest.raises(ControlRefused, match="only a run that failed"):
                await control.retry(again, **WHO)

    async def breaks(step: Any) -> Outcome:
        return broken if step.action.name == "flaky" else await works(step)

    asyncio.run(story())


async def waits_and_writes(run: Run, given: None) -> Any:
    first = await run.tool("write", n=1)
    said = await run.signal("go")
    return [first, said, await run.tool("write", n=2)]


@pytest.mark.requirement("GV-3")
def test_a_killed_run_is_tried_again_from_where_it_was_killed(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, Shed()) as (house, control):
            house.agent(waits_and_writes)
            house.serve()
            run = await house.runs.start("agent")
            await house.runs.signal(run, "go", 5)
            await until(lambda: house.phases(run).count("outcome") == 2)
            run = await house.runs.start("agent")
            await until(lambda: "outcome" in house.phases(run))
            await control.kill(run, **WHO)
            await until(lambda: house.phases(run)[-1] == "run.close")

            again = await control.retry(run, **WHO)
            await house.runs.signal(again, "go", 6)
            assert (await house.runs.result(again))[1] == 6
            assert [each.predicate["action"]["name"] for each in intents(house, again)] == ["write"]

    asyncio.run(story())


def test_a_fork_whose_shared_receipts_were_changed_is_not_advanced(tmp_path: Path) -> None:
    async def story() -> RunId:
        async with house_of(tmp_path, Shed()) as (house, control):
            await house.once(three_writes)
            return await control.fork(house.run, intents(house, house.run)[2].predicate["step"], **WHO)

    async def tampered(forked: RunId) -> None:
        async with house_of(tmp_path, Shed()) as (house, _):
            house.agent(three_writes)
            with pytest.raises(SharedReceiptsChanged):
                await house.worker.advance(forked)

    forked = asyncio.run(story())
    with contextlib.closing(sqlite3.connect(tmp_path / "answerable.sqlite3")) as store, store:
        store.execute("UPDATE receipts SET digest = zeroblob(32) WHERE seq = 4")
    with contextlib.suppress(DirectoryInUse):
        asyncio.run(tampered(forked))
