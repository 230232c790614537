"""DBOS on Postgres, or on its SQLite system database in WAL mode; asynchronous: 500 threads would be another test."""

import asyncio
import sqlite3
import time

from dbos import DBOS, SetWorkflowID

from benchmarks._liveness import Errand

_went_on: dict[int, float] = {}
_arrived: list[int] = []
_held = False


@DBOS.step()  # type: ignore[untyped-decorator, unused-ignore]
async def _step(number: int) -> int:
    _went_on[number] = time.perf_counter()
    _arrived.append(number)
    if _held:
        await asyncio.Event().wait()
    return number


@DBOS.workflow()  # type: ignore[untyped-decorator, unused-ignore]
async def _waits(number: int, waits: bool) -> int:
    if waits:
        await DBOS.recv_async("go", timeout_seconds=3600)
    return int(await _step(number))


def _launch(errand: Errand) -> None:
    url = errand.url.replace("postgresql://", "postgresql+psycopg://")
    if not url:
        database = errand.directory / "dbos.sqlite3"
        made = sqlite3.connect(database)
        made.execute("PRAGMA journal_mode=WAL")
        made.close()
        url = f"sqlite:///{database}"
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()


async def _start(errand: Errand, *, waits: bool) -> None:
    for number in range(errand.runs):
        with SetWorkflowID(f"wf-{number}"):
            await DBOS.start_workflow_async(_waits, number, waits)


def signal(errand: Errand) -> list[float]:
    """Milliseconds from the call of `send` to the step after it."""

    async def main() -> list[float]:
        _launch(errand)
        await _start(errand, waits=True)
        await asyncio.sleep(2)
        took = []
        for number in range(errand.runs):
            began = time.perf_counter()
            await DBOS.send_async(f"wf-{number}", "yes", topic="go")
            while number not in _went_on:  # noqa: ASYNC110 - its steps may run on another loop
                await asyncio.sleep(0.0005)
            took.append((_went_on[number] - began) * 1e3)
            await (await DBOS.retrieve_workflow_async(f"wf-{number}")).get_result()
        return took

    return asyncio.run(main())


def hold(errand: Errand) -> None:
    """Have the runs in the middle of their step, for ever."""
    global _held
    _held = True

    async def main() -> None:
        _launch(errand)
        await _start(errand, waits=False)
        while len(_arrived) < errand.runs:  # noqa: ASYNC110 - its steps may run on another loop
            await asyncio.sleep(0.02)
        errand.told()
        await asyncio.Event().wait()

    asyncio.run(main())


def resume(errand: Errand) -> int:
    """How many of them are done, once all are."""

    async def main() -> int:
        _launch(errand)
        handles = [await DBOS.retrieve_workflow_async(f"wf-{number}") for number in range(errand.runs)]
        return len([await handle.get_result() for handle in handles])

    return asyncio.run(main())
