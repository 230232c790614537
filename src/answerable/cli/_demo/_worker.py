"""The demo's worker: the gate, its control socket, and a run for each ticket.

Started again after a crash it starts the same runs under the same keys: what is done is answered from
the record, and what was cut short goes on.
"""

import argparse
import asyncio
import contextlib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from answerable.app import Gate
from answerable.core import AnswerableError, RunId
from answerable.server import ControlServer

__all__ = ["main"]

_AT_ONCE = 3
_LOOK_S = 0.05


def main() -> None:
    """Work on every ticket, until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--example", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--books", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--slow-ms", type=int, default=0)
    asked = parser.parse_args()
    sys.path.insert(0, str(asked.example))
    agent: Any = importlib.import_module("agent")
    tickets = [agent.Ticket.parse(path.read_text()) for path in sorted((asked.example / "tickets").glob("*.txt"))]
    try:
        app = agent.build(data=asked.data, books=asked.books, model=asked.model, slow_ms=asked.slow_ms)
        asyncio.run(_serve(app, tickets))
    except AnswerableError as error:  # a key that is not set, a model nobody serves: told, not dumped
        sys.exit(error.message)


async def _serve(app: Any, tickets: Sequence[Any]) -> None:
    async with app.gate() as gate, ControlServer(app.data, gate.desk):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        async with asyncio.TaskGroup() as group:  # what goes wrong ends this process, and goes to its log
            work = group.create_task(_work_through(gate, tickets))
            await _input_ends()
            work.cancel()


async def _input_ends() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def _work_through(gate: Gate, tickets: Sequence[Any]) -> None:
    """A few tickets at once, in their order; those on one order one after another."""
    free = asyncio.Semaphore(_AT_ONCE)
    on_order: dict[str, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as group:
        for ticket in tickets:
            await free.acquire()
            before = on_order.get(ticket.order)
            task = group.create_task(_settle(gate, ticket, before))
            task.add_done_callback(lambda _: free.release())
            on_order[ticket.order] = task


async def _settle(gate: Gate, ticket: Any, before: "asyncio.Task[None] | None") -> None:
    """Start the ticket's run; done when it has ended, or waits for a person."""
    if before is not None:
        await asyncio.wait({before})
    run = await gate.start(
        "support",
        ticket,
        key=f"ticket:{ticket.id}",
        on_behalf_of=f"customer:{ticket.sender}",
        resources=ticket.resources,
    )
    ended = asyncio.create_task(_end_of(gate, run))
    try:
        while not ended.done() and all(approval.run != run for approval in gate.approvals.list()):
            await asyncio.wait({ended}, timeout=_LOOK_S)
    finally:
        ended.cancel()


async def _end_of(gate: Gate, run: RunId) -> None:
    with contextlib.suppress(AnswerableError):  # a failed run has ended too; the record says with what
        await gate.result(run)


if __name__ == "__main__":
    main()
