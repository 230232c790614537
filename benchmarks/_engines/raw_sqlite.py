"""The limit: bare SQLite commits of a 400-byte row, nothing around them.

One row a commit at one run; at more, as many rows a commit as there are runs, which is the best
that group commit could reach.
"""

import sqlite3
import time

from benchmarks._engines import Measured, Stopwatch, Work, durability_of


def measure(work: Work) -> Measured:
    """Insert every step's result, `concurrency` rows to a commit."""
    connection = sqlite3.connect(work.database, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE result (run INTEGER, step INTEGER, text TEXT, PRIMARY KEY (run, step))")
    watch = Stopwatch()

    for numbers in watch.rounds(work):
        for first in range(0, work.runs, work.concurrency):
            batch = numbers[first : first + work.concurrency]
            for step in range(work.steps):
                began = time.perf_counter()
                connection.execute("BEGIN IMMEDIATE")
                for run in batch:
                    connection.execute("INSERT INTO result VALUES (?, ?, ?)", (run, step, work.result()))
                connection.execute("COMMIT")
                watch.since(began)

    return Measured(
        elapsed_s=watch.stopped_s,
        runs=watch.runs,
        latencies_s=watch.latencies_s,
        records=connection.execute("SELECT count(*) FROM result").fetchone()[0],
        durability=durability_of(connection),
        versions={"sqlite": sqlite3.sqlite_version},
    )
