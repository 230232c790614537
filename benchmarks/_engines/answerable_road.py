"""Answerable over the full road: policy, intent and outcome, both signed, chained, logged and on disk.

`road`: every step asks policy something it has not asked before, so the decision cache never helps.
`cached`: other arguments each time, but what policy sees of them repeats. `reads`: the effect is a
read, which needs no intent: one receipt a step.
"""

import asyncio
import sqlite3
import time
from importlib.metadata import version
from pathlib import Path

from answerable import Answerable, Gate, Limits, Money, Run
from benchmarks._engines import Measured, Stopwatch, Work, durability_of

_POLICY = Path(__file__).parent / "policy"


def measure(work: Work) -> Measured:
    """Open a gate on a fresh data directory, warm it with one run, and do the work."""
    return asyncio.run(_measure(work))


async def _measure(work: Work) -> Measured:
    watch = Stopwatch()
    app = _app(work, watch)
    async with app.gate() as gate:
        await _one(gate, -1)
        watch.start()
        if work.concurrency == 1:
            for run in range(work.runs):
                await _one(gate, run)
        else:
            await asyncio.gather(*[_one(gate, run) for run in range(work.runs)])
        elapsed_s = watch.elapsed_s()
        durability = durability_of(gate.desk.ledger._connection.raw)
    return Measured(
        elapsed_s=elapsed_s,
        latencies_s=watch.latencies_s,
        records=_records(app.data) - work.steps,  # the warm-up's
        durability=durability,
        versions={name: version(name) for name in ("cedarpy", "pynacl")},
    )


def _app(work: Work, watch: Stopwatch) -> Answerable:
    app = Answerable(data=work.directory / "data", policy=_POLICY)

    @app.tool(
        effect="write",
        idempotency="key",
        resource="{order}",
        amount=lambda said: Money(said["amount_minor"], "EUR"),
    )
    async def book(order: str, amount_minor: int, line: int, *, key: str) -> str:
        return work.result()

    @app.tool(effect="read", trusted=True, resource="{order}")
    async def look_up(order: str, line: int) -> str:
        return work.result()

    @app.agent(limits=Limits(steps=2 * work.steps))
    async def bench(run: Run, number: int) -> int:
        for step in range(work.steps):
            order = "order:1" if work.variant == "cached" else f"order:{number}-{step}"
            began = time.perf_counter()
            if work.variant == "reads":
                await run.tool(look_up, order=order, line=step)
            else:
                await run.tool(book, order=order, amount_minor=1000, line=step)
            watch.since(began)
        return number

    return app


async def _one(gate: Gate, number: int) -> None:
    run = await gate.start("bench", number)
    assert await gate.result(run) == number


def _records(data: Path) -> int:
    reader = sqlite3.connect(data / "answerable.sqlite3")
    outcomes = reader.execute("SELECT count(*) FROM receipts WHERE once LIKE 'o:%'")
    found: int = outcomes.fetchone()[0]
    return found
