"""`answerable why RECEIPT|RUN|ORDER`."""

from typing import Annotated

import typer

from answerable.cli._options import DATA, AsJson, Data, Specs
from answerable.cli._say import say
from answerable.cli._tenant import tenant
from answerable.ledger import Reader
from answerable.standing import load_specs, trail_lines, why

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)


@command.command()
def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT", help="`rcpt_…`, `run_…`, `appr_…`, `sha256:…` or a name: `order:1001`.", show_default=False
        ),
    ],
    specs: Specs = None,
    pseudonyms: Annotated[bool, typer.Option("--pseudonyms", help="Do not unseal the names of people.")] = False,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Walk from an artefact back to the action, the decision, the person, the policy and the clause behind it."""
    trail = why(
        Reader.open(data),
        what,
        specs=load_specs(specs) if specs else None,
        tenant=tenant(),
        is_disclosing=not pseudonyms,
    )
    say(trail.to_json(), trail_lines(trail), as_json=as_json)
