"""`answerable agent key`: keys with which agents elsewhere reach the gate."""

from typing import Annotated

import typer

from answerable.cli._desk import write
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import columns, say
from answerable.identity import list_keys
from answerable.ledger import Reader

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Agents that exist elsewhere.")
_key = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Keys, each bound to one agent.")
command.add_typer(_key, name="key")


@_key.command()
def new(
    agent: Annotated[str, typer.Argument(metavar="NAME", help="The agent, as the application registers it.")],
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Issue a key. Its secret is shown this once and kept nowhere."""
    said = write(data, lambda desk: desk.key(do="new", named=agent), may_begin=True)
    say(said, [said["key"]], as_json=as_json)
    typer.echo(f"{said['id']} for agent {said['agent']}; it is not shown again", err=True)


@_key.command()
def revoke(
    named: Annotated[str, typer.Argument(metavar="ID|NAME", help="A key, or all keys of an agent.")],
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Revoke a key, at once."""
    said = write(data, lambda desk: desk.key(do="revoke", named=named))
    say(said, [f"revoked {each}" for each in said["revoked"]], as_json=as_json)


@_key.command(name="list")
def list_(data: Data = DATA, as_json: AsJson = False) -> None:
    """List the keys in use."""
    keys = list_keys(Reader.open(data))
    say(keys, columns(("KEY", "AGENT", "SINCE"), [(key.id, key.agent, key.since) for key in keys]), as_json=as_json)
