import asyncio
import functools
import shutil
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from answerable.core import RunId, SystemClock, TenantId
from answerable.ledger import Prepared, Queued, Slice, slices
from answerable.runtime import (
    OrdersProjection,
    Queue,
    QueueFull,
    QueueInvalid,
    QueueRow,
    Run,
    Worker,
    list_queues,
    runs_in_line,
)
from answerable.runtime._control import Control
from answerable.runtime._tests.house import House, Shed, until
from answerable.runtime._turns import Turns

_STATES = Prepared(sa.select(slices.c.state, sa.func.count()).group_by(slices.c.state))
THREE = Queue(scope="agent:agent", concurrency=3)
ONE = Queue(scope="agent:agent", concurrency=1)


class Clock:
    """The machine's, as far ahead as a test moved it."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self._real = SystemClock()

    def now(self) -> datetime:
        return self._real.now() + self.ahead

    def monotonic_s(self) -> float:
        return self._real.monotonic_s() + self.ahead.total_seconds()


class Crowd:
    """Runs that call a held tool: who is inside at the same time, and in which order they came."""

    def __init__(self, house: House) -> None:
        self.order: list[Any] = []
        self.inside = self.most = 0
        self.door = house.shed.gates["write"] = asyncio.Event()
        house.agent(self.agent)

    async def agent(self, run: Run, given: Any) -> Any:
        self.order.append(given)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await run.tool("write", n=given)
        finally:
            self.inside -= 1
        return given


def states(house: House) -> dict[str, int]:
    return dict(house.ledger.reader.rows(_STATES))


def stand(house: House, wanted: dict[str, int]) -> bool:
    return states(house) == wanted


async def ends(house: House, runs: list[RunId]) -> list[Any]:
    async with asyncio.timeout(30):
        return [await house.runs.result(run) for run in runs]


@pytest.mark.requirement("RT-5")
def test_no_more_runs_are_advanced_at_once_than_the_queue_admits_and_all_get_their_turn(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, Shed(), queues=[THREE]) as house:
            crowd = Crowd(house)
            house.serve()
            runs = [await house.runs.start("agent", n) for n in range(20)]
            await until(lambda: states(house) == {"leased": 3, "queued": 17})

            crowd.door.set()

            assert sorted(await ends(house, runs)) == list(range(20))
            assert crowd.most == 3
            assert states(house) == {"closed": 20}

    asyncio.run(main())


@pytest.mark.requirement("RT-5")
def test_a_limit_holds_between_two_workers_of_one_store(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, Shed(), queues=[THREE]) as house:
            crowd = Crowd(house)
            other = Worker(house.gate, house.agents)
            runs = [await house.runs.start("agent", n) for n in range(8)]
            advancing = [asyncio.create_task(worker.advance(run)) for run in runs for worker in (house.worker, other)]
            await until(lambda: states(house) == {"leased": 3, "queued": 5})

            crowd.door.set()
            house.serve()

            assert sorted(await ends(house, runs)) == list(range(8))
            assert crowd.most == 3
            await asyncio.wait(advancing)

    asyncio.run(main())


def test_a_run_that_waits_for_something_leaves_its_place_to_the_next(tmp_path: Path) -> None:
    async def agent(run: Run, given: int) -> int:
        await run.signal("go")
        return given

    async def main() -> None:
        async with House(tmp_path, Shed(), queues=[ONE]) as house:
            house.agent(agent)
            house.serve()
            runs = [await house.runs.start("agent", n) for n in range(5)]

            await until(lambda: states(house) == {"parked": 5})
            for run in runs:
                await house.runs.signal(run, "go")

            assert await ends(house, runs) == list(range(5))

    asyncio.run(main())


@pytest.mark.requirement("RT-5")
def test_the_lower_priority_goes_first_and_of_equals_the_older(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, Shed(), queues=[Queue(scope="agent:agent", concurrency=1, priority=4)]) as house:
            crowd = Crowd(house)
            house.serve()
            runs = [await house.runs.start("agent", "first")]
            await until(lambda: crowd.inside == 1)
            for n, priority in enumerate((9, None, 1, None, 1)):
                runs.append(await house.runs.start("agent", [priority, n], priority=priority))
            await until(lambda: states(house) == {"leased": 1, "queued": 5})
            following = [each.priority for each in runs_in_line(house.ledger.reader.rows)]

            crowd.door.set()
            await ends(house, runs)

            assert following == [1, 1, 4, 4, 9]
            assert crowd.order == ["first", [1, 2], [1, 4], [None, 1], [None, 3], [9, 0]]
            assert house.receipts(runs[1])[0].predicate["control"]["priority"] == 9

    asyncio.run(main())


@pytest.mark.requirement("RT-5")
def test_no_more_runs_begin_in_a_stretch_of_time_than_the_rate_admits(tmp_path: Path) -> None:
    clock = Clock()
    queue = Queue(scope="tenant", rate=2, per=timedelta(minutes=10))

    async def agent(run: Run, given: int) -> int:
        return given

    async def main() -> None:
        async with House(tmp_path, Shed(), queues=[queue], clock=clock) as house:
            house.agent(agent)
            house.serve()
            runs = [await house.runs.start("agent", n) for n in range(5)]
            for ended in (2, 4):
                standing = {"closed": ended, "queued": 5 - ended}
                await until(functools.partial(stand, house, standing))
                clock.ahead += timedelta(minutes=9)
                house.turns.ended()
                await asyncio.sleep(0)
                assert states(house) == standing
                clock.ahead += timedelta(minutes=1, seconds=1)
                house.turns.ended()

            assert await ends(house, runs) == list(range(5))

    asyncio.run(main())


@pytest.mark.requirement("RT-5")
def test_a_full_queue_refuses_a_start_says_when_to_try_again_and_writes_nothing(tmp_path: Path) -> None:
    async def agent(run: Run, given: int) -> int:
        return given

    async def main() -> None:
        async with House(tmp_path, Shed(), queues=[Queue(scope="agent:agent", waiting=3)]) as house:
            house.agent(agent)
            runs = [await house.runs.start("agent", n, key=f"k{n}") for n in range(3)]
            before = len(list(house.ledger.reader.all()))
            refused = await asyncio.gather(
                *(house.runs.start("agent", n) for n in range(3, 30)), return_exceptions=True
            )
            after = len(list(house.ledger.reader.all()))
            again = await house.runs.start("agent", 2, key="k2")
            house.serve()
            await ends(house, runs)

            more = await house.runs.start("agent", 4)

            assert {type(one) for one in refused} == {QueueFull}
            assert isinstance(refused[0], QueueFull)
            assert 1 <= refused[0].retry_after_s <= 60
            assert after == before
            assert again == runs[2]
            assert await ends(house, [more]) == [4]

    asyncio.run(main())


@pytest.mark.requirement("RT-1", "RT-5")
def test_queues_and_their_limits_outlive_a_crash(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"

    async def before() -> list[RunId]:
        async with House(here, Shed(), queues=[THREE]) as house:
            Crowd(house)
            house.serve()
            runs = [await house.runs.start("agent", n) for n in range(9)]
            await until(lambda: states(house) == {"leased": 3, "queued": 6})
            await until(lambda: len(house.shed.calls) == 3)
            shutil.copytree(here, there)  # as a kill -9 would leave it
            house.shed.gates["write"].set()
            return runs

    async def after(runs: list[RunId]) -> None:
        async with House(there, Shed(), queues=[THREE]) as house:
            crowd = Crowd(house)
            house.serve()
            await until(lambda: crowd.inside == 3 and states(house).get("queued", 0) == 6)
            for run in runs:
                for step, intent in house.ledger.reader.history(run).intents.items():
                    if not intent.is_written_off:
                        said: dict[str, Any] = {"happened": False, "by": "person:1", "reason": "looked"}
                        await house.runs.resolve(run, step, **said)
            crowd.door.set()

            assert sorted(await ends(house, runs)) == list(range(9))
            assert crowd.most == 3

    asyncio.run(after(asyncio.run(before())))


def test_runs_that_waited_are_all_called_once_the_limit_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, Shed(), queues=[ONE]) as house:
            Crowd(house)
            house.serve()
            runs = [await house.runs.start("agent", n) for n in range(6)]
            await until(lambda: states(house) == {"leased": 1, "queued": 5})
            house.shed.gates["write"].set()
            await ends(house, runs[:1])
        async with House(tmp_path, Shed()) as house:
            Crowd(house).door.set()
            house.serve()

            assert sorted(await ends(house, runs)) == list(range(6))
            said = [one.predicate.get("control", {}).get("queue") for one in house.ledger.reader.receipts()]
            assert [one for one in said if one] == [
                {"scope": "agent:agent", "tenant": "*", "concurrency": 1},
                {"scope": "agent:agent", "tenant": "*"},
            ]

    asyncio.run(main())


@pytest.mark.requirement("GV-3")
def test_a_run_that_is_killed_while_it_waits_for_its_turn_ends_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, Shed(), queues=[ONE], projections=(OrdersProjection(),)) as house:
            crowd = Crowd(house)
            house.serve()
            first, second = [await house.runs.start("agent", n) for n in range(2)]
            await until(lambda: states(house) == {"leased": 1, "queued": 1})

            await Control(house.ledger, house.agents).kill(second, by="person:1", reason="not needed")
            await until(lambda: states(house) == {"leased": 1, "closed": 1})

            crowd.door.set()
            assert await ends(house, [first]) == [0]
            assert crowd.order == [0]

    asyncio.run(main())


@pytest.mark.requirement("GV-3", "RT-5")
def test_a_run_that_is_woken_while_it_waits_for_its_turn_is_looked_at_by_whoever_sweeps(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, Shed(), queues=[ONE], projections=(OrdersProjection(),)) as house:
            Crowd(house)
            leases, admit = house.ledger.leases, house.turns.admit
            first, second, third = [await house.runs.start("agent", n) for n in range(3)]
            assert isinstance(await leases.claim(first, admit=admit), Slice)
            for run in (second, third):
                assert isinstance(await leases.claim(run, admit=admit), Queued)
            assert leases.unserved(10) == []

            await house.runs.signal(second, "go")
            assert leases.unserved(10) == [second]
            assert isinstance(await leases.claim(second, admit=admit), Queued), "a signal is no turn"
            await Control(house.ledger, house.agents).kill(third, by="person:1", reason="not needed")
            assert leases.unserved(10) == [third]
            assert isinstance(await leases.claim(third, admit=admit), Slice), "to be closed"

    asyncio.run(main())


@pytest.mark.requirement("RT-5", "RT-7")
def test_a_tenant_with_hundreds_of_runs_leaves_the_others_their_turn(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, Shed(), slots=4) as house:
            crowd = Crowd(house)
            house.agent(crowd.agent, name="loud", tenant="loud")
            house.agent(crowd.agent, name="quiet", tenant="quiet")
            runs = [await house.runs.start("loud", ["loud", n]) for n in range(300)]
            runs += [await house.runs.start("quiet", ["quiet", n]) for n in range(3)]
            house.serve()
            await until(lambda: crowd.inside == 4)

            crowd.door.set()
            await ends(house, runs)

            served = [tenant for tenant, _ in crowd.order]
            assert Counter(served) == {"loud": 300, "quiet": 3}
            assert served[:6].count("quiet") == 3

    asyncio.run(main())


def test_each_tenant_has_its_own_places_and_a_tenants_own_limit_takes_the_place_of_everybodys(tmp_path: Path) -> None:
    queues = [Queue(scope="tenant", concurrency=2), Queue(scope="tenant", tenant="big", concurrency=5)]

    async def main() -> None:
        async with House(tmp_path, Shed(), queues=queues) as house:
            crowd = Crowd(house)
            for tenant in ("big", "small"):
                house.agent(crowd.agent, name=tenant, tenant=tenant)
            house.serve()
            runs = [await house.runs.start(name, n) for n in range(6) for name in ("big", "small")]
            await until(lambda: states(house) == {"leased": 7, "queued": 5})
            big, small = (
                list_queues(house.ledger.reader.rows, tenant=TenantId(tenant))[0] for tenant in ("big", "small")
            )

            crowd.door.set()
            await ends(house, runs)

            assert (big.concurrency, big.runs, big.waits) == (5, 5, 1)
            assert (small.concurrency, small.runs, small.waits) == (2, 2, 4)

    asyncio.run(main())


def test_a_tenants_limit_is_shared_by_its_agents_by_priority(tmp_path: Path) -> None:
    queues = [Queue(scope="tenant", concurrency=2), Queue(scope="agent:b", concurrency=1, priority=1)]

    async def main() -> None:
        async with House(tmp_path, Shed(), queues=queues) as house:
            crowd = Crowd(house)
            house.agent(crowd.agent, name="a")
            house.agent(crowd.agent, name="b")
            runs = [await house.runs.start(name, name) for name in "aaabbb"]
            house.serve()
            await until(lambda: crowd.inside == 2)
            rows = {row.scope: row for row in list_queues(house.ledger.reader.rows)}

            crowd.door.set()
            await ends(house, runs)

            assert isinstance(rows["agent:b"], QueueRow)
            assert rows["tenant"].runs == 2
            assert rows["agent:b"].priority == 1
            assert crowd.most == 2

    asyncio.run(main())


def test_calls_of_an_agent_elsewhere_are_counted_while_they_last_and_by_the_minute(tmp_path: Path) -> None:
    clock = Clock()
    queue = Queue(scope="agent:far", concurrency=2, rate=3)
    here = TenantId("default")

    async def main() -> None:
        async with House(tmp_path, Shed(), queues=[queue], clock=clock) as house:
            first, second = house.turns.enter(here, "far"), house.turns.enter(here, "far")
            beyond = house.turns.enter(here, "far")
            house.turns.leave(here, "far")
            third = house.turns.enter(here, "far")
            house.turns.leave(here, "far")
            too_fast = house.turns.enter(here, "far")
            clock.ahead += timedelta(minutes=1)
            later = house.turns.enter(here, "far")

            assert [first, second, third, later] == [None] * 4
            assert house.turns.enter(here, "near") is None
            assert isinstance(beyond, QueueFull)
            assert isinstance(too_fast, QueueFull)
            assert 1 <= too_fast.retry_after_s <= 61

    asyncio.run(main())


@pytest.mark.parametrize(
    "said",
    [
        {"scope": "everything", "concurrency": 1},
        {"scope": "agent:", "concurrency": 1},
        {"scope": "tenant"},
        {"scope": "tenant", "priority": 1},
        {"scope": "agent:a", "concurrency": 0},
        {"scope": "agent:a", "priority": 10},
        {"scope": "agent:a", "rate": 1, "per": timedelta(0)},
    ],
)
def test_a_queue_that_cannot_be_followed_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(QueueInvalid):
        Queue(**said)


def test_a_gate_that_declares_the_same_again_writes_nothing(tmp_path: Path) -> None:
    async def main() -> int:
        async with House(tmp_path, Shed(), queues=[THREE]) as house:
            await Turns(house.ledger, [THREE]).start()
            return len(house.ledger.reader.receipts())

    assert asyncio.run(main()) == 1
    assert asyncio.run(main()) == 1
