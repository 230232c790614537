"""Thousands of runs may wait: what waits costs nothing, whoever is answered goes on, a long run resumes in one pass.

Counted, not timed: claims, statements of the store's machine, calls of functions. `benchmarks/waiting.py`
has bytes and seconds, for ten thousand.
"""

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from answerable import Gate
from answerable.core import RunId
from answerable.runtime._slice import Slice
from benchmarks._waiting_agents import an_app
from tests.contracts.engine_world import PATIENCE_S, MovedClock

pytestmark = pytest.mark.requirement("RT-5", "RT-2")


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - what is awaited stands in the store, which has no event
            await asyncio.sleep(0.005)


async def parked(gate: Gate, runs: list[RunId]) -> None:
    leases = gate.desk.ledger.leases
    await until(lambda: all((at := leases.standing(run)) is not None and at.is_parked for run in runs))


@contextmanager
def claims_of(gate: Gate) -> Iterator[Counter[str]]:
    """How often each run is taken to be advanced."""
    leases: Any = gate.desk.ledger.leases
    claim, seen = leases.claim, Counter[str]()

    def counting(run: RunId, *rest: Any, **named: Any) -> Any:
        seen[run] += 1
        return claim(run, *rest, **named)

    leases.claim = counting
    try:
        yield seen
    finally:
        del leases.claim


def slices() -> list[Slice]:
    return [each for each in gc.get_objects() if isinstance(each, Slice)]


def test_runs_that_wait_for_a_person_leave_nothing_in_memory_and_one_answer_wakes_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with an_app(tmp_path).gate() as gate:
            tasks = len(asyncio.all_tasks())
            of_earlier_tests = slices()
            runs = [await gate.start("asks", number) for number in range(150)]
            await parked(gate, runs)

            def left() -> list[Any]:
                gc.collect()
                return [each for each in slices() if not any(each is other for other in of_earlier_tests)]

            # That a run is parked is on disk a moment before the loop hears of it.
            await until(lambda: not left())
            assert len(asyncio.all_tasks()) <= tasks + 1
            recorder: Any = gate.desk.ledger._recorder
            await until(
                lambda: not set(runs) & (recorder.heads.keys() | recorder.fences.keys() | recorder.names.keys())
            )
            with claims_of(gate) as claims:
                waiting = next(each for each in gate.approvals.list() if each.run == runs[70])
                await gate.desk.decide(
                    approval=waiting.approval, decision="approve", by="lea", roles=["lead"], reason="fine"
                )
                async with asyncio.timeout(PATIENCE_S):
                    assert await gate.result(runs[70]) == 70
                assert set(claims) == {runs[70]}

    asyncio.run(main())


def test_a_gate_that_starts_looks_only_at_runs_that_are_due(tmp_path: Path) -> None:
    clock = MovedClock()

    async def main() -> None:
        async with an_app(tmp_path).gate(clock=clock) as gate:
            waiting = [await gate.start("asks", number) for number in range(60)]
            sleeping = [await gate.start("sleeps", number) for number in range(3)]
            await parked(gate, [*waiting, *sleeping])
            few = _work_of_a_look(gate)
            waiting += [await gate.start("asks", number) for number in range(120)]
            await parked(gate, waiting)

            assert _work_of_a_look(gate) <= few * 1.1, "a sweep reads what waits"
        clock.ahead = timedelta(hours=2)
        async with an_app(tmp_path).gate(clock=clock) as gate:
            # The engine's first look comes after the gate is open: its task has not run yet.
            with claims_of(gate) as claims:
                async with asyncio.timeout(PATIENCE_S):
                    assert [await gate.result(run) for run in sleeping] == [0, 1, 2]
            assert set(claims) == set(sleeping)

    asyncio.run(main())


def _work_of_a_look(gate: Gate) -> int:
    """Instructions of SQLite's machine for one sweep."""
    reader: Any = gate.reader
    leases, raw = gate.desk.ledger.leases, reader._connection.raw
    steps = 0

    def one_more() -> int:
        nonlocal steps
        steps += 1
        return 0

    raw.set_progress_handler(one_more, 1)
    try:
        assert leases.unserved(256) == []
        leases.next_due()
    finally:
        raw.set_progress_handler(None, 0)
    return steps


def test_a_long_run_resumes_with_work_in_proportion_to_its_steps(tmp_path: Path) -> None:
    async def work(steps: int) -> int:
        directory = tmp_path / str(steps)
        directory.mkdir()
        async with an_app(directory).gate() as gate:
            run = await gate.start("walks", steps)
            await parked(gate, [run])
        async with an_app(directory).gate() as gate:
            calls = 0

            def count(frame: FrameType, event: str, of: Any) -> None:
                nonlocal calls
                calls += event in ("call", "c_call")

            await gate.runs.signal(run, "go")
            sys.setprofile(count)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    assert await gate.result(run) == steps
            finally:
                sys.setprofile(None)
        return calls

    async def main() -> None:
        once, twice = await work(150), await work(300)

        assert twice < 2.2 * once, f"{once} calls for 150 steps, {twice} for 300"

    asyncio.run(main())
