"""Temporal as its own users have it: a workflow that waits for a signal, and an activity for the step."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks._liveness import Errand

_LONG = timedelta(hours=1)
_HEARTBEAT = timedelta(seconds=5)  # as Answerable's own on Temporal
_went_on: dict[int, float] = {}
_arrived = asyncio.Semaphore(0)
_held = False


@activity.defn
async def step(number: int) -> int:
    """A trivial step, or one that does not end."""
    _went_on[number] = time.perf_counter()
    _arrived.release()
    while _held:
        await asyncio.sleep(_HEARTBEAT.total_seconds() / 3)
        activity.heartbeat()
    return number


@workflow.defn
class Waits:
    """A signal, if it is to wait for one; then the step."""

    def __init__(self) -> None:
        self._may_go = False

    @workflow.signal
    def go(self) -> None:
        self._may_go = True

    @workflow.run
    async def run(self, number: int, waits: bool) -> None:
        if waits:
            await workflow.wait_condition(lambda: self._may_go)
        await workflow.execute_activity(step, number, start_to_close_timeout=_LONG, heartbeat_timeout=_HEARTBEAT)


@asynccontextmanager
async def _client(errand: Errand) -> AsyncIterator[Client]:
    client = await Client.connect(errand.temporal)
    worker = Worker(
        client,
        task_queue="bench",
        workflows=[Waits],
        activities=[step],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_activities=1000,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),  # as Answerable's own
    )
    async with worker:
        yield client


async def _start(client: Client, errand: Errand, *, waits: bool) -> None:
    for number in range(errand.runs):
        await client.start_workflow(Waits.run, args=[number, waits], id=f"wf-{number}", task_queue="bench")


def signal(errand: Errand) -> list[float]:
    """Milliseconds from the call of `signal` to the step after it."""

    async def main() -> list[float]:
        async with _client(errand) as client:
            await _start(client, errand, waits=True)
            await asyncio.sleep(2)
            took = []
            for number in range(errand.runs):
                handle = client.get_workflow_handle(f"wf-{number}")
                began = time.perf_counter()
                await handle.signal(Waits.go)
                await _arrived.acquire()
                took.append((_went_on[number] - began) * 1e3)
                await handle.result()
            return took

    return asyncio.run(main())


def hold(errand: Errand) -> None:
    """Have the runs in the middle of their step, for ever."""
    global _held
    _held = True

    async def main() -> None:
        async with _client(errand) as client:
            await _start(client, errand, waits=False)
            for _ in range(errand.runs):
                await _arrived.acquire()
            errand.told()
            await asyncio.Event().wait()

    asyncio.run(main())


def resume(errand: Errand) -> int:
    """How many of them are done, once all are."""

    async def main() -> int:
        async with _client(errand) as client:
            handles = [client.get_workflow_handle(f"wf-{number}") for number in range(errand.runs)]
            return len(await asyncio.gather(*(handle.result() for handle in handles)))

    return asyncio.run(main())
