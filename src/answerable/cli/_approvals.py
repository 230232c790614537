"""`answerable approvals list|show|approve|reject`."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from answerable import policy
from answerable.cli._desk import approvals_of, json_value, write
from answerable.cli._explained import told_terms
from answerable.cli._ids import ApprovalArgument
from answerable.cli._options import DATA, AsJson, By, Data, Reason
from answerable.cli._say import ago, columns, say
from answerable.cli._tenant import tenant
from answerable.core import Money
from answerable.identity import read_public_key, sign_with_file
from answerable.ledger import Reader
from answerable.server import Writes

__all__ = ["command", "told_origins", "what_of"]

_FROM = {
    "user": "the user wrote it",
    "trusted": "a trusted source",
    "named": "a record that the user named",
    "dropped": "vouched for by a person",
    "untrusted": "UNTRUSTED: a result that nobody vouches for",
    "unknown": "UNTRUSTED: it stands nowhere on the record, the model made it up",
}

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="See what waits for a person, and decide it.")

Roles = Annotated[
    list[str] | None,
    typer.Option("--role", metavar="ROLE", help="A role you act in; may be given more than once.", show_default=False),
]
Sign = Annotated[
    Path | None,
    typer.Option("--sign", metavar="KEYFILE", help="Sign with this P-256 private key (PEM) of yours.", dir_okay=False),
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
    found = approvals.list(state=None if every else "waiting", tenant=tenant())
    now = datetime.now(UTC)
    rows = []
    for each in found:
        action = approvals.show(each.approval, tenant=tenant()).action
        rows.append((each.approval, each.state, what_of(action), each.role, ago(each.asked, now), ago(each.due, now)))
    lines = columns(("APPROVAL", "STATE", "WHAT", "ROLE", "ASKED", "DUE"), rows) if rows else ["nothing waits"]
    say([asdict(each) for each in found], lines, as_json=as_json)


@command.command()
def show(approval: ApprovalArgument, data: Data = DATA, as_json: AsJson = False) -> None:
    """Show exactly what an approval would let through."""
    reader = Reader.open(data)
    found = approvals_of(reader).show(approval, tenant=tenant())
    asked = found.approval
    arguments = json.loads(found.arguments) if found.arguments is not None else None
    lines = [
        f"{asked.approval}  {asked.state}",
        f"  what      {what_of(found.action)}",
        f"  agent     {asked.agent}, in {asked.run}",
        f"  asked by  {_asker(reader, asked) or 'nobody that was named'}",
        f"  held by   {', '.join(found.rules) or 'the agent itself'}",
        f"  needs     {told_terms(asked.terms, stage=asked.stage)}",
        f"  asked     {asked.asked:%Y-%m-%d %H:%M:%S} UTC, due {asked.due:%Y-%m-%d %H:%M:%S} UTC{_left(asked)}",
        f"  digest    {asked.digest}",
    ]
    if asked.terms.n > 1:
        lines.append(f"  so far    {asked.votes} of {asked.terms.n}")
    if asked.reason:
        lines.append(f"  reason    {asked.reason}")
    passages: list[policy.Passage] = []
    if arguments is None:
        lines.append("  arguments erased")
    else:
        passages = policy.passages_of(reader, found.receipt, found.arguments or b"{}")
        lines += [f"  {name:<18} {json.dumps(value, ensure_ascii=False)}" for name, value in arguments.items()]
        lines += told_origins(found.provenance, passages)
    value = {**asdict(asked), "action": found.action, "rules": found.rules, "arguments": arguments}
    value |= {
        "askedBy": _asker(reader, asked),
        "provenance": found.provenance,
        "passages": [each.to_json() for each in passages],
    }
    say(value, lines, as_json=as_json)


@command.command()
def approve(
    approval: ApprovalArgument,
    by: By,
    role: Roles = None,
    reason: Reason = "",
    edit: Annotated[
        str,
        typer.Option("--edit", metavar="JSON", help="Approve it with these arguments instead; the gate must run."),
    ] = "",
    for_run: Annotated[
        bool, typer.Option("--for-run", help="The same for the rest of the run: this target, up to this amount.")
    ] = False,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            metavar="VALUE",
            help="And vouch for this value in critical arguments of the rest of the run; may be given more than once.",
            show_default=False,
        ),
    ] = None,
    sign: Sign = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Let the held action through, exactly as it is shown."""
    arguments = json_value("--edit", edit) if edit else None
    answer = {"decision": "approve", "reason": reason, "scope": "run" if for_run else "action", "arguments": arguments}
    answer |= {"also": also} if also else {}
    _decide(approval, answer, by, role, sign, data=data, as_json=as_json)


@command.command()
def reject(
    approval: ApprovalArgument,
    by: By,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; the agent is told.")],
    role: Roles = None,
    sign: Sign = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Refuse the held action."""
    _decide(approval, {"decision": "reject", "reason": reason}, by, role, sign, data=data, as_json=as_json)


def _decide(
    approval: str,
    answer: dict[str, Any],
    by: str,
    role: list[str] | None,
    sign: Path | None,
    *,
    data: Any,
    as_json: bool,
) -> None:
    roles = role or os.environ.get("ANSWERABLE_ROLES", "").split()

    async def decide(desk: Writes) -> Any:
        signature = None
        if sign is not None:
            key = hashlib.sha256(read_public_key(sign)).hexdigest()
            signed = {name: value for name, value in answer.items() if name != "also"}
            said = await desk.statement(approval=approval, key=key, **signed)
            signature = sign_with_file(sign, said["statement"].encode())
        return await desk.decide(approval=approval, by=by, roles=roles, signature=signature, **answer)

    said = write(data, decide)
    more = f"  {said['votes']} of {said['of']}" if said["state"] == "waiting" else ""
    say(said, [f"{said['approval']}: {said['state']}  {said['receipt']}{more}"], as_json=as_json)


def _asker(reader: Reader, asked: policy.Approval) -> str:
    """Who asked for the run, by name where its texts are still there."""
    opened = reader.find(reader.opened(asked.run)["id"])
    said = json.loads((reader.text(opened).output if opened else None) or b"{}")
    return str(said.get("onBehalfOf") or asked.initiator)


def _left(asked: policy.Approval) -> str:
    """How long there is still to answer, and what happens then."""
    if asked.state != "waiting":
        return ""
    later = asked.terms.escalates_to[asked.stage :]
    return f", {ago(asked.due, datetime.now(UTC))}: then {f'{later[0]} is asked' if later else 'it is refused'}"


def told_origins(provenance: Sequence[Mapping[str, Any]], passages: Sequence[policy.Passage]) -> list[str]:
    """Where critical arguments come from, and the arguments as a diff against what the run was told."""
    lines = ["  comes from"] if provenance else []
    for each in provenance:
        where = f", in {', '.join(each['receipts'])}" if "receipts" in each else ""
        lines.append(f"    {each['argument']:<16} {_FROM[each['from']]}{where}")
    if any(each.by == "result" for each in passages):
        lines.append("  said by   (+ the model, ! a result that nobody vouches for, ~ another result, = the request)")
        for passage in passages:
            sign = {"model": "+", "input": "="}.get(passage.by, "!" if passage.is_untrusted else "~")
            source = f"   <- {passage.tool} {passage.receipt}" if passage.by == "result" else ""
            said = json.dumps(passage.text.strip(), ensure_ascii=False)
            lines.append(f"  {sign} {passage.argument}: {said}{source}")
    return lines


def what_of(action: dict[str, Any]) -> str:
    """An action in a few words: its name, what it acts on, how much."""
    amount = action.get("amount")
    money = str(Money(amount["minor"], amount["currency"])) if amount else ""
    return " ".join(filter(None, [action["name"], action.get("target", ""), money]))
