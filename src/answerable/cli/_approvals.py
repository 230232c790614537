"""`answerable approvals list|show|approve|reject`."""

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

from answerable.cli._desk import approvals_of, write
from answerable.cli._options import DATA, AsJson, By, Data, Reason
from answerable.cli._say import ago, columns, say
from answerable.core import Money
from answerable.ledger import Reader

__all__ = ["command", "what_of"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="See what waits for a person, and decide it.")

Approval = Annotated[str, typer.Argument(metavar="APPROVAL", show_default=False)]
Roles = Annotated[
    list[str] | None,
    typer.Option("--role", metavar="ROLE", help="A role you act in; may be given more than once.", show_default=False),
]


@command.command("list")
def list_approvals(
    every: Annotated[bool, typer.Option("--all", help="Those already decided, too.")] = False,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """List what waits for a person, oldest first."""
    reader = Reader.open(data)
    approvals = approvals_of(reader)
    found = approvals.list(state=None if every else "waiting")
    now = datetime.now(UTC)
    rows = []
    for each in found:
        action = approvals.show(each.approval).action
        rows.append((each.approval, each.state, what_of(action), each.role, ago(each.asked, now), ago(each.due, now)))
    lines = columns(("APPROVAL", "STATE", "WHAT", "ROLE", "ASKED", "DUE"), rows) if rows else ["nothing waits"]
    say([asdict(each) for each in found], lines, as_json=as_json)


@command.command()
def show(approval: Approval, data: Data = DATA, as_json: AsJson = False) -> None:
    """Show exactly what an approval would let through."""
    found = approvals_of(Reader.open(data)).show(approval)
    asked = found.approval
    arguments = json.loads(found.arguments) if found.arguments is not None else None
    lines = [
        f"{asked.approval}  {asked.state}",
        f"  what      {what_of(found.action)}",
        f"  agent     {asked.agent}, in {asked.run}",
        f"  held by   {', '.join(found.rules) or 'the agent itself'}",
        f"  needs     {asked.role}" + (", not the initiator" if asked.not_initiator else ""),
        f"  asked     {asked.asked:%Y-%m-%d %H:%M:%S} UTC, due {asked.due:%Y-%m-%d %H:%M:%S} UTC",
        f"  digest    {asked.digest}",
    ]
    if asked.reason:
        lines.append(f"  reason    {asked.reason}")
    if arguments is None:
        lines.append("  arguments erased")
    else:
        lines += [f"  {name:<18} {json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items()]
    value = {**asdict(asked), "action": found.action, "rules": found.rules, "arguments": arguments}
    say(value, lines, as_json=as_json)


@command.command()
def approve(
    approval: Approval,
    by: By,
    role: Roles = None,
    reason: Reason = "",
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Let the held action through, exactly as it is shown."""
    _decide(approval, "approve", by, role, reason, data=data, as_json=as_json)


@command.command()
def reject(
    approval: Approval,
    by: By,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; the agent is told.")],
    role: Roles = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Refuse the held action."""
    _decide(approval, "reject", by, role, reason, data=data, as_json=as_json)


def _decide(
    approval: str,
    decision: Literal["approve", "reject"],
    by: str,
    role: list[str] | None,
    reason: str,
    *,
    data: Any,
    as_json: bool,
) -> None:
    roles = role or os.environ.get("ANSWERABLE_ROLES", "").split()
    said = write(
        data, lambda desk: desk.decide(approval=approval, decision=decision, by=by, roles=roles, reason=reason)
    )
    say(said, [f"{said['approval']}: {said['state']}  {said['receipt']}"], as_json=as_json)


def what_of(action: dict[str, Any]) -> str:
    """An action in a few words: its name, what it acts on, how much."""
    amount = action.get("amount")
    money = str(Money(amount["minor"], amount["currency"])) if amount else ""
    return " ".join(filter(None, [action["name"], action.get("target", ""), money]))
