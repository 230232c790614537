"""What a stop comes too late for: effects dispatched whose outcome is not on the record."""

from collections.abc import Iterator
from dataclasses import dataclass

from answerable.core import Effect, RunId, TenantId
from answerable.ledger import Reader
from answerable.policy import is_in_scope
from answerable.runtime import list_runs
from answerable.tools import Toolbox, ToolUnknown

__all__ = ["InFlight", "in_flight"]

_MOST_RUNS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """An effect that may have happened, or may yet.

    Args:
        since: when it was let through, RFC 3339.
        compensation: the tool that undoes it, as it is declared; empty where none is, or no gate runs.
    """

    run: str
    step: str
    action: str
    target: str
    receipt: str
    since: str
    compensation: str = ""


def in_flight(
    reader: Reader, scope: str, *, tools: Toolbox | None = None, tenant: TenantId = TenantId("default")
) -> Iterator[InFlight]:
    """Writes in a scope (as `answerable kill` names it) that have an intent and no outcome, the oldest run last."""
    for row in list_runs(reader, tenant=tenant, most=_MOST_RUNS):
        if row.state == "open":
            yield from _of_run(reader, row.run, scope, tools)


def _of_run(reader: Reader, run: RunId, scope: str, tools: Toolbox | None) -> Iterator[InFlight]:
    standing: dict[str, InFlight] = {}
    for receipt in reader.receipts(run=run):
        said = receipt.predicate
        step = said.get("step", "")
        if receipt.phase == "intent":
            action = said["action"]
            if action["effect"] != Effect.READ and is_in_scope(
                scope, run=run, agent=said["agent"]["id"], kind=action["kind"], name=action["name"]
            ):
                standing[step] = InFlight(
                    run=run,
                    step=step,
                    action=action["name"],
                    target=action.get("target", ""),
                    receipt=said["id"],
                    since=said["at"],
                    compensation=_compensation(tools, action["name"]) if action["kind"] == "tool" else "",
                )
        elif receipt.phase == "outcome" or said.get("control", {}).get("do") == "write-off":
            standing.pop(step, None)
    yield from standing.values()


def _compensation(tools: Toolbox | None, name: str) -> str:
    try:
        return tools.tool(name).declaration.compensate or "" if tools else ""
    except ToolUnknown:
        return ""
