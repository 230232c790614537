"""The demo's worker: the gate, and a run for each ticket, one after another.

Started again after a crash it starts the same runs under the same keys: what is done is answered from
the record, and what was cut short goes on.
"""

import argparse
import asyncio
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from answerable.app import Gate
from answerable.core import AnswerableError, RunId
from answerable.server import ControlServer

__all__ = ["main"]

_LOOK_S = 0.05


def main() -> None:
    """Work on every ticket until all of them are settled."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--example", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--books", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--slow-ms", type=int, default=0)
    asked = parser.parse_args()
    sys.path.insert(0, str(asked.example))
    agent: Any = importlib.import_module("agent")
    app = agent.build(data=asked.data, books=asked.books, model=asked.model, slow_ms=asked.slow_ms)
    tickets = [agent.Ticket.parse(path.read_text()) for path in sorted((asked.example / "tickets").glob("*.txt"))]
    asyncio.run(_work(app, tickets))


async def _work(app: Any, tickets: list[Any]) -> None:
    async with app.gate() as gate, ControlServer(app.data, gate.desk):
        waiting = []
        for ticket in tickets:
            run = await gate.start(
                "support",
                ticket,
                key=f"ticket:{ticket.id}",
                on_behalf_of=f"customer:{ticket.sender}",
                resources=ticket.resources,
            )
            _tell("started", ticket, run=run)
            ended = asyncio.create_task(_settle(gate, ticket, run))
            while not ended.done() and not _held(gate, ticket, run):
                await asyncio.wait({ended}, timeout=_LOOK_S)
            if not ended.done():
                waiting.append(ended)
        _tell("worked through")
        await asyncio.gather(*waiting)


async def _settle(gate: Gate, ticket: Any, run: RunId) -> None:
    try:
        _tell("ended", ticket, run=run, result=await gate.result(run))
    except AnswerableError as error:
        _tell("failed", ticket, run=run, error=error.message)


def _held(gate: Gate, ticket: Any, run: RunId) -> bool:
    for approval in gate.approvals.list():
        if approval.run == run:
            _tell("held", ticket, run=run, approval=approval.approval, role=approval.role)
            return True
    return False


def _tell(what: str, ticket: Any = None, **said: Any) -> None:
    about = {"ticket": ticket.id, "order": ticket.order, "subject": ticket.subject} if ticket else {}
    sys.stdout.write(json.dumps({"what": what, **about, **said}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
