"""The gate that the crash sweep kills: a process for each case, forked from one that has done its imports.

Reads one case a line on stdin (`Case` as JSON), forks, and answers with what became of the child: the
signal that ended it, or what it printed.
"""

import asyncio
import contextlib
import importlib
import json
import os
import signal
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from answerable import Answerable, Limits, Temporal
from answerable.app import Gate, Times
from answerable.core import FaultPoint, Money, Refused, RunId, arm
from answerable.ledger import Prepared, metadata
from answerable.models import ScriptedProvider
from answerable.policy import Budget
from answerable.tools import ToolDeclaration

__all__ = ["BUDGETS", "KINDS", "REFS", "build"]

SERVER = Path(__file__).with_name("_books_server.py")
POLICY = Path(__file__).with_name("policy")
KINDS = {"read": "look", "key": "pay", "probe": "ship", "neither": "mail", "model": "model"}
"""What is done, and the tool that does it."""
REFS = ("first", "plain", "held", "left", "right")
BUDGETS = (Budget(scope="agent:clerk", tokens=100_000, calls=1_000),)

_PATIENCE_S = 45
_SLICES = metadata.tables["slices"].c
_PARKED = Prepared(sa.select(_SLICES.run).where(_SLICES.run == sa.bindparam("run"), _SLICES.state == "parked"))
_is_armed = False


def _amount(said: Any) -> Money:
    return Money(said["minor"], "EUR")


DECLARED = {
    "look": ToolDeclaration(effect="read", amount=_amount, resource="order:{ref}"),
    "pay": ToolDeclaration(effect="write", idempotency="idempotency_key", amount=_amount, resource="order:{ref}"),
    "ship": ToolDeclaration(effect="irreversible", probe="ship_status", amount=_amount, resource="order:{ref}"),
    "ship_status": ToolDeclaration(effect="read"),
    "mail": ToolDeclaration(effect="irreversible", amount=_amount, resource="order:{ref}"),
    "ban": ToolDeclaration(effect="irreversible"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One life of the worker.

    Args:
        kind: of `KINDS`.
        point: where to die; empty to live. At the `passes + 1`-th time, counted from the first `plain` call on.
        deadly: where the tool server kills the gate, `plain:after`.
        temporal: address of the Temporal server that has the run advanced, instead of the store.
        store: the Postgres database that the record is in, instead of a file.
        worker: its data directory, of several that share a store.
    """

    directory: str
    kind: str
    point: str = ""
    passes: int = 0
    deadly: str = ""
    temporal: str = ""
    store: str = ""
    worker: str = "data"

    @property
    def data(self) -> Path:
        """The data directory."""
        return Path(self.directory) / self.worker


def build(case: Case) -> Answerable:
    """The application: one agent, the books, a model and the policy in `policy/`."""
    directory = Path(case.directory)
    app = Answerable(
        data=case.data, store=case.store, policy=POLICY, budgets=BUDGETS, times=Times(lease=timedelta(seconds=1))
    )
    if case.temporal:
        app.engine = Temporal(address=case.temporal, queue=case.directory, heartbeat=timedelta(seconds=1))
    command = [sys.executable, "-S", "-E", str(SERVER), str(directory / "books.sqlite3"), case.deadly]
    app.mcp("books", command=command, declare=DECLARED)
    app.provider(ScriptedProvider({"echo": lambda messages: messages[-1]["content"]}))
    limits = Limits(steps=50, tokens=50_000)

    async def clerk(run: Any, given: dict[str, str]) -> list[str]:
        async def act(ref: str, minor: int) -> str:
            if given["kind"] != "model":
                return str((await run.tool(f"books.{KINDS[given['kind']]}", ref=ref, minor=minor))["ref"])
            if minor > 100:
                await run.approval(f"may I think about {ref}?", role="lead")
            return str(await run.model(ref, max_tokens=20))

        done = [await act("first", 1)]
        _arm_once(case)
        done.append(await act("plain", 1))
        with contextlib.suppress(Refused):
            await run.tool("books.ban", ref="ban", minor=1)
        done.append(await act("held", 500))
        await run.sleep(timedelta(milliseconds=800 if case.store else 120))  # long enough to be parked meanwhile
        done += await asyncio.gather(act("left", 1), act("right", 2))
        return done

    app.agent(clerk, model="scripted:echo", owner="o", escalation="e", stop="s", limits=limits)
    return app


def _arm_once(case: Case) -> None:
    # The agent's function is replayed after each wait: armed anew, a later pass would never be reached.
    global _is_armed
    if case.point and not _is_armed:
        _is_armed = True
        arm(FaultPoint(case.point), case.passes)


async def _live(case: Case) -> dict[str, Any]:
    """Start the run, or find it again, and see it through, as far as the process lives."""
    if case.point == FaultPoint.RUN_OPENED:
        _arm_once(case)
    app = build(case)
    asked: list[str] = []
    async with asyncio.timeout(_PATIENCE_S), app.gate() as gate:
        run = await gate.start("clerk", {"kind": case.kind}, key="one", on_behalf_of="customer:ann")
        async with _meanwhile(lambda: _lead(gate)), _meanwhile(lambda: _person(gate, run, case, asked)):
            result = await gate.result(run)
    return {"run": run, "result": result, "asked": asked}


@contextlib.asynccontextmanager
async def _meanwhile(look: Callable[[], Any]) -> AsyncIterator[None]:
    async def watch() -> None:
        while True:
            await look()
            await asyncio.sleep(0.01)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _lead(gate: Gate) -> None:
    """Approves whatever waits."""
    for waiting in gate.approvals.list():
        await gate.desk.decide(approval=waiting.approval, decision="approve", by="lea", roles=["lead"], reason="fine")


async def _person(gate: Gate, run: RunId, case: Case, asked: list[str]) -> None:
    """Looks into the books for whatever the parked run is in doubt about, and says what stands there."""
    if not gate.reader.rows(_PARKED, run=run):
        return
    history = gate.reader.history(run)
    for step, intent in history.intents.items():
        receipt = gate.reader.find(intent.receipt)
        if step in history.finals or intent.is_written_off or receipt is None:
            continue
        ref = json.loads(gate.reader.text(receipt).input or b"{}")["ref"]
        with contextlib.closing(sqlite3.connect(Path(case.directory) / "books.sqlite3")) as books:
            happened = bool(books.execute("SELECT 1 FROM effects WHERE ref = ?", (ref,)).fetchone())
        asked.append(ref)
        await gate.desk.resolve(
            run=run, step=step, happened=happened, result={"ref": ref}, by="ann", reason="looked into the books"
        )


def _child(case: Case, out: int) -> None:
    signal.alarm(_PATIENCE_S + 5)
    os.dup2(out, 1)
    try:
        said = asyncio.run(_live(case))
    except BaseException:  # noqa: BLE001 - told to the test
        said = {"error": traceback.format_exc()}
    os.write(out, json.dumps(said).encode())
    os._exit(0)


def main() -> None:
    """Fork a child for each case until stdin ends."""
    # One life here, so that what the rooms import on first use is imported once and not by every child.
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_live(Case(directory=directory, kind="model")))
    for module in sys.argv[1:]:  # and what only some lives need: its threads begin with its first use
        importlib.import_module(module)
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _child(Case(**json.loads(line)), writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        ended = {"signal": os.WTERMSIG(status)} if os.WIFSIGNALED(status) else json.loads(said)
        sys.stdout.write(json.dumps(ended) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
