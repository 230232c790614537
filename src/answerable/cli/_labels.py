"""`answerable labels show|drop`."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from answerable.cli._desk import labels_of, write
from answerable.cli._ids import RunArgument
from answerable.cli._options import DATA, AsJson, By, Data
from answerable.cli._say import columns, say
from answerable.ledger import Reader

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="See what labels a run carries, and drop one.")


@command.command()
def show(run: RunArgument, data: Data = DATA, as_json: AsJson = False) -> None:
    """List the labels that a run carries, what brought each, and which were dropped."""
    found = labels_of(Reader.open(data)).of(run)
    rows = [
        (each.label, "dropped" if each.dropped else "carried", each.receipts[0], str(len(each.receipts)))
        for each in found
    ]
    lines = columns(("LABEL", "STATE", "FIRST BROUGHT BY", "TIMES"), rows) if rows else ["it carries no label"]
    say([asdict(each) for each in found], lines, as_json=as_json)


@command.command()
def drop(
    run: RunArgument,
    by: By,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes on the record.")],
    label: Annotated[
        list[str] | None, typer.Argument(metavar="[LABEL]...", help="Labels to take off.", show_default=False)
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(
            "--value",
            metavar="TEXT",
            help="A value to vouch for in this run's critical arguments; may be given more than once.",
            show_default=False,
        ),
    ] = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Take labels off a run, or vouch for values: a decision with your name and reason on the record."""

    async def drop(desk: Any) -> Any:
        return await desk.declassify(run=run, labels=label or [], values=value or [], by=by, reason=reason)

    said = write(data, drop)
    what = [*said["labels"], *([f"{said['values']} values"] if said["values"] else [])]
    say(said, [f"{run}: dropped {', '.join(what)}  {said['receipt']}"], as_json=as_json)
