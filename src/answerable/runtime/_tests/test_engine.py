import asyncio
from pathlib import Path
from typing import Any

import pytest

from answerable.runtime import Run, StoreEngine
from answerable.runtime._tests.house import House, Shed, until


async def waiter(run: Run, given: int) -> int:
    await run.tool("write", n=given)
    return given + int(await run.signal("go", int))


def test_many_runs_share_few_slots(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, Shed()) as house:
            house.agent(waiter)
            engine = StoreEngine(house.ledger.leases, house.ledger.clock)
            serving = asyncio.create_task(engine.serve(house.worker.advance, slots=3))
            runs = [await house.runs.start("agent", n) for n in range(12)]
            for run in runs:
                await house.runs.signal(run, "go", 100)

            async with asyncio.timeout(20):
                assert await asyncio.gather(*map(house.runs.result, runs)) == [n + 100 for n in range(12)]
            serving.cancel()
            await asyncio.wait([serving])
            assert set(house.shed.books.values()) == {1}

    asyncio.run(main())


@pytest.mark.requirement("RT-1")
def test_another_process_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    shed = Shed()

    async def first() -> Any:
        async with House(tmp_path, shed) as house:
            house.agent(waiter)
            house.serve()
            run = await house.runs.start("agent", 1)
            await until(lambda: "outcome" in house.phases(run))
            return run

    async def second(run: Any) -> Any:
        async with House(tmp_path, shed) as house:
            house.agent(waiter)
            house.serve()
            await house.runs.signal(run, "go", 1)
            async with asyncio.timeout(20):
                return await house.runs.result(run)

    run = asyncio.run(first())
    assert asyncio.run(second(run)) == 2
    assert shed.calls == ["write"]


def test_a_worker_that_stops_finishes_the_effect_it_has_begun(tmp_path: Path) -> None:
    shed = Shed()

    async def main() -> None:
        shed.gates["write"] = asyncio.Event()
        async with House(tmp_path, shed) as house:
            house.agent(waiter)
            run = await house.runs.start("agent", 1)
            advancing = asyncio.create_task(house.worker.advance(run))
            await until(lambda: bool(shed.calls))
            advancing.cancel()
            await asyncio.sleep(0)
            shed.gates["write"].set()
            await asyncio.wait([advancing])

            assert advancing.cancelled()
            assert house.phases(run) == ["run.open", "intent", "outcome"]
            assert house.ledger.leases.unserved(9) == [run]

    asyncio.run(main())


def test_a_second_advance_of_a_run_in_hand_is_told_so(tmp_path: Path) -> None:
    async def main() -> None:
        shed = Shed()
        shed.gates["write"] = asyncio.Event()
        async with House(tmp_path, shed) as house:
            house.agent(waiter)
            run = await house.runs.start("agent", 1)
            advancing = asyncio.create_task(house.worker.advance(run))
            await until(lambda: bool(shed.calls))
            assert type(await house.worker.advance(run)).__name__ == "Busy"
            shed.gates["write"].set()
            assert type(await advancing).__name__ == "Parked"

    asyncio.run(main())


def test_an_agent_that_is_not_registered_leaves_its_run_waiting(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, Shed()) as house:
            house.agent(waiter)
            run = await house.runs.start("agent", 1)
            house.agents = type(house.agents)()
            house.worker._agents = house.agents
            assert type(await house.worker.advance(run)).__name__ == "Retry"
            assert house.ledger.leases.unserved(9) == [run]

    asyncio.run(main())
