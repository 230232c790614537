"""One of several workers of a record on Postgres, to be killed, stopped and cut off.

    python _shared_worker.py DIRECTORY BOOKS.sqlite3 LEASE_S [TEMPORAL]

With the address of a Temporal server, that one has the runs advanced.

Its tools write down each call in books that all workers share, at once and before they take their time to answer. Its
clock is the machine's, moved by as many seconds as the file `ahead` in its directory says.
"""

import asyncio
import random
import sqlite3
import sys
from datetime import datetime, timedelta
from pathlib import Path

from answerable.action import Finding, Step
from answerable.core import ActionKind, Description, Effect, Outcome, SystemClock, stable_json
from answerable.ledger import Ledger
from answerable.runtime import (
    Agents,
    AgentSpec,
    Engine,
    Limits,
    Performing,
    Run,
    RunsProjection,
    StoreEngine,
    Temporal,
    TimersProjection,
    Worker,
)
from answerable.runtime import Gate as SharedByRuns
from tests.contracts.engine_world import Everyone, Silent

__all__ = ["LEASE", "TOOLS", "agents", "open_books"]

LEASE = timedelta(seconds=2)
TOOLS = ("keyed", "read", "write")
"""What the steps of a run call, in turn."""


def open_books(path: Path) -> sqlite3.Connection:
    """The books: every call as it arrived, every effect as it was done."""
    books = sqlite3.connect(path, timeout=30, isolation_level=None)
    books.execute("PRAGMA journal_mode = WAL")
    books.execute("CREATE TABLE IF NOT EXISTS calls (tool TEXT, key TEXT)")
    books.execute("CREATE TABLE IF NOT EXISTS effects (tool TEXT, key TEXT, PRIMARY KEY (tool, key))")
    return books


class Unsteady(SystemClock):
    """A clock that somebody sets, forward and back."""

    def __init__(self, ahead: Path) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        try:
            return super().now() + timedelta(seconds=float(self._ahead.read_text()))
        except (OSError, ValueError):
            return super().now()


class Tools:
    """`keyed` honours its key and `write` has none; a second `write` with the same key would show in the books."""

    def __init__(self, books: sqlite3.Connection) -> None:
        self._books = books

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        return Description(effect=Effect.READ if name == "read" else Effect.WRITE, honours_key=name == "keyed")

    async def execute(self, step: Step) -> Outcome:
        named = (step.action.name, step.action.idempotency_key or step.action.step)
        self._books.execute("BEGIN IMMEDIATE")
        self._books.execute("INSERT INTO calls VALUES (?, ?)", named)
        if step.action.name != "read":
            self._books.execute("INSERT OR IGNORE INTO effects VALUES (?, ?)", named)
        self._books.execute("COMMIT")
        await asyncio.sleep(random.uniform(0.01, 0.2))
        return Outcome(status="ok", value=stable_json({"key": named[1]}))

    async def probe(self, step: Step) -> Finding:
        return "cannot say"


async def clerk(run: Run, steps: int) -> int:
    """Reads, keyed writes and some that nobody may repeat; and a rest half way, in which it is in no memory."""
    for step in range(steps):
        if step == steps // 2:
            await run.sleep(timedelta(milliseconds=300))
        await run.tool(TOOLS[step % len(TOOLS)], step=step)
    return steps


def agents() -> Agents:
    """The one agent that there is."""
    known = Agents()
    known.add(AgentSpec(name="clerk", fn=clerk, limits=Limits(identical_calls=None)))
    return known


async def main(directory: Path, books: Path, lease_s: str, temporal: str = "") -> None:
    clock = Unsteady(directory / "ahead")
    lease, projections = timedelta(seconds=float(lease_s)), (RunsProjection(), TimersProjection())
    ledger = Ledger.open(directory, projections=projections, clock=clock, lease=lease)
    await ledger.start()
    gate = SharedByRuns(
        ledger=ledger,
        authorizer=Everyone(),
        effects=Tools(open_books(books)),
        reporter=Silent(),
        performing=Performing(),
        linger=timedelta(milliseconds=2),
    )
    engine: Engine = StoreEngine(ledger.leases, ledger.clock, sweep=timedelta(seconds=1))
    if temporal:
        engine = Temporal(address=temporal, queue=str(books), heartbeat=LEASE)(ledger.leases, ledger.clock)
    print("serving", flush=True)  # noqa: T201 - for whoever supervises it
    await engine.serve(Worker(gate, agents()).advance, slots=10)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
