"""`answerable rebuild`."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from answerable.app import all_projections
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import columns, say
from answerable.ledger import TableRebuilt, compare, rebuild

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)
_MOST_SHOWN = 5


@command.command()
def rebuild_tables(
    check: Annotated[
        bool, typer.Option("--check", help="Only compare, and change nothing; a gate may run meanwhile.")
    ] = False,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Make every table anew from the receipts alone, and say where the live ones differed.

    Needs the data directory to itself, but for `--check`. Exit 1: a table was not what the receipts say;
    unless it was only to be compared, now it is.
    """
    found = (compare if check else rebuild)(data, all_projections())
    rows = [
        (each.table, each.rows, "equal" if each.is_equal else f"{len(each.missing)} missing, {len(each.extra)} extra")
        for each in found
    ]
    value = [
        {"table": each.table, "rows": each.rows, "missing": len(each.missing), "extra": len(each.extra)}
        for each in found
    ]
    header = ("TABLE", "ROWS", f"LIVE TABLE {'IS' if check else 'WAS'}")
    say(value, [*columns(header, rows), *_differences(found)], as_json=as_json)
    raise typer.Exit(0 if all(each.is_equal for each in found) else 1)


def _differences(found: Sequence[TableRebuilt]) -> Iterator[str]:
    """The first rows of each table that differ, by name."""
    for each in found:
        for what, rows in (("missing", each.missing), ("extra", each.extra)):
            yield from (f"{each.table}: {what} {row!r}" for row in rows[:_MOST_SHOWN])
            if len(rows) > _MOST_SHOWN:
                yield f"{each.table}: and {len(rows) - _MOST_SHOWN} more {what}"
