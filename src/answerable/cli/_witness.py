"""`answerable witness …`: watch other people's logs, and sign that they only grow."""

import asyncio
import contextlib
import functools
from pathlib import Path
from typing import Annotated

import typer

from answerable.cli._options import AsJson
from answerable.cli._say import say
from answerable.server import serve_witness
from answerable.witness import Witness, make_witness

__all__ = ["command"]

command = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Be a witness of logs (C2SP tlog-witness): sign that they only grow.",
)

Folder = Annotated[
    Path,
    typer.Option("--dir", envvar="ANSWERABLE_WITNESS", help="The witness's folder.", show_default="witness"),
]
FOLDER = Path("witness")


@command.command()
def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Like `witness.example/ada`.", show_default=False)],
    folder: Folder = FOLDER,
) -> None:
    """Make a witness: its folder, its name and its key. Prints its verifier key, which others write down."""
    typer.echo(str(make_witness(folder, name)))


@command.command("add-log")
def add_log(
    vkey: Annotated[
        str, typer.Argument(metavar="VKEY", help="As `answerable log show` prints it.", show_default=False)
    ],
    folder: Folder = FOLDER,
) -> None:
    """Know a log: its checkpoints are cosigned from now on. A witness that runs notices."""
    typer.echo(f"{Witness.open(folder).add_log(vkey).name} is witnessed")


@command.command()
def show(folder: Folder = FOLDER, as_json: AsJson = False) -> None:
    """Show the witness's verifier key, its logs, and signed checkpoints that contradict each other.

    Exit 1: there are such.
    """
    witness = Witness.open(folder)
    logs = [str(key) for keys in witness.logs().values() for key in keys]
    conflicts = witness.conflicts()
    said = {"vkey": str(witness.key), "logs": logs, "conflicts": conflicts}
    lines = [str(witness.key), *(f"  log {log}" for log in logs)]
    lines += [f"CONFLICT, a signed checkpoint of another history:\n{note}" for note in conflicts]
    say(said, lines, as_json=as_json)
    raise typer.Exit(1 if conflicts else 0)


@command.command()
def serve(
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any free one.")] = 8701,
    folder: Folder = FOLDER,
) -> None:
    """Witness over HTTP, until Ctrl-C. Run it on another machine than the gate, by other people."""

    async def main() -> None:
        with Witness.open(folder) as witness:
            tell = functools.partial(typer.echo, err=True)
            await serve_witness(
                folder, witness, host=host, port=port, on_listening=lambda at: tell(f"listening at {at}")
            )

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
