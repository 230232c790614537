"""`answerable credentials`: the gate's own credentials toward tool servers and providers, in the vault."""

import sys
from typing import Annotated

import typer

from answerable.cli._desk import write
from answerable.cli._options import DATA, AsJson, By, Data
from answerable.cli._say import columns, say
from answerable.identity import SealedVault

__all__ = ["command"]

command = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="The gate's own credentials: set, list, remove."
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="As the configuration calls it.", show_default=False)]


@command.command("set")
def set_credential(
    name: Name,
    by: By,
    environment: Annotated[
        str,
        typer.Option("--environment", help="Where it belongs, and nowhere else.", show_default="where the log does"),
    ] = "",
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Keep a secret in the vault, in the place of one of this name. A running gate uses it at once.

    It is asked for, or read from standard input; never from the command line, which others on the machine can see.
    """
    secret = typer.prompt("secret", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    secret = secret.strip()
    if not secret or not secret.isprintable():
        raise typer.BadParameter("a secret is one line of text that can be printed, and not empty")
    what = {"named": name, "by": by, "secret": secret, "environment": environment.strip()}
    said = write(data, lambda desk: desk.credential(do="set", **what), may_begin=True)
    where = f", for {said['environment']} only" if "environment" in said else ""
    say(said, [f"{name} is in the vault{where}"], as_json=as_json)


@command.command()
def remove(name: Name, by: By, data: Data = DATA, as_json: AsJson = False) -> None:
    """Keep a secret no more. What needs it fails from then on, and nothing is sent without it."""
    said = write(data, lambda desk: desk.credential(do="remove", named=name, by=by))
    say(said, [f"{name} is gone"], as_json=as_json)


@command.command("list")
def list_(data: Data = DATA, as_json: AsJson = False) -> None:
    """List what the vault keeps, where it belongs and since when; never the secrets."""
    kept = SealedVault(data).all()
    rows = [(name, each.environment or "-", each.since[:19]) for name, each in kept.items()]
    value = [{"credential": name, "environment": each.environment, "since": each.since} for name, each in kept.items()]
    header = ("CREDENTIAL", "ENVIRONMENT", "SINCE")
    say(value, columns(header, rows) if rows else ["the vault is empty"], as_json=as_json)
