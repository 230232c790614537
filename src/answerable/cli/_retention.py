"""`answerable retention`."""

from typing import Annotated, Any

import typer

from answerable.cli._application import ConfigFile, DataInstead, find_application
from answerable.cli._desk import write
from answerable.cli._options import AsJson
from answerable.cli._say import columns, say

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)


@command.command()
def retention(
    place: Annotated[
        str,
        typer.Argument(
            metavar="[MODULE:APP]", help="Where the application is, if not in `answerable.toml`.", show_default=False
        ),
    ] = "",
    now: Annotated[bool, typer.Option("--now", help="Drop it now. A gate does every hour.")] = False,
    config: ConfigFile = None,
    data: DataInstead = None,
    as_json: AsJson = False,
) -> None:
    """Show how long texts are kept once their run is over, and what is due to be dropped; or drop it.

    Receipts stay. What is under a legal hold, or may still be needed by an open run, is kept.
    """
    app = find_application(place, config, data=data).app
    rules: list[dict[str, Any]] = [
        {"keep_s": each.keep.total_seconds(), "texts": each.texts, "agent": each.agent, "tenant": each.tenant}
        for each in app.retention
    ]
    found: Any = write(app.data, lambda desk: desk.retain(rules=rules, rehearsal=not now))
    header = ("TENANT", "TEXTS", "AGENT", "KEPT FOR", "RUNS", "DROPPED" if now else "DUE", "HELD OR NEEDED")
    rows = [
        (
            each["tenant"],
            each["texts"],
            each["agent"] or "any",
            _days(each["keep_s"]),
            each["runs"],
            each["dropped"],
            len(each["kept"]),
        )
        for each in found
    ]
    say(found, columns(header, rows), as_json=as_json)


def _days(seconds: float) -> str:
    return f"{seconds / 86_400:g} d"
