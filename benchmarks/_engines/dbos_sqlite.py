"""DBOS on its SQLite system database, put into WAL mode, which it does not do by itself.

Synchronous workflows started with `start_workflow` on DBOS's own threads: measured against
`async` workflows (282-284 steps/s), callers' threads (389) and a pool of one connection (406), this
was the fastest (417 steps/s at 100 runs).
"""

import sqlite3
import time
from importlib.metadata import version

from dbos import DBOS
from dbos._dbos import _get_dbos_instance

from benchmarks._engines import Durability, Measured, Stopwatch, Work

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


def measure(work: Work) -> Measured:
    """Launch DBOS on a fresh database, warm it with one run, and do the work."""
    made = sqlite3.connect(work.database)
    made.execute("PRAGMA journal_mode=WAL")  # a property of the file: DBOS's connections inherit it
    made.close()
    DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{work.database}", "log_level": "ERROR"})
    DBOS.launch()
    _workflow(-1, work.steps, work.result())

    _watch.start()
    if work.concurrency == 1:
        for run in range(work.runs):
            _workflow(run, work.steps, work.result())
    else:
        handles = [DBOS.start_workflow(_workflow, run, work.steps, work.result()) for run in range(work.runs)]
        for handle in handles:
            handle.get_result()
    elapsed_s = _watch.elapsed_s()

    return Measured(
        elapsed_s=elapsed_s,
        latencies_s=_watch.latencies_s,
        records=_records(work),
        durability=_durability(),
        versions={"dbos": version("dbos"), "sqlalchemy": version("sqlalchemy")},
    )


def _records(work: Work) -> int:
    reader = sqlite3.connect(work.database)
    found: int = reader.execute("SELECT count(*) FROM operation_outputs").fetchone()[0]
    return found - work.steps  # the warm-up's


def _durability() -> Durability:
    # Asked of DBOS's own engine: `synchronous` belongs to a connection, not to the file.
    with _get_dbos_instance()._sys_db.engine.connect() as connection:
        return Durability(
            journal_mode=connection.exec_driver_sql("PRAGMA journal_mode").scalar_one(),
            synchronous=connection.exec_driver_sql("PRAGMA synchronous").scalar_one(),
        )
