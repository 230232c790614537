"""`answerable runs list|show|signal`, and what `_orders` adds: everything that changes a run's course."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

from answerable.cli._checking import command as checking
from answerable.cli._desk import json_value, write
from answerable.cli._ids import RunArgument
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._orders import command as orders
from answerable.cli._say import ago, columns, say
from answerable.cli._tenant import own_run, tenant
from answerable.core import RunId, Usage, parse_time
from answerable.ledger import History, ObjectErased, Reader, Receipt
from answerable.runtime import find_order, links_from, list_runs

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="List, show, signal and control runs.")


@command.command("list")
def list_all(
    most: Annotated[int, typer.Option("--most", help="At most so many, the newest.", min=1)] = 50,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first."""
    reader = Reader.open(data)
    found = list_runs(reader, tenant=tenant(), most=most)
    now = datetime.now(UTC)
    rows = [(run.run, run.agent, run.state, ago(parse_time(run.started), now), run.error or "") for run in found]
    lines = columns(("RUN", "AGENT", "STATE", "STARTED", "ERROR"), rows) if rows else ["no run yet"]
    say([asdict(run) for run in found], lines, as_json=as_json)


@command.command()
def show(run: RunArgument, data: Data = DATA, as_json: AsJson = False) -> None:
    """Show a run: what was asked, done and answered, what it cost, and what waits for a person."""
    reader = Reader.open(data)
    row = own_run(reader, run, data=data)
    receipts = reader.receipts(run=RunId(run))
    history = reader.outline(RunId(run))
    doubts, usage = _doubts(reader, history), _usage(receipts)
    closed = reader.find(row.result) if row.result else None
    asked, result = _text(reader, receipts[0], "input"), _text(reader, closed, "output") if closed else None
    order = find_order(reader, RunId(run))
    origin: dict[str, Any] | None = history.opened["control"].get("origin")
    gave = links_from(reader, RunId(run))
    value = {
        **asdict(row),
        "input": asked,
        "result": result,
        "usage": usage.to_json(),
        "receipts": len(receipts),
        "doubts": doubts,
        "order": asdict(order) if order else None,
        "origin": origin,
        "gave": [asdict(link) for link in gave],
        "waiting": [step for step in history.held if step not in history.finals],
    }
    lines = [
        f"{run}  {row.agent}  {row.state}" + (f"  {row.error}" if row.error else ""),
        f"  asked    {json.dumps(asked, ensure_ascii=False)}",
        f"  started  {row.started[:19]}" + (f", ended {row.ended[:19]}" if row.ended else ""),
        f"  used     {usage.tokens} tokens, {usage.cost_nano_usd / 1e9:.4f} USD; {len(receipts)} receipts",
    ]
    if row.result:
        lines.append(f"  result   {json.dumps(result, ensure_ascii=False)}")
    if origin:
        lines.append(f"  from     {origin['run']} by {origin['how']}: {origin.get('reason', '')}".rstrip(": "))
    lines += [f"  gave     {link.run} by {link.how}" for link in gave]
    if order:
        lines.append(f"  {'paused' if order.do == 'pause' else 'killed'} since {order.since[:19]}: {order.reason}")
    lines += [f"  {_line(receipt.predicate)}" for receipt in receipts if "action" in receipt.predicate]
    for doubt in doubts:
        lines.append(f"  in doubt: {doubt['name']} (step {doubt['step']}): nobody knows whether it happened; settle it")
        lines.append(f"    with `answerable runs resolve {run} {doubt['step']} --happened|--did-not-happen --as NAME`")
    say(value, lines, as_json=as_json)


@command.command()
def signal(
    run: RunArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)],
    payload: Annotated[str, typer.Argument(metavar="[JSON]", help="JSON, `@FILE` or `-`.")] = "null",
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Send a named signal to a run."""
    value = json_value("JSON", payload)
    said = write(data, lambda desk: desk.signal(run=run, name=name, payload=value))
    say(said, [f"{run}: {name} sent"], as_json=as_json)


command.add_typer(orders)
command.add_typer(checking)


def _doubts(reader: Reader, history: History) -> list[dict[str, Any]]:
    found = []
    for step, intent in history.intents.items():
        receipt = reader.find(intent.receipt)
        if receipt is not None and step not in history.finals and not intent.is_written_off:
            name = receipt.predicate["action"]["name"]
            found.append({"step": step, "attempt": intent.attempt, "intent": intent.receipt, "name": name})
    return found


def _usage(receipts: list[Receipt]) -> Usage:
    total = Usage()
    for receipt in receipts:
        total += Usage.from_json(receipt.predicate.get("usage", {}))
    return total


def _text(reader: Reader, receipt: Receipt, which: Literal["input", "output"]) -> Any:
    try:
        return json.loads(getattr(reader.text(receipt), which) or b"null")
    except ObjectErased:
        return "erased"


def _line(said: dict[str, Any]) -> str:
    action = said["action"]
    status = said.get("effect", {}).get("status", "") or said.get("authority", {}).get("decision", "")
    what = " ".join(filter(None, [action["name"], action.get("target", "")]))
    return f"{said['seq']:>4}  {said['at'][11:19]}  {said['phase']:<11} {status:<8} {what:<34} {said['id']}"
