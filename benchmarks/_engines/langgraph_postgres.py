"""LangGraph with its Postgres checkpointer and `durability="sync"`, on a pool of connections."""

from importlib.metadata import version
from typing import Any

from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from benchmarks._engines import Measured, Stopwatch, Work, threads_drive
from benchmarks._engines._postgres import count, durability_of_server
from benchmarks._engines.langgraph_sqlite import Marks, State, chain, config, first

_CONNECTIONS = 32


def measure(work: Work) -> Measured:
    """Compile a chain of ten nodes, warm it with one run, and do the work: a thread a run."""
    marks, watch = Marks(), Stopwatch()

    def node(state: State) -> dict[str, Any]:
        marks.mark(state["run"])
        return {"amount": state["amount"] + 1, "result": work.result()}

    settings = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    with ConnectionPool(work.url, min_size=4, max_size=_CONNECTIONS, kwargs=settings) as pool:
        saver = PostgresSaver(pool)  # type: ignore[arg-type]
        saver.setup()
        graph = chain(work, node).compile(checkpointer=saver)

        def one(run: int) -> None:
            graph.invoke(first(run), config(run), durability="sync")
            marks.mark(run)

        one(-1)
        marks.began.clear()
        for numbers in watch.rounds(work):
            threads_drive(work, numbers, one)
    records = count(work.url, "SELECT count(*) FROM checkpoints WHERE thread_id <> 'run--1'")
    return Measured(
        elapsed_s=watch.stopped_s,
        runs=watch.runs,
        latencies_s=marks.latencies_s(),
        records=records - 2 * watch.runs,
        durability=durability_of_server(work.url),
        versions={name: version(name) for name in ("langgraph", "langgraph-checkpoint-postgres")},
    )
