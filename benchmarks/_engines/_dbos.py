"""The same work on DBOS, whatever its system database.

Synchronous workflows started with `start_workflow` on DBOS's own threads: measured on SQLite against
`async` workflows (282-284 steps/s), callers' threads (389) and a pool of one connection (406), this
was the fastest (417 steps/s at 100 runs).
"""

import time
from typing import Any

from dbos import DBOS
from dbos._dbos import _get_dbos_instance

from benchmarks._engines._work import Stopwatch, Work

__all__ = ["asked_of_its_engine", "timed"]

_watch = Stopwatch()


@DBOS.step()  # type: ignore[untyped-decorator, unused-ignore]
def _step(order: str, amount: int, result: str) -> str:
    return result


@DBOS.workflow()  # type: ignore[untyped-decorator, unused-ignore]
def _workflow(run: int, steps: int, result: str) -> int:
    for step in range(steps):
        began = time.perf_counter()
        _step(f"order:{run}", step, result)
        _watch.since(began)
    return run


def timed(work: Work, url: str) -> Stopwatch:
    """Launch DBOS on a fresh database, warm it with one run, and do the work."""
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    _workflow(-1, work.steps, work.result())

    for numbers in _watch.rounds(work):
        if work.concurrency == 1:
            for run in numbers:
                _workflow(run, work.steps, work.result())
        else:
            handles = [DBOS.start_workflow(_workflow, run, work.steps, work.result()) for run in numbers]
            for handle in handles:
                handle.get_result()
    return _watch


def asked_of_its_engine(*statements: str) -> list[Any]:
    """What DBOS's own connections answer: how one commits is a property of the connection."""
    with _get_dbos_instance()._sys_db.engine.connect() as connection:
        return [connection.exec_driver_sql(statement).scalar_one() for statement in statements]
