"""`answerable kill SCOPE`."""

from typing import Annotated

import typer

from answerable.cli._desk import stops_of, write
from answerable.cli._options import DATA, AsJson, By, Data, Reason
from answerable.cli._say import columns, say
from answerable.cli._tenant import tenant
from answerable.ledger import Reader

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)
_HEADER = ("RUN", "STEP", "ACTION", "TARGET", "SINCE", "UNDONE BY")


@command.command()
def kill(
    scope: Annotated[
        str,
        typer.Argument(
            metavar="[SCOPE]",
            help="`run:ID`, `agent:ID`, `tool:NAME`, `tool:SERVER.*`, `model:NAME`, `model:PROVIDER:*`, `tenant` or "
            "`all`; without one, what is stopped now is listed.",
            show_default=False,
        ),
    ] = "",
    reason: Reason = "",
    by: By = "",
    lift: Annotated[bool, typer.Option("--lift", help="Let actions in the scope through again.")] = False,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Refuse every further action in a scope, from the next one on. Effects already dispatched go on."""
    if not scope:
        stops = stops_of(Reader.open(data)).standing(tenant=tenant())
        rows = [(stop.scope, stop.since[:19], stop.by, stop.reason) for stop in stops]
        say(
            stops,
            columns(("SCOPE", "SINCE", "BY", "REASON"), rows) if rows else ["nothing is stopped"],
            as_json=as_json,
        )
        return
    if not reason or not by:
        raise typer.BadParameter("say who you are and why: `--as NAME --reason TEXT`; both go on the record")
    said = write(data, lambda desk: (desk.lift if lift else desk.stop)(scope=scope, reason=reason, by=by))
    lines = [f"{said['scope']}: {said['state']}"]
    under_way = said.get("inFlight", ())
    if under_way:
        lines += ["dispatched before, and not heard of yet:", *columns(_HEADER, [_row(each) for each in under_way])]
    say(said, lines, as_json=as_json)


def _row(each: dict[str, str]) -> tuple[str, ...]:
    undone_by = each["compensation"] or "nothing declared"
    return each["run"], each["step"], each["action"], each["target"], each["since"][:19], undone_by
