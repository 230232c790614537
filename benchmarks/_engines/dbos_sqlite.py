"""DBOS on its SQLite system database, put into WAL mode, which it does not do by itself."""

import sqlite3
from importlib.metadata import version

from benchmarks._engines import Durability, Measured, Work
from benchmarks._engines._dbos import asked_of_its_engine, timed


def measure(work: Work) -> Measured:
    """Do the work on a fresh database."""
    made = sqlite3.connect(work.database)
    made.execute("PRAGMA journal_mode=WAL")  # a property of the file: DBOS's connections inherit it
    made.close()
    watch = timed(work, f"sqlite:///{work.database}")

    journal_mode, synchronous = asked_of_its_engine("PRAGMA journal_mode", "PRAGMA synchronous")
    return Measured(
        elapsed_s=watch.stopped_s,
        runs=watch.runs,
        latencies_s=watch.latencies_s,
        records=_records(work),
        durability=Durability(journal_mode=journal_mode, synchronous=synchronous),
        versions={"dbos": version("dbos"), "sqlalchemy": version("sqlalchemy")},
    )


def _records(work: Work) -> int:
    reader = sqlite3.connect(work.database)
    found: int = reader.execute("SELECT count(*) FROM operation_outputs").fetchone()[0]
    return found - work.steps  # the warm-up's
