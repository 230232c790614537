import asyncio
import contextlib
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable.runtime import (
    AgentFailed,
    CallInProgress,
    InputInvalid,
    Limits,
    RepeatedCall,
    ReplayDiverged,
    Run,
    SignalTimedOut,
    StepLimitExceeded,
)
from answerable.runtime._tests.house import House, Shed


def ran(tmp_path: Path, fn: Any, given: Any = None, shed: Shed | None = None, **more: Any) -> tuple[Any, House]:
    async def main() -> tuple[Any, House]:
        async with House(tmp_path, shed or Shed()) as house:
            try:
                return await house.once(fn, given, **more), house
            finally:
                house.seen = house.receipts(house.run) if house.run else []

    return asyncio.run(main())


def test_a_sequence_of_calls_runs_to_its_result(tmp_path: Path) -> None:
    async def agent(run: Run, given: int) -> list[Any]:
        return [await run.tool("read", n=given), await run.tool("write", n=given)]

    result, house = ran(tmp_path, agent, 7)

    assert [one["got"] for one in result] == [{"n": 7}, {"n": 7}]
    assert list(house.shed.books.values()) == [1]


@pytest.mark.requirement("RT-2")
def test_gathered_calls_run_side_by_side_and_join(tmp_path: Path) -> None:
    async def agent(run: Run, given: None) -> list[Any]:
        return await asyncio.gather(*(run.tool("write", n=n) for n in range(20)))

    result, house = ran(tmp_path, agent)

    assert [one["got"]["n"] for one in result] == list(range(20))
    assert len(house.shed.books) == 20


def test_nested_joins_of_every_standard_kind_finish(tmp_path: Path) -> None:
    async def leaf(run: Run, n: int) -> int:
        await asyncio.wait_for(run.tool("read", n=n), 5)
        await asyncio.shield(run.tool("write", n=n))
        return n

    async def group(run: Run, n: int) -> int:
        async with asyncio.TaskGroup() as tasks:
            one = tasks.create_task(leaf(run, n))
            two = tasks.create_task(leaf(run, n + 100))
        done, _ = await asyncio.wait([asyncio.ensure_future(run.tool("read", w=n))])
        return one.result() + two.result() + len(done)

    async def agent(run: Run, given: None) -> Any:
        return await asyncio.gather(asyncio.gather(group(run, 1), group(run, 2)), asyncio.shield(group(run, 3)))

    result, house = ran(tmp_path, agent)

    assert result == [[103, 105], 107]
    assert set(house.shed.books.values()) == {1}


@pytest.mark.requirement("RT-3")
def test_identical_concurrent_writes_in_one_branch_are_refused_and_in_two_branches_are_not(tmp_path: Path) -> None:
    async def agent(run: Run, given: None) -> list[str]:
        same = await asyncio.gather(run.tool("write"), run.tool("write"), return_exceptions=True)
        apart = await asyncio.gather(run.branch("a").tool("write"), run.branch("b").tool("write"))
        again = await run.tool("write")
        return [type(one).__name__ for one in (*same, *apart, again)]

    result, house = ran(tmp_path, agent)

    assert result == ["dict", "CallInProgress", "dict", "dict", "dict"]
    assert len(house.shed.books) == 4
    assert CallInProgress.code


@pytest.mark.requirement("EV-1", "RT-6")
def test_a_refusal_by_the_runtime_leaves_a_denied_receipt(tmp_path: Path) -> None:
    async def agent(run: Run, given: None) -> str:
        try:
            await run.tool("unknown")
        except InputInvalid as error:
            return error.agent
        return ""

    result, house = ran(tmp_path, agent)

    assert result == "unknown"
    assert [one.phase for one in house.seen] == ["run.open", "denied", "run.close"]
    assert house.shed.calls == []


@pytest.mark.requirement("RT-2")
def test_a_run_that_waits_for_a_signal_parks_and_goes_on_when_it_comes(tmp_path: Path) -> None:
    async def agent(run: Run, given: None) -> Any:
        await run.tool("write")
        return await run.signal("go")

    async def main() -> None:
        async with House(tmp_path, Shed()) as house:
            house.agent(agent)
            run = await house.runs.start("agent")
            assert type(await house.worker.advance(run)).__name__ == "Parked"

            await house.runs.signal(run, "go", {"by": "test"})
            assert type(await house.worker.advance(run)).__name__ == "Done"

            assert await house.runs.result(run) == {"by": "test"}
            assert set(house.shed.books.values()) == {1}

    asyncio.run(main())


def test_a_signal_sent_early_is_found_later_and_two_are_taken_in_order(tmp_path: Path) -> None:
    async def agent(run: Run, given: None) -> Any:
        await run.tool("read")
        return [await run.signal("go", int), await run.signal("go", int)]

    async def main() -> None:
        async with House(tmp_path, Shed()) as house:
            house.agent(agent)
            run = await house.runs.start("agent")
            await house.runs.signal(run, "go", 1)
            await house.runs.signal(run, "go", 2)
            await house.worker.advance(run)

            assert await house.runs.result(run) == [1, 2]

    asyncio.run(main())


def test_a_signal_can_time_out(tmp_path: Path) -> None:
    async def agent(run: Run, given: None) -> Any:
        try:
            return await run.signal("never", timeout=0.001)
        except SignalTimedOut as error:
            return error.name

    result, _ = ran(tmp_path, agent)

    assert result == "never"


@pytest.mark.requirement("RT-2")
def test_a_timer_beyond_the_linger_parks_and_is_fired_when_due(tmp_path: Path) -> None:
    async def agent(run: Run, given: None) -> bool:
        before = run.now()
        await run.sleep(timedelta(milliseconds=30))
        return run.now() - before >= timedelta(milliseconds=30)

    result, house = ran(tmp_path, agent)

    assert result is True
    assert [one.phase for one in house.seen] == ["run.open", "timer", "timer", "run.close"]


@pytest.mark.requirement("RT-3")
def test_what_the_agent_cancels_goes_on_at_the_gate_and_the_run_closes_after_it(tmp_path: Path) -> None:
    shed = Shed()

    async def agent(run: Run, given: None) -> str:
        shed.gates["write"] = asyncio.Event()
        task = asyncio.ensure_future(run.tool("write"))
        await run.tool("read")
        task.cancel()
        await asyncio.wait([task])
        asyncio.get_running_loop().call_later(0.01, shed.gates["write"].set)
        return "done"

    result, house = ran(tmp_path, agent, shed=shed)

    assert result == "done"
    assert set(shed.books.values()) == {1}
    assert [one.phase for one in house.seen][-2:] == ["outcome", "run.close"]


def test_an_exception_in_the_agent_fails_the_run_and_puts_no_message_on_the_record(tmp_path: Path) -> None:
    async def agent(run: Run, given: None) -> None:
        raise KeyError("jane@example.org")

    with pytest.raises(AgentFailed) as caught:
        ran(tmp_path, agent)

    assert caught.value.kind == "KeyError"
    assert "jane" not in str(caught.value)


@pytest.mark.requirement("RT-6")
def test_a_run_of_too_many_steps_is_stopped_however_much_it_ignores_it(tmp_path: Path) -> None:
    async def agent(run: Run, given: None) -> None:
        n = 0
        while True:
            n += 1
            try:
                await run.tool("read", n=n)
            except StepLimitExceeded:
                pass

    shed = Shed()
    with pytest.raises(StepLimitExceeded):
        ran(tmp_path, agent, shed=shed, limits=Limits(steps=3))

    assert len(shed.calls) == 3


@pytest.mark.requirement("RT-6", "MD-4")
def test_a_call_that_keeps_giving_the_same_answer_is_stopped(tmp_path: Path) -> None:
    async def agent(run: Run, given: None) -> int:
        times = 0
        with contextlib.suppress(RepeatedCall):
            while True:
                await run.tool("constant")
                times += 1
        await run.tool("read")
        return times

    result, house = ran(tmp_path, agent, limits=Limits(identical_calls=4))

    assert result == 4
    assert [one.phase for one in house.seen].count("denied") == 1


@pytest.mark.requirement("RT-6")
def test_a_run_older_than_its_limit_is_refused_new_calls(tmp_path: Path) -> None:
    async def agent(run: Run, given: None) -> str:
        try:
            await run.sleep(0.002)
            await run.tool("read")
        except Exception as error:  # noqa: BLE001
            return type(error).__name__
        return "none"

    result, _ = ran(tmp_path, agent, limits=Limits(wall=timedelta(0)))

    assert result == "TimeLimitExceeded"


def test_a_parked_run_calls_nothing_from_its_cleanup(tmp_path: Path) -> None:
    seen: list[str] = []

    async def agent(run: Run, given: None) -> None:
        try:
            await run.signal("go")
        finally:
            try:
                await run.tool("write")
            except BaseException as error:
                seen.append(type(error).__name__)
                raise

    async def main() -> None:
        async with House(tmp_path, Shed()) as house:
            house.agent(agent)
            run = await house.runs.start("agent")
            await house.worker.advance(run)

            assert house.phases(run) == ["run.open"]
            assert house.shed.calls == []

    asyncio.run(main())
    assert seen == ["RunCancelled"]


def test_an_agent_that_swallows_its_cancellation_in_a_loop_holds_up_nobody(tmp_path: Path) -> None:
    is_over = False

    async def agent(run: Run, given: None) -> None:
        while not is_over:
            try:
                await run.signal("go")
            except BaseException:  # noqa: BLE001
                pass

    async def main() -> None:
        nonlocal is_over
        async with House(tmp_path, Shed(), unwind=timedelta(milliseconds=20)) as house:
            house.agent(agent)
            run = await house.runs.start("agent")
            assert type(await house.worker.advance(run)).__name__ == "Parked"
            is_over = True  # or it would hold up the end of this very test

    asyncio.run(asyncio.wait_for(main(), 10))


def test_own_waiting_keeps_the_run_in_memory_with_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def agent(run: Run, given: None) -> int:
        await run.tool("read")
        await asyncio.sleep(0.02)
        await asyncio.sleep(0.02)
        return 1

    with caplog.at_level(logging.WARNING):
        result, house = ran(tmp_path, agent)

    assert result == 1
    assert sum("stays in memory" in one.message for one in caplog.records) == 1
    assert [one.phase for one in house.seen] == ["run.open", "outcome", "run.close"]


def replayed(tmp_path: Path, first: Any, second: Any, signal: bool = True) -> Any:
    """Park a run under one version of its agent's code and end it under another."""

    async def main() -> Any:
        async with House(tmp_path, Shed()) as house:
            house.agent(first)
            run = await house.runs.start("agent")
            await house.worker.advance(run)
            house.agent(second)
            await house.runs.signal(run, "go")
            await house.worker.advance(run)
            return await house.runs.result(run), house.shed

    return asyncio.run(main())


async def write_then_wait(run: Run, given: None) -> str:
    await run.tool("write", n=1)
    await run.signal("go")
    return "old"


def test_an_effect_left_out_in_replay_is_named_together_with_what_came_instead(tmp_path: Path) -> None:
    async def other(run: Run, given: None) -> None:
        await run.tool("writeother")

    with pytest.raises(ReplayDiverged) as caught:
        replayed(tmp_path, write_then_wait, other)

    assert caught.value.journalled == "write"
    assert "writeother" in caught.value.instead


def test_an_effect_left_out_until_the_end_is_found_at_the_end(tmp_path: Path) -> None:
    async def other(run: Run, given: None) -> None:
        await run.tool("read")

    with pytest.raises(ReplayDiverged) as caught:
        replayed(tmp_path, write_then_wait, other)

    assert caught.value.instead == "the end of the run"


def test_a_new_read_in_replay_is_tolerated(tmp_path: Path) -> None:
    async def other(run: Run, given: None) -> str:
        await run.tool("readnew")
        return await write_then_wait(run, None) + "+"

    result, shed = replayed(tmp_path, write_then_wait, other)

    assert result == "old+"
    assert shed.calls == ["write", "readnew"]


@pytest.mark.requirement("RT-1")
def test_a_version_marker_is_false_in_a_run_that_went_past_it_and_true_in_a_new_one(tmp_path: Path) -> None:
    async def marked(run: Run, given: None) -> list[bool]:
        first = await run.version("change")
        await run.tool("write", n=1)
        second = await run.version("later")
        await run.signal("go")
        return [first, second, await run.version("change"), await run.version("last")]

    old, _ = replayed(tmp_path / "old", write_then_wait, marked)
    new, _ = replayed(tmp_path / "new", marked, marked)

    assert old == [False, True, False, True]
    assert new == [True, True, True, True]


@pytest.mark.requirement("RT-1")
def test_chance_and_time_are_the_same_in_replay(tmp_path: Path) -> None:
    seen: list[Any] = []

    async def agent(run: Run, given: None) -> None:
        await run.tool("read")
        seen.append((run.now(), run.random().random(), run.uuid(), run.branch("b").uuid()))
        await run.signal("go")

    replayed(tmp_path, agent, agent)

    assert len(seen) == 2
    assert seen[0] == seen[1]


@pytest.mark.requirement("RT-2")
def test_outcomes_come_back_in_replay_in_the_order_they_came_live(tmp_path: Path) -> None:
    orders: list[list[int]] = []
    shed = Shed()

    async def agent(run: Run, given: None) -> None:
        order: list[int] = []
        orders.append(order)

        async def one(n: int) -> None:
            await run.tool(f"read{n}")
            order.append(n)
            if n:
                shed.gates[f"read{n - 1}"].set()  # the last one called is the first to come back
            await run.tool("write", n=n, order=order)

        await asyncio.gather(*map(one, range(5)))
        await run.signal("go")

    async def main() -> None:
        shed.gates.update({f"read{n}": asyncio.Event() for n in range(4)})
        async with House(tmp_path, shed) as house:
            house.agent(agent)
            run = await house.runs.start("agent")
            await house.worker.advance(run)
            await house.runs.signal(run, "go")
            assert type(await house.worker.advance(run)).__name__ == "Done"

    asyncio.run(main())
    assert orders == [[4, 3, 2, 1, 0]] * 2
    assert len(shed.calls) == 10


def test_the_same_start_key_gives_the_same_run(tmp_path: Path) -> None:
    async def agent(run: Run, given: None) -> None:
        await run.signal("go")

    async def main() -> None:
        async with House(tmp_path, Shed()) as house:
            house.agent(agent)
            one, two = await asyncio.gather(*(house.runs.start("agent", key="order-1") for _ in range(2)))
            assert one == two == await house.runs.start("agent", key="order-1")
            assert await house.runs.start("agent", key="order-2") != one

    asyncio.run(main())


def test_input_is_checked_against_the_agents_own_type(tmp_path: Path) -> None:
    async def agent(run: Run, given: int) -> int:
        return given + 1

    with pytest.raises(InputInvalid, match=r"refused: input should be a valid integer"):
        ran(tmp_path, agent, "no number")
