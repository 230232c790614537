"""`answerable runs check`: stored runs against the code that is about to be deployed."""

import asyncio
from typing import Annotated

import typer

from answerable.cli._application import ConfigFile, DataInstead, find_application
from answerable.cli._ids import kept_runs
from answerable.cli._options import AsJson
from answerable.cli._say import columns, say
from answerable.cli._tenant import own_run, tenant
from answerable.ledger import Reader

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)

_INCONCLUSIVE = 3


@command.command()
def check(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]…", autocompletion=kept_runs, help="All open ones, if none are named.", show_default=False
        ),
    ] = None,
    against: Annotated[
        str, typer.Option("--against", metavar="MODULE:APP", help="The code, if not that of `answerable.toml`.")
    ] = "",
    ended: Annotated[bool, typer.Option("--ended", help="Runs that are over, too.")] = False,
    most: Annotated[int, typer.Option("--most", help="At most so many, the newest.", min=1)] = 1000,
    config: ConfigFile = None,
    data: DataInstead = None,
    as_json: AsJson = False,
) -> None:
    """Replay stored runs by the code of today, doing nothing, and list those that part from it.

    Exit code 1: some would end with `execution.replay_diverged`, end otherwise, get stuck or have no agent. 3: none of
    these, but some would ask something anew, and nobody can tell what follows.
    """
    from answerable.app import check_runs

    found = find_application(against, config, data=data)
    reader = Reader.open(found.app.data)
    named = [own_run(reader, run, data=found.app.data).run for run in runs or ()]
    said = asyncio.run(check_runs(found.app, reader, named, tenant=tenant(), ended=ended, most=most))
    parted = [each for each in said if each.verdict != "same"]
    rows = [(each.run, each.agent, each.verdict, each.seq, each.expected, each.came) for each in parted]
    lines = columns(("RUN", "AGENT", "VERDICT", "AT", "EXPECTED", "CAME"), rows) if rows else []
    say(said, [*lines, f"{len(said) - len(parted)} of {len(said)} runs go on as before"], as_json=as_json)
    if parted:
        raise typer.Exit(_INCONCLUSIVE if {each.verdict for each in parted} == {"anew"} else 1)
