"""Answerable: on its store, a file or a Postgres database; or with a Temporal server that has runs advanced."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from answerable import Answerable, Gate, Limits, Run, Temporal
from answerable.core import RunId
from answerable.runtime import list_runs
from benchmarks._liveness import Errand

_NO_LIMIT = Limits(identical_calls=None)


@asynccontextmanager
async def _gate(errand: Errand, *, is_held: bool) -> AsyncIterator[tuple[Gate, dict[int, float], asyncio.Semaphore]]:
    rules = errand.directory / "policy" / "authorize"
    rules.mkdir(parents=True, exist_ok=True)
    (rules / "all.cedar").write_text('@id("all") permit (principal, action, resource);')
    app = Answerable(data=errand.directory / "data", store=errand.url, policy=rules.parent)
    if errand.temporal:
        app.engine = Temporal(address=errand.temporal)
    went_on: dict[int, float] = {}
    arrived = asyncio.Semaphore(0)

    # Repeated under its key after a crash, as the peers repeat a step that a crash cut off.
    @app.tool(effect="write", idempotency="key", name="step")
    async def step(order: int, amount: int, key: str = "") -> int:
        went_on[order] = time.perf_counter()
        arrived.release()
        if is_held:
            await asyncio.Event().wait()
        return amount

    @app.agent(name="bench", limits=_NO_LIMIT)
    async def waits(run: Run, number: int) -> None:
        await run.signal("go")
        await run.tool("step", order=number, amount=1)

    @app.agent(name="holds", limits=_NO_LIMIT)
    async def holds(run: Run, number: int) -> None:
        await run.tool("step", order=number, amount=1)

    async with app.gate() as gate:
        yield gate, went_on, arrived


def signal(errand: Errand) -> list[float]:
    """Milliseconds from the call of `signal` to the step after it."""

    async def main() -> list[float]:
        async with _gate(errand, is_held=False) as (gate, went_on, arrived):
            runs = [await gate.start("bench", number) for number in range(errand.runs)]
            while not all(_is_parked(gate, run) for run in runs):  # noqa: ASYNC110 - the store has no event for it
                await asyncio.sleep(0.02)
            took = []
            for number, run in enumerate(runs):
                began = time.perf_counter()
                await gate.runs.signal(run, "go")
                await arrived.acquire()
                took.append((went_on[number] - began) * 1e3)
                await gate.result(run)
            return took

    return asyncio.run(main())


def _is_parked(gate: Gate, run: RunId) -> bool:
    standing = gate.desk.ledger.leases.standing(run)
    return standing is not None and standing.is_parked


def hold(errand: Errand) -> None:
    """Have the runs in the middle of their step, for ever."""

    async def main() -> None:
        async with _gate(errand, is_held=True) as (gate, _, arrived):
            for number in range(errand.runs):
                await gate.start("holds", number)
            for _ in range(errand.runs):
                await arrived.acquire()
            errand.told()
            await asyncio.Event().wait()

    asyncio.run(main())


def resume(errand: Errand) -> int:
    """How many of them are done, once all are."""

    async def main() -> int:
        async with _gate(errand, is_held=False) as (gate, _, _):
            runs = [row.run for row in list_runs(gate.reader, most=errand.runs)]
            await asyncio.gather(*(gate.result(run) for run in runs))
            return len(runs)

    return asyncio.run(main())
