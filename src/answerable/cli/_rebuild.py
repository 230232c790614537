"""`answerable rebuild`."""

import typer

from answerable.app import all_projections
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import columns, say
from answerable.ledger import rebuild

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)


@command.command()
def rebuild_tables(data: Data = DATA, as_json: AsJson = False) -> None:
    """Make every table anew from the receipts alone, and say where the live ones differed.

    Needs the data directory to itself. Exit 1: a table was not what the receipts say; now it is.
    """
    found = rebuild(data, all_projections())
    rows = [
        (each.table, each.rows, "equal" if each.is_equal else f"{len(each.missing)} missing, {len(each.extra)} extra")
        for each in found
    ]
    value = [
        {"table": each.table, "rows": each.rows, "missing": len(each.missing), "extra": len(each.extra)}
        for each in found
    ]
    say(value, columns(("TABLE", "ROWS", "LIVE TABLE WAS"), rows), as_json=as_json)
    raise typer.Exit(0 if all(each.is_equal for each in found) else 1)
