"""`answerable spec check RUN`."""

from typing import Annotated

import typer

from answerable.cli._ids import kept_runs
from answerable.cli._options import DATA, AsJson, Data, Specs
from answerable.cli._say import say
from answerable.cli._tenant import own_run, tenant
from answerable.ledger import Reader
from answerable.standing import check_record, load_specs, verdict_lines

__all__ = ["command"]

command = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Hold runs against the specifications that govern them."
)


@command.callback()
def _group() -> None:
    pass


@command.command()
def check(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN…", autocompletion=kept_runs, help="All runs, if none is named.", show_default=False
        ),
    ] = None,
    specs: Specs = None,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Say for each clause whether the record satisfies it, and which receipts show it.

    Exit 1: a clause is violated. Exit 3: none is, and one cannot be told.
    """
    reader = Reader.open(data)
    verdicts = check_record(
        reader,
        [own_run(reader, run, data=data).run for run in runs] if runs else None,
        specs=load_specs(specs) if specs else None,
        tenant=tenant(),
    )
    say([verdict.to_json() for verdict in verdicts], verdict_lines(verdicts), as_json=as_json)
    found = {verdict.verdict for verdict in verdicts}
    raise typer.Exit(1 if "violated" in found else 3 if "undetermined" in found or not found else 0)
