"""Races between wakes, timers and slices: nothing that should wake a run is lost, and nothing is done twice."""

import asyncio
import contextlib
import functools
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable.core import (
    RunId,
)
from answerable.ledger import Draft, Slice
from answerable.runtime import Run
from tests.contracts.engine_world import (
    TENANT,
    MovedClock,
    Outside,
    Worlds,
    one_step,
    signal_or_timer,
    step_then_signal,
)

__all__ = ["WakeContract"]


class WakeContract(Worlds):
    """Wakes and timers."""

    # -- wakes --------------------------------------------------------------------------------------------------------

    def test_a_wake_before_the_run_is_committed_is_not_lost(self, tmp_path: Path) -> None:
        async def main() -> None:
            outside = Outside()
            async with self.world(tmp_path, outside, one_step) as world:
                world.serve()
                run = RunId("run_early")
                world.engine.notify(run)
                await asyncio.sleep(0)
                opened = {"agent": "one_step", "environment": "test", "limits": {}}
                await world.ledger.open_run(
                    Draft(
                        tenant=TENANT,
                        run=run,
                        phase="run.open",
                        agent="one_step",
                        members={"control": opened},
                        input=b'"keyed"',
                    )
                )

                assert await world.result(run) == {"n": 1}

        asyncio.run(main())

    def test_a_wake_during_a_slice_is_found_when_the_run_asks_for_it(self, tmp_path: Path) -> None:
        async def main() -> None:
            outside = Outside()
            free = outside.hold("write")
            async with self.world(tmp_path, outside, step_then_signal) as world:
                world.serve()
                run = await world.runs.start("step_then_signal", "write")
                await outside.arrived["write"].wait()
                await world.runs.signal(run, "go", 7)
                free.set()

                assert await world.result(run) == {"n": 2, "said": 7}
                assert outside.of("write") == [1, 1]

        asyncio.run(main())

    def test_a_wake_between_the_last_read_and_the_park_is_not_lost(self, tmp_path: Path) -> None:
        async def main() -> None:
            outside = Outside()
            async with self.world(tmp_path, outside, step_then_signal, is_deaf=True) as world:
                park, parks = world.ledger.leases.park, 0

                async def late(taken: Slice, until: datetime | None) -> Any:
                    # The slice has read the record for the last time; the signal commits before its park does.
                    nonlocal parks
                    parks += 1
                    if parks == 1:
                        await world.runs.signal(taken.run, "go", 1)
                    return await park(taken, until)

                world.ledger.leases.park = late  # type: ignore[method-assign,assignment]
                world.serve()
                run = await world.runs.start("step_then_signal", "write")

                assert await world.result(run) == {"n": 2, "said": 1}
                assert outside.of("write") == [1, 1]

        asyncio.run(main())

    def test_duplicated_wakes_do_nothing_twice(self, tmp_path: Path) -> None:
        async def main() -> None:
            outside = Outside()
            async with self.world(tmp_path, outside, step_then_signal) as world:
                world.serve()
                run = await world.runs.start("step_then_signal", "write")
                for _ in range(50):
                    world.engine.notify(run)
                    await asyncio.sleep(0)
                await world.parked(run)
                for _ in range(50):
                    world.engine.notify(run)
                await world.runs.signal(run, "go", 1)
                for _ in range(50):
                    world.engine.notify(run)

                assert await world.result(run) == {"n": 2, "said": 1}
                assert outside.of("write") == [1, 1]

        asyncio.run(main())

    def test_lost_notifications_are_made_good(self, tmp_path: Path) -> None:
        async def main() -> None:
            outside = Outside()
            async with self.world(tmp_path, outside, step_then_signal, is_deaf=True) as world:
                world.serve()
                run = await world.runs.start("step_then_signal", "write")
                await world.parked(run)
                await world.runs.signal(run, "go", 1)

                assert await world.result(run) == {"n": 2, "said": 1}

        asyncio.run(main())

    def test_a_wake_for_a_finished_or_unknown_run_changes_nothing(self, tmp_path: Path) -> None:
        async def main() -> None:
            outside = Outside()
            async with self.world(tmp_path, outside, one_step) as world:
                world.serve()
                run = await world.runs.start("one_step", "write")
                await world.result(run)
                before = len(world.ledger.reader.receipts())
                world.engine.notify(run)
                world.engine.notify(RunId("run_none"))
                last = await world.runs.start("one_step", "write")
                await world.result(last)

                assert len(world.ledger.reader.receipts()) == before + len(world.phases(last))
                assert world.phases(run)[-1] == "run.close"

        asyncio.run(main())

    def test_a_wake_in_the_very_batch_that_closes_the_run_leaves_no_receipt_behind_it(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.world(tmp_path, Outside(), one_step) as world:
                run = await world.runs.start("one_step", "write")
                lease = await world.ledger.leases.claim(run)
                assert isinstance(lease, Slice)
                closing = {"tenant": TENANT, "run": run, "agent": "one_step"}
                close = Draft(phase="run.close", members={"control": {"state": "done"}}, fence=lease.fence, **closing)  # type: ignore[arg-type]
                signal = Draft(phase="signal", members={"control": {"name": "go"}}, wake=True, **closing)  # type: ignore[arg-type]
                closed, late = await asyncio.gather(world.ledger.append(close), world.ledger.append(signal))
                later = await world.ledger.append(signal)

                assert (closed.status, late.status, later.status) == ("ok", "closed", "closed")
                assert world.phases(run) == ["run.open", "run.close"]

        asyncio.run(main())

    # -- timers -------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("delay", [0.0, 0.02, 0.03, 0.04])
    def test_a_timer_against_a_wake_has_one_winner_and_keeps_it_in_replay(self, tmp_path: Path, delay: float) -> None:
        async def main() -> None:
            outside = Outside()
            copy = tmp_path / "copy"
            outside.after["keyed"] = functools.partial(self.crash, tmp_path / "data", copy)
            async with self.world(tmp_path / "data", outside, signal_or_timer) as world:
                world.serve()
                run = await world.runs.start("signal_or_timer", 0.03)
                await asyncio.sleep(delay)
                with contextlib.suppress(Exception):  # it may have ended by now
                    await world.runs.signal(run, "go", "signal")
                first = await world.result(run)
            async with self.world(copy, outside, signal_or_timer) as world:
                world.serve()

                assert await world.result(run) == first
                assert first in ("signal", "SignalTimedOut")
                assert outside.of("keyed") == [1]

        asyncio.run(main())

    def test_a_timer_fires_for_a_parked_run_in_the_next_process(self, tmp_path: Path) -> None:
        async def nap(run: Run, given: None) -> str:
            await run.sleep(timedelta(hours=1))
            await run.tool("write", n=1)
            return "rested"

        async def main() -> None:
            clock, outside = MovedClock(), Outside()
            async with self.world(tmp_path, outside, nap, clock=clock) as world:
                world.serve()
                run = await world.runs.start("nap")
                await world.parked(run)
            clock.ahead = timedelta(hours=2)
            async with self.world(tmp_path, outside, nap, clock=clock) as world:
                world.serve()

                assert await world.result(run) == "rested"
                assert world.phases(run).count("timer") == 2

        asyncio.run(main())
