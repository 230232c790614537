"""State shared by a family of runs: versioned, on the record, never lost to whoever writes second."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from answerable.ledger import rebuild
from answerable.runtime import (
    AgentSpec,
    Control,
    LinksProjection,
    OrdersProjection,
    Run,
    SharedValueMoved,
    SharedValuesProjection,
)
from answerable.runtime._tests.house import House, Shed

pytestmark = pytest.mark.requirement("RT-9", "ME-1")


@contextlib.asynccontextmanager
async def house_of(directory: Path, **agents: Any) -> AsyncIterator[House]:
    projections = (OrdersProjection(), LinksProjection(), SharedValuesProjection())
    async with asyncio.timeout(30), House(directory, Shed(), projections=projections) as house:
        for name, fn in agents.items():
            house.agents.add(AgentSpec(name=name, fn=fn))
        house.serve()
        yield house


async def planner(run: Run, given: Any) -> Any:
    nothing = await run.shared.get("plan")
    first = await run.shared.set("plan", ["start"], expect=0)
    await run.delegate("helper")
    found = await run.shared.get("plan")
    assert found is not None
    return [nothing, first, found.value, found.version]


async def helper(run: Run, given: Any) -> None:
    await run.tool("read")
    found = await run.shared.get("plan")
    assert found is not None
    await run.shared.set("plan", [*found.value, "helped"], expect=found.version)


def test_a_family_of_runs_shares_what_each_of_them_writes_and_its_labels(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, planner=planner, helper=helper) as house:
            run = await house.runs.start("planner")
            assert await house.runs.result(run) == [None, 1, ["start", "helped"], 2]
            last = [receipt.predicate for receipt in house.receipts(run) if receipt.phase == "outcome"][-1]
            assert last["labels"] == ["untrusted:read"], "what the helper read taints what it wrote"

            other = await house.runs.start("planner")
            assert (await house.runs.result(other))[0] is None, "another family has its own"

    asyncio.run(story())
    assert all(table.is_equal for table in rebuild(tmp_path, [SharedValuesProjection()]))


async def two_writers(run: Run, given: Any) -> list[Any]:
    await run.shared.set("n", 0)

    async def add(branch: Run) -> str:
        found = await branch.shared.get("n")
        assert found is not None
        try:
            await branch.shared.set("n", found.value + 1, expect=found.version)
        except SharedValueMoved:
            return "moved"
        return "written"

    said = await asyncio.gather(*(add(run.branch(f"b{n}")) for n in range(3)))
    found = await run.shared.get("n")
    return [sorted(said), found.value if found else None]


def test_of_several_who_read_the_same_version_one_writes(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, agent=two_writers) as house:
            assert await house.runs.result(await house.runs.start("agent")) == [["moved", "moved", "written"], 1]

    asyncio.run(story())


async def keeps(run: Run, given: Any) -> Any:
    await run.shared.set("x", "old")
    await run.tool("write")
    found = await run.shared.get("x")
    await run.shared.set("x", "new")
    return found.value if found else None


@pytest.mark.requirement("RT-4")
def test_a_fork_starts_with_what_was_shared_and_writes_only_for_itself(tmp_path: Path) -> None:
    async def story() -> None:
        async with house_of(tmp_path, agent=keeps) as house:
            run = await house.runs.start("agent")
            assert await house.runs.result(run) == "old"
            write = next(
                receipt.predicate
                for receipt in house.receipts(run)
                if receipt.phase == "intent" and receipt.predicate["action"]["name"] == "write"
            )
            control = Control(house.ledger, house.agents)
            forked = await control.fork(run, write["step"], by="person:dana", reason="again")
            assert await house.runs.result(forked) == "old", "as it stood at the place of the fork"

    asyncio.run(story())
