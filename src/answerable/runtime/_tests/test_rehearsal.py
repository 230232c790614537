"""Stored runs against other code: what would part is told, and nothing is done."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable.core import ActionKind, AnswerableError, Description, Effect, RunId
from answerable.ledger import Reader
from answerable.runtime import (
    Agents,
    AgentSpec,
    BuildChanged,
    OnChange,
    Rehearsed,
    ReplayDiverged,
    Run,
    StoreEngine,
    Worker,
    rehearse,
)
from answerable.runtime._tests.house import House, Shed, until

Agent = Callable[[Run, Any], Awaitable[Any]]


def describe(kind: ActionKind, name: str, arguments: bytes) -> Description:
    return Description(effect=Effect.READ if name.startswith("read") else Effect.WRITE)


async def first(run: Run, given: int) -> Any:
    seen = await run.tool("read", n=given)
    await run.tool("write", n=given)
    await run.sleep(0.001)
    told = await run.signal("go")
    await run.tool("write", n=told)
    return seen["got"]


async def same_in_other_words(run: Run, given: int) -> Any:
    seen = await run.tool("read", n=given)
    for _ in range(1):
        await run.tool("write", n=given)
    await run.sleep(0.001)
    told = await run.signal("go")
    await run.tool("write", n=told)
    return seen["got"]


async def another_write(run: Run, given: int) -> Any:
    await run.tool("read", n=given)
    await run.tool("write", n=given + 100)
    return await run.signal("go")


async def no_write(run: Run, given: int) -> Any:
    await run.tool("read", n=given)
    return await run.signal("go")


async def asks_first(run: Run, given: int) -> Any:
    more = await run.tool("read_more")
    return await run.tool("write", n=more)


async def marked(run: Run, given: int) -> Any:
    await run.tool("read", n=given)
    await run.tool("write", n=given)
    await run.sleep(0.001)
    told = await run.signal("go")
    if await run.version("twice"):
        await run.tool("write", n=told + 1)
    await run.tool("write", n=told)
    return {"n": given}


async def sleeps_itself(run: Run, given: int) -> Any:
    await asyncio.sleep(3600)


async def returns_more(run: Run, given: int) -> Any:
    return [await first(run, given)]


async def goes_on(run: Run, given: int) -> Any:
    await first(run, given)
    return await run.tool("write", n="more")


def a_record(directory: Path, *, until_the_end: bool) -> tuple[RunId, list[str]]:
    """A run of `first`, waiting for its signal or over."""

    async def main() -> tuple[RunId, list[str]]:
        async with House(directory, Shed()) as house:
            house.agent(first)
            house.serve()
            run = await house.runs.start("agent", 7)
            await until(lambda: house.phases(run)[-1] == "timer" and house.phases(run).count("timer") == 2)
            if until_the_end:
                await house.runs.signal(run, "go", 8)
                async with asyncio.timeout(20):
                    await house.runs.result(run)
            return run, [each.predicate["step"] for each in house.receipts(run) if "step" in each.predicate]

    return asyncio.run(main())


def against(directory: Path, run: RunId, code: Agent, **more: Any) -> Rehearsed:
    agents = Agents()
    agents.add(AgentSpec(name="agent", fn=code, build="sha256:new"))

    async def main() -> Rehearsed:
        reader = Reader.open(directory)
        before = [each.digest for each in reader.all()]
        try:
            found = await rehearse(reader, agents, run, describe=describe, **more)
            assert [each.digest for each in reader.all()] == before, "a rehearsal writes nothing"
            return found
        finally:
            reader.close()

    return asyncio.run(main())


@pytest.mark.requirement("RT-1", "OP-1")
@pytest.mark.parametrize(
    ("code", "verdict", "expected", "came"),
    [
        (first, "same", "", ""),
        (same_in_other_words, "same", "", ""),
        (marked, "same", "", ""),
        (another_write, "diverges", "`write`", "a new call of `write`"),
        (no_write, "diverges", "`write`", "nothing: it waits"),
        (asks_first, "anew", "`write`", "a new call of `read_more`"),
    ],
)
def test_code_is_held_against_a_run_that_waits(
    tmp_path: Path, code: Agent, verdict: str, expected: str, came: str
) -> None:
    run, steps = a_record(tmp_path, until_the_end=False)

    found = against(tmp_path, run, code)

    assert (found.verdict, found.expected, found.came) == (verdict, expected, came)
    if verdict != "same":
        assert found.step == steps[1], "the write is the second step"
        assert (found.seq, found.now) == (3, "sha256:new")


@pytest.mark.parametrize(
    ("code", "verdict", "came"),
    [
        (first, "same", ""),
        (returns_more, "ends otherwise", "another result, or another error"),
        (goes_on, "ends otherwise", "a new call of `write`"),
    ],
)
def test_code_is_held_against_a_run_that_is_over(tmp_path: Path, code: Agent, verdict: str, came: str) -> None:
    run, _ = a_record(tmp_path, until_the_end=True)

    found = against(tmp_path, run, code)

    assert (found.verdict, found.came) == (verdict, came)
    assert found.replayed == found.of == 5


def test_what_an_engine_makes_of_it_is_what_the_rehearsal_said(tmp_path: Path) -> None:
    run, _ = a_record(tmp_path, until_the_end=False)
    foretold = against(tmp_path, run, another_write)

    async def main() -> AnswerableError:
        async with House(tmp_path, Shed()) as house:
            house.agent(another_write)
            house.serve()
            await house.runs.signal(run, "go", 8)
            with pytest.raises(ReplayDiverged) as raised:
                async with asyncio.timeout(20):
                    await house.runs.result(run)
            assert house.shed.calls == []
            return raised.value

    met = asyncio.run(main())

    assert isinstance(met, ReplayDiverged)
    assert foretold.expected == f"`{met.journalled}`"
    assert foretold.came == met.instead


def test_code_that_waits_for_something_of_its_own_is_given_up_and_an_unknown_agent_is_told(tmp_path: Path) -> None:
    run, _ = a_record(tmp_path, until_the_end=False)

    stuck = against(tmp_path, run, sleeps_itself, patience=timedelta(milliseconds=50))

    async def nobody() -> Rehearsed:
        return await rehearse(Reader.open(tmp_path), Agents(), run, describe=describe)

    assert stuck.verdict == "stuck"
    assert asyncio.run(nobody()).verdict == "unknown"


async def old(run: Run, given: Any) -> Any:
    await run.tool("write", by="old")
    return ["old", await run.signal("go")]


async def new(run: Run, given: Any) -> Any:
    await run.tool("write", by="new")
    return ["new", await run.signal("go")]


async def either(run: Run, given: Any) -> Any:
    is_new = await run.version("by-new")
    await run.tool("write", by="new" if is_new else "old")
    return ["new" if is_new else "old", await run.signal("go")]


class TwoVersions:
    """Two workers of one store, one with the code of before and one with that of today."""

    def __init__(self, house: House, before: Agent, today: Agent, on_change: OnChange) -> None:
        self.house = house
        self.specs = [
            AgentSpec(name="agent", fn=before, build="sha256:old", on_change=on_change),
            AgentSpec(name="agent", fn=today, build="sha256:new", on_change=on_change),
        ]
        self.serving: list[asyncio.Task[None]] = []

    def deploy(self, *which: int) -> None:
        for n in which:
            agents = Agents()
            agents.add(self.specs[n])
            worker = Worker(replace(self.house.gate), agents)
            engine = StoreEngine(self.house.ledger.leases, self.house.ledger.clock)
            self.serving.append(asyncio.create_task(engine.serve(worker.advance)))

    async def stop(self) -> None:
        for task in self.serving:
            task.cancel()
        if self.serving:
            await asyncio.wait(self.serving)
        self.serving.clear()

    async def start(self, n: int) -> RunId:
        self.house.agents.add(self.specs[n])
        return await self.house.runs.start("agent")


def across_a_deploy(
    tmp_path: Path, on_change: OnChange, today: Agent, story: Callable[[TwoVersions], Awaitable[None]]
) -> None:
    async def main() -> None:
        async with House(tmp_path, Shed()) as house:
            versions = TwoVersions(house, old, today, on_change)
            try:
                async with asyncio.timeout(30):
                    await story(versions)
            finally:
                await versions.stop()

    asyncio.run(main())


async def wait_for_writes(house: House, runs: list[RunId]) -> None:
    await until(lambda: all("outcome" in house.phases(run) for run in runs))


@pytest.mark.requirement("RT-1", "OP-1")
def test_with_two_versions_side_by_side_a_pinned_run_is_only_advanced_by_the_code_that_began_it(tmp_path: Path) -> None:
    async def story(versions: TwoVersions) -> None:
        house = versions.house
        versions.deploy(0)
        begun_by_old = [await versions.start(0) for _ in range(6)]
        await wait_for_writes(house, begun_by_old)
        versions.deploy(1)
        begun_by_new = [await versions.start(1) for _ in range(6)]
        await wait_for_writes(house, begun_by_new)
        for run in (*begun_by_old, *begun_by_new):
            await house.runs.signal(run, "go", 1)

        results = [await house.runs.result(run) for run in (*begun_by_old, *begun_by_new)]

        assert results[:6] == [["old", 1]] * 6
        assert {said for said, _ in results[6:]} <= {"old", "new"}
        assert all(count == 1 for count in house.shed.books.values())
        assert len(house.shed.books) == 12

    across_a_deploy(tmp_path, "pin", new, story)


def test_a_pinned_run_waits_until_its_code_is_there_again(tmp_path: Path) -> None:
    async def story(versions: TwoVersions) -> None:
        house = versions.house
        versions.deploy(0)
        run = await versions.start(0)
        await wait_for_writes(house, [run])
        await versions.stop()
        versions.deploy(1)
        await house.runs.signal(run, "go", 1)
        other = await versions.start(1)
        await house.runs.signal(other, "go", 2)
        assert await house.runs.result(other) == ["new", 2]
        assert house.phases(run)[-1] == "signal"

        versions.deploy(0)

        assert await house.runs.result(run) == ["old", 1]

    across_a_deploy(tmp_path, "pin", new, story)


@pytest.mark.requirement("RT-1")
def test_an_agent_that_fails_closed_ends_runs_of_other_code_and_says_so(tmp_path: Path) -> None:
    async def story(versions: TwoVersions) -> None:
        house = versions.house
        versions.deploy(0)
        run = await versions.start(0)
        await wait_for_writes(house, [run])
        await versions.stop()
        not_begun = await versions.start(0)
        versions.deploy(1)
        await house.runs.signal(run, "go", 1)
        await house.runs.signal(not_begun, "go", 2)

        with pytest.raises(BuildChanged) as raised:
            await house.runs.result(run)

        assert (raised.value.was, raised.value.now) == ("sha256:old", "sha256:new")
        assert await house.runs.result(not_begun) == ["new", 2], "nothing was on its record: it begins with any code"

    across_a_deploy(tmp_path, "fail", new, story)


@pytest.mark.requirement("RT-1", "OP-1")
def test_runs_pass_between_two_versions_of_marked_code_as_if_there_were_one(tmp_path: Path) -> None:
    async def story(versions: TwoVersions) -> None:
        house = versions.house
        versions.deploy(0)
        runs = [await versions.start(0) for _ in range(5)]
        await wait_for_writes(house, runs)
        await versions.stop()
        versions.deploy(1, 1)
        later = [await versions.start(1) for _ in range(5)]
        await wait_for_writes(house, later)
        for run in (*runs, *later):
            await house.runs.signal(run, "go", 1)

        results = [await house.runs.result(run) for run in (*runs, *later)]

        assert results == [["old", 1]] * 5 + [["new", 1]] * 5
        assert all(count == 1 for count in house.shed.books.values())

    across_a_deploy(tmp_path, "continue", either, story)
