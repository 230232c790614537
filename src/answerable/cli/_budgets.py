"""`answerable budgets`."""

from dataclasses import asdict
from typing import Annotated

import typer

from answerable.cli._application import ConfigFile, DataInstead, find_application
from answerable.cli._options import AsJson
from answerable.cli._say import columns, say
from answerable.core import SystemClock
from answerable.ledger import Reader
from answerable.policy import reserved_by, spending

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)


@command.command()
def budgets(
    place: Annotated[
        str,
        typer.Argument(
            metavar="[MODULE:APP]", help="Where the application is, if not in `answerable.toml`.", show_default=False
        ),
    ] = "",
    runs: Annotated[
        list[str] | None, typer.Option("--run", metavar="RUN", help="The limits of this run, too.", show_default=False)
    ] = None,
    config: ConfigFile = None,
    data: DataInstead = None,
    as_json: AsJson = False,
) -> None:
    """See what is spent, reserved and left of each budget, and what holds the reservations.

    What a lost call reserved stays reserved, because it may have been used. It is released or spent once its outcome
    is known: `answerable runs resolve`.
    """
    app = find_application(place, config, data=data).app
    reader = Reader.open(app.data)
    found = spending(reader.rows, app.budgets, clock=SystemClock(), runs=runs or ())
    held = reserved_by(reader.rows, reader)
    rows = [
        (each.scope, each.dimension, *(each.said(n) for n in (each.spent, each.reserved, each.left, each.limit)))
        for each in found
    ]
    lines = columns(("BUDGET", "OF", "SPENT", "RESERVED", "LEFT", "LIMIT"), rows)
    if held:
        fate = [
            (
                each.run,
                each.step,
                each.action,
                each.scope,
                each.dimension,
                each.amount,
                "unknown" if each.is_unknown else "under way",
            )
            for each in held
        ]
        lines += ["", *columns(("RUN", "STEP", "ACTION", "BUDGET", "OF", "RESERVED", "FATE"), fate)]
    value = {
        "budgets": [{**asdict(each), "left": each.left} for each in found],
        "reserved": [asdict(each) for each in held],
    }
    say(value, lines, as_json=as_json)
