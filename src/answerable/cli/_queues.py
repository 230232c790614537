"""`answerable queues list|show`."""

from typing import Annotated

import typer

from answerable.cli._errors import NotOnRecord
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import columns, say
from answerable.cli._tenant import tenant
from answerable.ledger import Reader
from answerable.runtime import QueueRow, list_queues, runs_in_line

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="List and show queues.")

_HEADER = ("QUEUE", "WAIT", "RUN", "REST", "AT ONCE", "BEGIN", "MAY WAIT", "PRIORITY")


@command.command("list")
def list_all(data: Data = DATA, as_json: AsJson = False) -> None:
    """List queues: runs that wait to begin, run and rest, and the limits on them."""
    found = list_queues(Reader.open(data).rows, tenant=tenant())
    say(found, columns(_HEADER, map(_cells, found)), as_json=as_json)


@command.command()
def show(
    scope: Annotated[str, typer.Argument(metavar="QUEUE", help="`agent:NAME` or `tenant`.", show_default=False)],
    most: Annotated[int, typer.Option("--most", help="At most so many runs.", min=1)] = 20,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Show a queue, and the runs that are next in it."""
    reader = Reader.open(data)
    found = next((row for row in list_queues(reader.rows, tenant=tenant()) if row.scope == scope), None)
    if found is None:
        raise NotOnRecord(thing="queue", name=scope, data=str(data))
    following = runs_in_line(reader.rows, tenant=tenant(), agent=scope.partition(":")[2], most=most)
    lines = columns(_HEADER, [_cells(found)])
    lines += [f"  next     {run.run}  priority {run.priority}  since {run.opened[:19]}" for run in following]
    say({"queue": found, "next": following}, lines, as_json=as_json)


def _cells(row: QueueRow) -> tuple[object, ...]:
    rate = f"{row.rate} in {row.period_s} s" if row.rate else "-"
    now = (row.waits, row.runs, row.rests)
    return (row.scope, *now, row.concurrency or "-", rate, row.waiting or "-", row.priority)
