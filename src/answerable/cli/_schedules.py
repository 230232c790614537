"""`answerable schedules list|pause|resume`."""

from typing import Annotated, Literal

import typer

from answerable.cli._desk import write
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._orders import Name, Why
from answerable.cli._say import columns, say
from answerable.cli._tenant import tenant
from answerable.ledger import Reader
from answerable.runtime import list_schedules

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="List, pause and resume schedules.")

Schedule = Annotated[str, typer.Argument(metavar="SCHEDULE", show_default=False)]


@command.command("list")
def list_all(data: Data = DATA, as_json: AsJson = False) -> None:
    """List schedules, and the last due time that was dealt with."""
    found = list_schedules(Reader.open(data), tenant=tenant())
    rows = [(each.name, each.state, each.rule, f"{each.last:%Y-%m-%d %H:%M:%S}") for each in found]
    lines = columns(("SCHEDULE", "STATE", "STARTS", "LAST (UTC)"), rows) if rows else ["no schedule yet"]
    say(found, lines, as_json=as_json)


@command.command()
def pause(name: Schedule, by: Name, reason: Why, data: Data = DATA, as_json: AsJson = False) -> None:
    """Start nothing by a schedule until it is resumed."""
    _order("pause", name, by, reason, data, as_json=as_json)


@command.command()
def resume(name: Schedule, by: Name, reason: Why, data: Data = DATA, as_json: AsJson = False) -> None:
    """Start again what is due from now on."""
    _order("resume", name, by, reason, data, as_json=as_json)


def _order(do: Literal["pause", "resume"], name: str, by: str, reason: str, data: Data, *, as_json: bool) -> None:
    said = write(data, lambda desk: desk.schedule(do=do, name=name, by=by, reason=reason))
    say(said, [f"{name}: {said['state']}"], as_json=as_json)
