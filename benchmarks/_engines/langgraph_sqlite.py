"""LangGraph with its SQLite checkpointer and `durability="sync"`: each node's result is on disk before the next.

The faster of its two checkpointers is taken: the synchronous one, a thread a run, up to a few
hundred runs (591 against 382 steps/s at 100 runs), the asynchronous one beyond (394 against 317 at 1,000).
"""

import asyncio
import itertools
import sqlite3
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from benchmarks._engines import Durability, Measured, Stopwatch, Work, durability_of, threads_drive

_MOST_THREADS = 300


class State(TypedDict):
    run: int
    amount: int
    result: str


class Marks:
    """When each node of each run began; a step ends, durably, when the next one begins or the run returns."""

    def __init__(self) -> None:
        self.began: dict[int, list[float]] = {}

    def mark(self, run: int) -> None:
        self.began.setdefault(run, []).append(time.perf_counter())

    def latencies_s(self) -> list[float]:
        return [end - begin for run in self.began.values() for begin, end in itertools.pairwise(run)]


def measure(work: Work) -> Measured:
    """Compile a chain of ten nodes, warm it with one run, and do the work."""
    return _measure_threads(work) if work.concurrency <= _MOST_THREADS else asyncio.run(_measure_async(work))


def _measure_threads(work: Work) -> Measured:
    marks, watch = Marks(), Stopwatch()

    def node(state: State) -> dict[str, Any]:
        marks.mark(state["run"])
        return {"amount": state["amount"] + 1, "result": work.result()}

    with SqliteSaver.from_conn_string(str(work.database)) as saver:
        graph = chain(work, node).compile(checkpointer=saver)

        def one(run: int) -> None:
            graph.invoke(first(run), config(run), durability="sync")
            marks.mark(run)

        one(-1)
        marks.began.clear()
        for numbers in watch.rounds(work):
            threads_drive(work, numbers, one)
        return _measured(work.database, watch, marks, durability_of(saver.conn))


async def _measure_async(work: Work) -> Measured:
    marks, watch = Marks(), Stopwatch()

    async def node(state: State) -> dict[str, Any]:
        marks.mark(state["run"])
        return {"amount": state["amount"] + 1, "result": work.result()}

    async with AsyncSqliteSaver.from_conn_string(str(work.database)) as saver:
        graph = chain(work, node).compile(checkpointer=saver)

        async def one(run: int) -> None:
            await graph.ainvoke(first(run), config(run), durability="sync")
            marks.mark(run)

        await one(-1)
        marks.began.clear()
        for numbers in watch.rounds(work):
            await asyncio.gather(*[one(run) for run in numbers])
        found = {}
        for pragma in ("journal_mode", "synchronous"):
            async with saver.conn.execute(f"PRAGMA {pragma}") as cursor:
                found[pragma] = next(iter(await cursor.fetchall()))[0]
        return _measured(work.database, watch, marks, Durability(**found))


def chain(work: Work, node: Any) -> Any:
    graph = StateGraph(State)
    names = [f"step{n}" for n in range(work.steps)]
    for name in names:
        graph.add_node(name, node)
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph


def first(run: int) -> Any:
    return {"run": run, "amount": 0, "result": ""}


def config(run: int) -> Any:
    return {"configurable": {"thread_id": f"run-{run}"}}


def _measured(database: Path, watch: Stopwatch, marks: Marks, durability: Durability) -> Measured:
    reader = sqlite3.connect(database)
    # One checkpoint for the input, one for the start, one after every node.
    records = reader.execute("SELECT count(*) FROM checkpoints WHERE thread_id <> 'run--1'").fetchone()[0]
    return Measured(
        elapsed_s=watch.stopped_s,
        runs=watch.runs,
        latencies_s=marks.latencies_s(),
        records=records - 2 * watch.runs,
        durability=durability,
        versions={name: version(name) for name in ("langgraph", "langgraph-checkpoint-sqlite")},
    )
