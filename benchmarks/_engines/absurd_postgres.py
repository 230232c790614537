"""Absurd: a durable engine that lives in Postgres functions. Its schema comes with its command line's package.

A client has one connection and its threads wait for each other there, so the work is shared by several
clients in this process, each with threads of its own. MEASURED: 8 did more than 16 or 32, at 100 runs.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import absurd_sdk
import absurdctl
import psycopg

from benchmarks._engines import Measured, Stopwatch, Work
from benchmarks._engines._postgres import count, durability_of_server

_CLIENTS = 8
_POLL_S = 0.01


def measure(work: Work) -> Measured:
    """Install its schema, warm it with one run, and do the work."""
    with psycopg.connect(work.url, autocommit=True) as connection:
        connection.execute(absurdctl.BUNDLED_SCHEMA_SQL.encode())
    watch = Stopwatch()
    clients = [_Client(work, watch) for _ in range(min(_CLIENTS, work.concurrency))]
    clients[0].absurd.create_queue()
    starting = absurd_sdk.Absurd(work.url)

    starting.spawn("bench", {"run": -1}, queue="default")
    clients[0].absurd.work_batch()
    left = threading.Semaphore(0)
    with ThreadPoolExecutor(len(clients)) as pool:
        ends = [pool.submit(client.serve, work, left, len(clients)) for client in clients]
        for numbers in watch.rounds(work):
            for run in numbers:
                starting.spawn("bench", {"run": run}, queue="default")
            for _ in numbers:
                left.acquire()
        for client in clients:
            client.absurd.stop_worker()
        for end in ends:
            end.result()
    commits = clients[0].absurd._conn.execute("SHOW synchronous_commit").fetchone()
    assert commits is not None
    done = count(work.url, "SELECT count(*) FROM absurd.t_default WHERE state = 'completed'")
    assert done == watch.runs + 1, f"{done} runs are done"
    return Measured(
        elapsed_s=watch.stopped_s,
        runs=watch.runs,
        latencies_s=watch.latencies_s,
        records=count(work.url, "SELECT count(*) FROM absurd.c_default") - work.steps,
        durability=durability_of_server(work.url, synchronous_commit=str(commits[0])),
        versions={"absurd-sdk": version("absurd-sdk"), "psycopg": version("psycopg")},
    )


class _Client:
    def __init__(self, work: Work, watch: Stopwatch) -> None:
        self.absurd = absurd_sdk.Absurd(work.url)
        self._left: threading.Semaphore | None = None
        result = work.result()

        @self.absurd.register_task(name="bench")
        def bench(given: Any, task: Any) -> int:
            for amount in range(work.steps):
                began = time.perf_counter()
                task.step(f"step-{amount}", lambda: result)
                watch.since(began)
            if self._left is not None:
                self._left.release()
            return int(given["run"])

    def serve(self, work: Work, left: threading.Semaphore, clients: int) -> None:
        self._left = left
        self.absurd.start_worker(concurrency=-(-work.concurrency // clients), poll_interval=_POLL_S)
