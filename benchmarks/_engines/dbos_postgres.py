"""DBOS on a Postgres system database: the store that it is made for."""

import time
from importlib.metadata import version

from dbos import DBOS
from dbos._dbos import _get_dbos_instance

from benchmarks._engines import Measured, Stopwatch, Work
from benchmarks._engines._postgres import count, durability_of_server

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
    url = work.url.replace("postgresql://", "postgresql+psycopg://")
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
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

    with _get_dbos_instance()._sys_db.engine.connect() as connection:
        commits = str(connection.exec_driver_sql("SHOW synchronous_commit").scalar_one())
    return Measured(
        elapsed_s=elapsed_s,
        latencies_s=_watch.latencies_s,
        records=count(work.url, "SELECT count(*) FROM dbos.operation_outputs") - work.steps,
        durability=durability_of_server(work.url, synchronous_commit=commits),
        versions={"dbos": version("dbos"), "psycopg": version("psycopg")},
    )
