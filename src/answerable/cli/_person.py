"""`answerable person key`: keys with which people decide over HTTP."""

from typing import Annotated

import typer

from answerable.cli._desk import write
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import columns, say
from answerable.identity import list_person_keys
from answerable.ledger import Reader

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="People who decide over HTTP.")
_key = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Keys, each bound to one person and their roles.")
command.add_typer(_key, name="key")


@_key.command()
def new(
    person: Annotated[str, typer.Argument(metavar="NAME", help="The person; the record has a pseudonym.")],
    role: Annotated[list[str], typer.Option("--role", metavar="ROLE", help="A role they act in; may be repeated.")],
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Issue a key. Its secret is shown this once and kept nowhere."""
    said = write(data, lambda desk: desk.person_key(do="new", named=person, roles=role), may_begin=True)
    say(said, [said["key"]], as_json=as_json)
    typer.echo(f"{said['id']} for {said['person']} as {', '.join(said['roles'])}; it is not shown again", err=True)


@_key.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The key, by its id.")],
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Revoke a key, at once."""
    said = write(data, lambda desk: desk.person_key(do="revoke", named=key))
    say(said, [f"revoked {each}" for each in said["revoked"]], as_json=as_json)


@_key.command(name="list")
def list_(data: Data = DATA, as_json: AsJson = False) -> None:
    """List the keys in use."""
    keys = list_person_keys(Reader.open(data))
    rows = [(key.id, key.person, ", ".join(key.roles), key.since) for key in keys]
    say(keys, columns(("KEY", "PERSON", "ROLES", "SINCE"), rows), as_json=as_json)
