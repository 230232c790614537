"""`answerable evidence export RUN …`."""

from pathlib import Path
from typing import Annotated

import typer

from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import say
from answerable.core import RunId
from answerable.ledger import Reader, export_bundle, write_trust

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Export evidence that others can verify.")


@command.command()
def export(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="The runs to show.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="A file, or a directory to put `<run>.evidence.zip` in.")] = Path(),
    trust: Annotated[
        Path | None, typer.Option("--trust-out", metavar="FILE", help="Also write this gate's keys as a trust file.")
    ] = None,
    withhold: Annotated[bool, typer.Option("--withhold", help="Leave the texts out: commitments only.")] = False,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Write the evidence of runs as one ZIP, with `VERIFY.sh` and a page that tells the story.

    Whoever verifies it needs this gate's keys by a way they trust: `--trust-out` writes them.
    """
    reader = Reader.open(data)
    path = export_bundle(reader, [RunId(run) for run in runs], out, disclose=not withhold)
    written = {"bundle": str(path), "runs": runs}
    lines = [str(path)]
    if trust is not None:
        written["trust"] = str(write_trust(reader, trust))
        lines.append(f"{trust}: give it to the verifier by a way they trust, not with the bundle")
    say(written, lines, as_json=as_json)


@command.command("trust")
def trust_file(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path("trust.toml"),
    data: Data = DATA,
) -> None:
    """Write this gate's and log's public keys as a trust file."""
    typer.echo(write_trust(Reader.open(data), out))
