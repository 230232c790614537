import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable.core import RunId, SystemClock
from answerable.runtime import Run, StoreEngine
from answerable.runtime._ports import Advanced, Done
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


class FreedByOthers:
    """Leases of a worker that hears of a run only by a hint from another worker."""

    def __init__(self) -> None:
        self.free: list[RunId] = []
        self.hint: Callable[[bool], None]

    def listen(self, listener: Callable[[Sequence[str]], None], *, hint: Callable[[bool], None]) -> None:
        self.hint = hint

    def serving(self) -> None:
        pass

    def take(self, limit: int, *, besides: int = 0) -> list[RunId]:
        found, self.free = self.free, []
        return found

    def place(self, run: RunId) -> tuple[str, int]:
        return "default", 5

    def next_due(self) -> datetime | None:
        return None


@pytest.mark.requirement("RT-1", "OP-1")
def test_a_run_that_a_dead_worker_leaves_is_advanced_at_once_and_not_at_the_next_sweep() -> None:
    async def main() -> None:
        leases, advanced = FreedByOthers(), asyncio.Event()

        async def advance(run: RunId) -> Advanced:
            advanced.set()
            return Done()

        engine = StoreEngine(leases, SystemClock(), sweep=timedelta(hours=1))  # type: ignore[arg-type]
        serving = asyncio.create_task(engine.serve(advance))
        for is_serving in (False, True):
            await asyncio.sleep(0)
            leases.free.append(RunId("run_1"))
            leases.hint(is_serving)

            await asyncio.wait_for(advanced.wait(), 60)
            advanced.clear()
        serving.cancel()
        await asyncio.wait([serving])

    asyncio.run(main())
