"""Queues between gates that share a record: the limits are the store's, whoever advances the runs."""

import asyncio
import contextlib
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from answerable.core import RunId
from answerable.ledger import Prepared, slices
from answerable.runtime import Queue, QueueFull, Run
from answerable.runtime._tests.house import House, Shed
from tests.postgres import Databases

pytestmark = pytest.mark.requirement("RT-5")

_RUNS = 8
_QUEUED = Prepared(sa.select(sa.func.count()).where(slices.c.state == "queued"))


class Crowd:
    """Runs that wait inside a tool, and who advances them."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self.by: Counter[str] = Counter()
        self.begun: list[int] = []
        self.door = asyncio.Event()

    def of(self, worker: str) -> Callable[[Run, int], Awaitable[int]]:
        async def agent(run: Run, given: int) -> int:
            self.begun.append(given)
            self.by[worker] += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
            try:
                await run.tool("write", n=given)
            finally:
                self.inside -= 1
            return given

        return agent


@contextlib.asynccontextmanager
async def two_gates(directory: Path, url: str, queue: Queue) -> AsyncIterator[tuple[House, House, Crowd]]:
    shed, crowd = Shed(), Crowd()
    shed.gates["write"] = crowd.door
    async with asyncio.timeout(50), House(directory / "a", shed, queues=[queue], store=url) as one:
        shutil.copytree(directory / "a" / "keys", directory / "b" / "keys")
        async with House(directory / "b", shed, queues=[queue], store=url) as two:
            one.agent(crowd.of("one"))
            two.agent(crowd.of("two"))
            yield one, two, crowd


async def results(house: House, runs: list[RunId]) -> list[Any]:
    return [await house.runs.result(run) for run in runs]


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_runs_are_advanced_by_all_gates_together_than_the_queue_admits(
    tmp_path: Path, postgres: Databases, limit: int
) -> None:
    async def main() -> None:
        queue = Queue(scope="agent:agent", concurrency=limit)
        async with two_gates(tmp_path, postgres.new(), queue) as (one, two, crowd):
            one.serve()
            two.serve()
            runs = [await (one, two)[n % 2].runs.start("agent", n) for n in range(_RUNS)]
            while crowd.inside < limit:  # noqa: ASYNC110 - counted by the agents
                await asyncio.sleep(0.005)

            crowd.door.set()

            assert sorted(await results(one, runs)) == list(range(_RUNS))
            assert crowd.most == limit
            assert sorted(one.shed.books.values()) == [1] * _RUNS

    asyncio.run(main())


def test_the_rate_and_the_bound_on_what_waits_are_counted_over_all_gates(tmp_path: Path, postgres: Databases) -> None:
    async def main() -> None:
        queue = Queue(scope="tenant", rate=4, per=timedelta(hours=1), waiting=6)
        async with two_gates(tmp_path, postgres.new(), queue) as (one, two, crowd):
            crowd.door.set()
            one.serve()
            two.serve()
            runs = [await (one, two)[n % 2].runs.start("agent", n) for n in range(4)]
            await results(one, runs)
            for n in range(4, 10):
                await (one, two)[n % 2].runs.start("agent", n)
            for house in (one, two):
                with pytest.raises(QueueFull):
                    await house.runs.start("agent", 99)

            assert sorted(crowd.begun) == [0, 1, 2, 3]

    asyncio.run(main())


def test_a_queue_that_another_gate_declares_holds_for_one_that_knew_of_none(
    tmp_path: Path, postgres: Databases
) -> None:
    async def main() -> None:
        shed, crowd, url = Shed(), Crowd(), postgres.new()
        shed.gates["write"] = crowd.door
        async with asyncio.timeout(60), House(tmp_path / "a", shed, store=url) as one:
            one.agent(crowd.of("one"))
            one.serve()
            crowd.door.set()
            await one.runs.result(await one.runs.start("agent", 0))
            crowd.door.clear()
            shutil.copytree(tmp_path / "a" / "keys", tmp_path / "b" / "keys")

            async with House(tmp_path / "b", shed, queues=[Queue(scope="tenant", concurrency=1)], store=url):
                runs = [await one.runs.start("agent", number) for number in range(1, 4)]
                while crowd.inside + one.ledger.reader.rows(_QUEUED)[0][0] < 3:  # noqa: ASYNC110 - of two places
                    await asyncio.sleep(0.005)
                crowd.door.set()

                assert await results(one, runs) == [1, 2, 3]
                assert crowd.most == 1

    asyncio.run(main())


def test_a_place_that_a_run_lets_go_of_is_taken_at_once_whichever_gate_declares_the_queue(
    tmp_path: Path, postgres: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_POLL_S", "_POLL_IDLE_S"):
        monkeypatch.setattr(f"answerable.runtime._turns.{name}", 3600.0)

    async def waits_once(run: Run, given: int) -> int:
        await run.tool("write", n=given)
        if given == 0:
            await run.signal("go")
        return given

    async def main() -> None:
        shed, url = Shed(), postgres.new()
        shed.gates["write"] = asyncio.Event()
        async with asyncio.timeout(60), House(tmp_path / "a", shed, store=url) as one:
            one.agent(waits_once)
            one.serve()
            first = await one.runs.start("agent", 0)
            while not shed.calls:  # noqa: ASYNC110 - called by the agent
                await asyncio.sleep(0.005)
            shutil.copytree(tmp_path / "a" / "keys", tmp_path / "b" / "keys")
            async with House(tmp_path / "b", shed, queues=[Queue(scope="tenant", concurrency=1)], store=url) as two:
                two.agent(waits_once)
                two.serve()
                second = await two.runs.start("agent", 1)
                while not two.ledger.reader.rows(_QUEUED)[0][0]:  # noqa: ASYNC110 - it stands in the store
                    await asyncio.sleep(0.005)

                shed.gates["write"].set()  # the first run goes on to wait for its signal, and lets go of the place

                assert await two.runs.result(second) == 1
                await two.runs.signal(first, "go")
                assert await two.runs.result(first) == 0

    asyncio.run(main())
