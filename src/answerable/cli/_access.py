"""`answerable agent key …` and `answerable person key …`: the same commands, for two kinds of holder."""

from typing import Annotated

import typer

from answerable.cli._desk import write
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import columns, say
from answerable.cli._tenant import tenant
from answerable.identity import HolderKind, list_access_keys
from answerable.ledger import Reader

__all__ = ["key_commands"]


def key_commands(kind: HolderKind) -> typer.Typer:
    """The commands `new`, `revoke` and `list` for keys of agents or of people."""
    said = {"agent": "Keys, each bound to one agent.", "person": "Keys, each bound to one person and their roles."}
    command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help=said[kind])

    def issue(holder: str, roles: list[str], data: Data, as_json: AsJson, environment: str = "") -> None:
        said = write(
            data,
            lambda desk: desk.key(do="new", kind=kind, named=holder, roles=roles, environment=environment),
            may_begin=True,
        )
        say(said, [said["key"]], as_json=as_json)
        acting = f" as {', '.join(said['roles'])}" if said["roles"] else ""
        typer.echo(f"{said['id']} for {said[kind]}{acting}; it is not shown again", err=True)

    def new_for_agent(
        agent: Annotated[str, typer.Argument(metavar="NAME", help="The agent, as the application registers it.")],
        environment: Annotated[
            str,
            typer.Option(
                "--environment", metavar="NAME", help="The only one it is for.", show_default="the log's, if it has one"
            ),
        ] = "",
        data: Data = DATA,
        as_json: AsJson = False,
    ) -> None:
        """Issue a key. Its secret is shown this once and kept nowhere."""
        issue(agent, [], data, as_json, environment)

    def new_for_person(
        person: Annotated[str, typer.Argument(metavar="NAME", help="The person; the record has a pseudonym.")],
        role: Annotated[list[str], typer.Option("--role", metavar="ROLE", help="A role they act in; may be repeated.")],
        data: Data = DATA,
        as_json: AsJson = False,
    ) -> None:
        """Issue a key. Its secret is shown this once and kept nowhere."""
        issue(person, role, data, as_json)

    command.command(name="new")(new_for_agent if kind == "agent" else new_for_person)

    @command.command()
    def revoke(
        named: Annotated[str, typer.Argument(metavar="ID|NAME", help="A key, or all keys of its holder.")],
        data: Data = DATA,
        as_json: AsJson = False,
    ) -> None:
        """Revoke a key, at once."""
        said = write(data, lambda desk: desk.key(do="revoke", kind=kind, named=named))
        say(said, [f"revoked {each}" for each in said["revoked"]], as_json=as_json)

    @command.command(name="list")
    def list_(data: Data = DATA, as_json: AsJson = False) -> None:
        """List the keys in use."""
        keys = list_access_keys(kind, Reader.open(data), tenant=tenant())
        rows = [(key.id, key.holder, ", ".join(key.roles), key.since) for key in keys]
        say(keys, columns(("KEY", kind.upper(), "ROLES", "SINCE"), rows), as_json=as_json)

    return command
