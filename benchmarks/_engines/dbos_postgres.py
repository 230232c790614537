"""DBOS on a Postgres system database: the store that it is made for."""

from importlib.metadata import version

from benchmarks._engines import Measured, Work
from benchmarks._engines._dbos import asked_of_its_engine, timed
from benchmarks._engines._postgres import count, durability_of_server


def measure(work: Work) -> Measured:
    """Do the work on a fresh database."""
    watch = timed(work, work.url.replace("postgresql://", "postgresql+psycopg://"))

    (commits,) = asked_of_its_engine("SHOW synchronous_commit")
    return Measured(
        elapsed_s=watch.stopped_s,
        runs=watch.runs,
        latencies_s=watch.latencies_s,
        records=count(work.url, "SELECT count(*) FROM dbos.operation_outputs") - work.steps,
        durability=durability_of_server(work.url, synchronous_commit=str(commits)),
        versions={"dbos": version("dbos"), "psycopg": version("psycopg")},
    )
