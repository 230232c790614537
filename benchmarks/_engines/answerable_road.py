"""Answerable over the whole road: policy by Cedar, signed receipts, Merkle log, group commit.

Variants: `road` (a write a step: intent and outcome; every request to policy differs, so that no
cache helps), `cached` (the same with requests that repeat), `reads` (outcome only, requests repeat),
`temporal` (as `road`, with a Temporal server that has the runs advanced).
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from answerable import Answerable, Limits, Money, Run, Temporal
from answerable.ledger import Prepared, Reader
from benchmarks._engines import Durability, Measured, Stopwatch, Work, durability_of
from benchmarks._temporal_server import temporal_server

TOOLS = {"road": "step", "cached": "plain", "reads": "look", "temporal": "step"}


def measure(work: Work) -> Measured:
    """Open a gate on a fresh data directory, warm it with one run, and do the work."""
    watch = Stopwatch()
    durability: list[Durability] = []
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(temporal_server(work.directory)) if work.variant == "temporal" else ""
        asyncio.run(drive(work, watch, durability, temporal=address))
    reader = Reader.open(work.directory / "data")
    outcomes = sum(receipt.phase == "outcome" for receipt in reader.receipts())
    versions = {name: version(name) for name in ("answerable", "cedarpy", "pynacl")}
    return Measured(
        elapsed_s=watch.stopped_s,
        runs=watch.runs,
        latencies_s=watch.latencies_s,
        records=outcomes - work.steps,
        durability=durability[0],
        versions=versions,
    )


async def drive(
    work: Work,
    watch: Stopwatch,
    durability: list[Durability],
    *,
    temporal: str = "",
    data: str = "data",
    first: int = 0,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Open a gate, warm it, call `ready`, and do the work.

    Args:
        first: number of the first run, where several gates share the work.
    """
    app = Answerable(data=work.directory / data, store=work.url, policy=Path(__file__).parents[1] / "_policy")
    if temporal:
        app.engine = Temporal(address=temporal)
    result = work.result()

    # A step that may be repeated under its key: the peers repeat whatever step a crash cut off.
    @app.tool(
        effect="write",
        idempotency="key",
        resource="order:{order}",
        amount=lambda said: Money(said["amount"], "EUR"),
        trusted=True,
    )
    async def step(order: int, amount: int, key: str) -> str:
        return result

    @app.tool(effect="write", idempotency="key", trusted=True)
    async def plain(order: int, amount: int, key: str) -> str:
        return result

    @app.tool(effect="read", trusted=True)
    async def look(order: int, amount: int) -> str:
        return result

    tool = TOOLS[work.variant if work.variant in TOOLS else "road"]

    @app.agent(limits=Limits(identical_calls=None))
    async def bench(run: Run, number: int) -> int:
        for amount in range(work.steps):
            began = time.perf_counter()
            await run.tool(tool, order=number, amount=amount)
            watch.since(began)
        return number

    async with app.gate() as gate:
        durability.append(_durability(gate.desk.ledger._recorder.connection, work.url))
        await gate.result(await gate.start("bench", -1))
        ready()

        async def one_after_another(numbers: Iterator[int]) -> None:
            for number in numbers:
                await gate.result(await gate.start("bench", first + number))

        for numbers in watch.rounds(work):
            left = iter(numbers)
            await asyncio.gather(*(one_after_another(left) for _ in range(work.concurrency)))


def _durability(connection: Any, url: str) -> Durability:
    """Of the gate's own connection."""
    if not url:
        return durability_of(connection.raw)
    from benchmarks._engines._postgres import durability_of_server

    commits = connection.rows(Prepared(sa.text("SHOW synchronous_commit")))[0][0]
    return durability_of_server(url, synchronous_commit=commits)
