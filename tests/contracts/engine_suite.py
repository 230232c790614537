"""What every engine must survive: the races between wakes, timers, crashes and slices, on one machine.

An engine's own tests take these over: they subclass `EngineContract` and give it `make`. A crash is a
copy of the record taken at that instant, opened by another world: what was not on disk is gone.

It is one file, because whoever writes an engine takes over every race or none.
"""

import asyncio
import contextlib
import functools
import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from answerable.core import (
    Action,
    Decision,
    Description,
    Effect,
    RunId,
    StepKey,
)
from answerable.ledger import Draft, Slice, SliceLost, Stale
from answerable.runtime import Run
from tests.contracts.engine_wakes import WakeContract
from tests.contracts.engine_world import (
    PATIENCE_S,
    TENANT,
    MovedClock,
    Outside,
    World,
    one_step,
    step_then_signal,
)

__all__ = ["EngineContract"]


class EngineContract(WakeContract):
    """Subclass it, give `make`, and pytest runs all of it."""

    # -- ownership ----------------------------------------------------------------------------------------------------

    def test_a_duplicate_dispatch_to_a_live_owner_does_nothing(self, tmp_path: Path) -> None:
        async def main() -> None:
            outside = Outside()
            free = outside.hold("write")
            async with self.world(tmp_path, outside, one_step) as world:
                other = World(world.ledger, outside, world.agents, world.engine, timedelta(milliseconds=2))
                world.serve()
                run = await world.runs.start("one_step", "write")
                await outside.arrived["write"].wait()
                answers = [await other.worker.advance(run) for _ in range(3)]
                free.set()

                assert [type(answer).__name__ for answer in answers] == ["Busy"] * 3
                assert await world.result(run) == {"n": 1}
                assert outside.of("write") == [1]

        asyncio.run(main())

    def test_a_stale_slice_appends_parks_and_closes_nothing(self, tmp_path: Path) -> None:
        async def main() -> None:
            outside = Outside()
            async with self.world(tmp_path, outside, one_step) as world:
                run = await world.runs.start("one_step", "write")
                leases = world.ledger.leases
                old = await leases.claim(run)
                assert isinstance(old, Slice)
                journal = await world.ledger.journal(old)
                await leases.release(old)
                new = await leases.claim(run)
                assert isinstance(new, Slice)

                with pytest.raises(SliceLost):
                    await journal.open(_action(run), Decision(verdict="permit"))
                closing = Draft(tenant=TENANT, run=run, phase="run.close", agent="a", fence=old.fence)
                assert (await world.ledger.append(closing)).status == "stale"
                assert isinstance(await leases.park(old, None), Stale)
                assert await leases.release(old) is False
                assert world.phases(run) == ["run.open"]
                await leases.release(new)
                world.serve()
                assert await world.result(run) == {"n": 1}

        asyncio.run(main())

    def test_a_late_outcome_of_a_lost_slice_is_taken_once_and_the_effect_not_repeated(self, tmp_path: Path) -> None:
        async def main() -> None:
            outside = Outside()
            free = outside.hold("write")
            async with self.world(tmp_path, outside, one_step) as world:
                run = await world.runs.start("one_step", "write")
                first = asyncio.create_task(world.worker.advance(run))
                await outside.arrived["write"].wait()
                lease = Slice(tenant=TENANT, run=run, fence=1, seen=0)
                assert await world.ledger.leases.release(lease) is True
                second = asyncio.create_task(world.worker.advance(run))
                await world.until(lambda: world.state(run) == "leased")
                ended, _ = await asyncio.wait([second], timeout=1)  # longer than it takes to doubt and to park
                free.set()
                await asyncio.wait([first, second], timeout=PATIENCE_S)

                assert not ended, "the effect was under way, not in doubt"
                assert world.state(run) != "parked"
                world.serve()
                assert await world.result(run) == {"n": 1}
                assert outside.of("write") == [1]
                assert world.phases(run).count("outcome") == 1

        asyncio.run(main())

    def test_a_batch_of_stale_and_valid_rows_keeps_the_valid_ones(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.world(tmp_path, Outside(), one_step) as world:
                runs = [await world.runs.start("one_step", "write") for _ in range(6)]
                leases = [await world.ledger.leases.claim(run) for run in runs]
                for lease in leases[::2]:
                    assert isinstance(lease, Slice)
                    await world.ledger.leases.release(lease)
                drafts = [
                    Draft(
                        tenant=TENANT,
                        run=run,
                        phase="version",
                        agent="a",
                        fence=lease.fence,  # type: ignore[union-attr]
                        members={"control": {"name": "v"}},
                    )
                    for run, lease in zip(runs, leases, strict=True)
                ]
                appended = await asyncio.gather(*map(world.ledger.append, drafts))

                assert [each.status for each in appended] == ["stale", "ok"] * 3
                numbers = [receipt.predicate["boundary"]["n"] for receipt in world.ledger.reader.receipts()]
                assert numbers == list(range(len(numbers)))

        asyncio.run(main())

    def test_a_live_worker_takes_up_a_run_whose_slice_died(self, tmp_path: Path) -> None:
        async def main() -> None:
            clock, outside = MovedClock(), Outside()
            async with self.world(tmp_path, outside, step_then_signal, clock=clock) as world:
                journal, asked = world.ledger.journal, 0

                async def broken(taken: Slice) -> Any:
                    nonlocal asked
                    asked += 1
                    if asked == 1:
                        raise OSError("the disk went away for a moment")
                    return await journal(taken)

                world.ledger.journal = broken  # type: ignore[method-assign,assignment]
                world.serve()
                run = await world.runs.start("step_then_signal", "write")
                await world.until(lambda: asked == 1 and world.state(run) == "ready")
                clock.ahead = timedelta(minutes=1)
                await world.runs.signal(run, "go", 1)

                assert await world.result(run) == {"n": 2, "said": 1}
                assert outside.of("write") == [1, 1]

        asyncio.run(main())

    def test_short_slices_go_on_beside_a_long_one(self, tmp_path: Path) -> None:
        async def main() -> None:
            outside = Outside()
            free = outside.hold("write")
            async with self.world(tmp_path, outside, one_step) as world:
                world.serve(slots=2)
                long = await world.runs.start("one_step", "write")
                await outside.arrived["write"].wait()
                short = [await world.runs.start("one_step", "keyed") for _ in range(20)]
                for run in short:
                    assert await world.result(run) == {"n": 1}

                assert "outcome" not in world.phases(long)
                free.set()
                assert await world.result(long) == {"n": 1}

        asyncio.run(main())

    # -- cancellation -------------------------------------------------------------------------------------------------

    def test_a_worker_cancelled_before_the_first_slice_leaves_the_run_to_the_next(self, tmp_path: Path) -> None:
        async def main() -> None:
            outside = Outside()
            async with self.world(tmp_path, outside, one_step) as world:
                for turns in range(6):  # wherever in its first moments the engine is
                    run = await world.runs.start("one_step", "write")
                    world.serve()
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    await world.stop()
                    world.serve()

                    assert await world.result(run) == {"n": 1}
                    await world.stop()
                assert outside.of("write") == [1] * 6

        asyncio.run(main())

    def test_a_worker_cancelled_in_mid_effect_records_the_outcome_first(self, tmp_path: Path) -> None:
        async def main() -> None:
            outside = Outside()
            free = outside.hold("write")
            async with self.world(tmp_path, outside, one_step) as world:
                world.serve()
                run = await world.runs.start("one_step", "write")
                await outside.arrived["write"].wait()
                stopping = asyncio.create_task(world.stop())
                await asyncio.sleep(0)
                free.set()
                await stopping

                assert world.phases(run) == ["run.open", "intent", "outcome"]
                world.serve()
                assert await world.result(run) == {"n": 1}
                assert outside.of("write") == [1]

        asyncio.run(main())

    def test_an_agent_that_stops_waiting_leaves_the_effect_to_finish_once(self, tmp_path: Path) -> None:
        async def impatient(run: Run, given: None) -> str:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(run.tool("write", n=1), 0.01)
            return "gone"

        async def main() -> None:
            outside = Outside()
            free = outside.hold("write")
            async with self.world(tmp_path, outside, impatient) as world:
                world.serve()
                run = await world.runs.start("impatient")
                await outside.arrived["write"].wait()
                waiting = asyncio.create_task(world.result(run))
                done, _ = await asyncio.wait([waiting], timeout=0.05)

                assert not done, "the run closes only after its effect"
                free.set()
                assert await waiting == "gone"
                assert world.phases(run) == ["run.open", "intent", "outcome", "run.close"]

        asyncio.run(main())

    # -- crashes ------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("moment", ["intent", "effect", "outcome", "park"])
    def test_a_crash_between_step_and_park_repeats_no_keyed_effect(self, tmp_path: Path, moment: str) -> None:
        async def main() -> None:
            outside, copy = Outside(), tmp_path / "copy"

            def crash() -> None:
                self.crash(tmp_path / "data", copy)

            async with self.world(tmp_path / "data", outside, step_then_signal) as world:
                if moment == "intent":
                    outside.before["keyed"] = crash
                elif moment == "effect":
                    outside.after["keyed"] = crash
                world.serve()
                run = await world.runs.start("step_then_signal", "keyed")
                if moment == "outcome":
                    await world.until(lambda: "outcome" in world.phases(run))
                    crash()
                await world.parked(run)
                if moment == "park":
                    crash()
            calls = outside.calls["keyed"]
            async with self.world(copy, outside, step_then_signal) as world:
                world.serve()
                await world.runs.signal(run, "go", 1)

                assert await world.result(run) == {"n": 2, "said": 1}
                assert outside.of("keyed") == [1, 1]
                assert outside.calls["keyed"] - calls == (2 if moment in ("intent", "effect") else 1)

        asyncio.run(main())

    @pytest.mark.parametrize("moment", ["intent", "effect"])
    def test_a_doubt_that_three_workers_inherit_reaches_a_person_and_is_never_repeated(
        self, tmp_path: Path, moment: str
    ) -> None:
        async def main() -> None:
            outside = Outside()
            places = [tmp_path / str(number) for number in range(4)]
            hook = outside.before if moment == "intent" else outside.after
            hook["write"] = functools.partial(self.crash, places[0], places[1])
            async with self.world(places[0], outside, one_step) as world:
                world.serve()
                run = await world.runs.start("one_step", "write")
                await world.result(run)
            for here, following in itertools.pairwise(places[1:]):
                async with self.world(here, outside, one_step) as world:
                    world.serve()
                    await world.parked(run)
                    self.crash(here, following)
            async with self.world(places[-1], outside, one_step) as world:
                world.serve()
                await world.parked(run)
                (step,) = world.ledger.reader.history(run).intents
                await world.runs.resolve(run, StepKey(step), happened=True, result="done", by="ann", reason="looked")

                assert await world.result(run) == "done"
                assert outside.calls["write"] == 1
                assert world.phases(run) == ["run.open", "intent", "control", "outcome", "run.close"]

        asyncio.run(main())

    def test_a_keyed_effect_lost_by_three_workers_in_a_row_is_done_once(self, tmp_path: Path) -> None:
        async def main() -> None:
            outside = Outside()
            places = [tmp_path / str(number) for number in range(4)]
            run = RunId("")
            for here, following in itertools.pairwise(places):
                outside.after["keyed"] = functools.partial(self.crash, here, following)
                async with self.world(here, outside, one_step) as world:
                    run = run or await world.runs.start("one_step", "keyed")
                    world.serve()
                    await world.result(run)
            async with self.world(places[-1], outside, one_step) as world:
                world.serve()

                assert await world.result(run) == {"n": 1}
                attempts = [
                    receipt.predicate["attempt"]
                    for receipt in world.ledger.reader.receipts(run=run)
                    if receipt.phase == "intent"
                ]
                assert attempts == [1, 2, 3, 4]
                assert outside.of("keyed") == [1]

        asyncio.run(main())


def _action(run: RunId) -> Action:
    return Action(
        tenant=TENANT,
        run=run,
        agent="a",  # type: ignore[arg-type]
        step=StepKey("0" * 32),
        branch="",
        kind="tool",
        name="write",
        arguments=orjson.dumps({}),
        described=Description(effect=Effect.WRITE),
        environment="test",
    )
