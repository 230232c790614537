"""`answerable person`: who answers for agents, in which roles, and the keys they come and sign with."""

import base64
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from answerable.cli._access import key_commands
from answerable.cli._desk import people_of, signing_keys_of, write
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import columns, say
from answerable.core import format_time
from answerable.identity import read_public_key
from answerable.ledger import Reader
from answerable.policy import parse_duration

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="People who decide: roles, standing, keys.")
command.add_typer(key_commands("person"), name="key")
_signer = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Keys with which people sign their answers.")
command.add_typer(_signer, name="signer")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The person; the record has a pseudonym.")]


@command.command("set")
def set_person(
    name: Name,
    role: Annotated[list[str], typer.Option("--role", metavar="ROLE", help="A role they act in; may be repeated.")],
    reports_to: Annotated[str, typer.Option("--reports-to", metavar="NAME", help="Who stands above them.")] = "",
    deputy: Annotated[str, typer.Option("--deputy", metavar="NAME", help="Who acts in their roles meanwhile.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="Until when: `3d`, or a date.")] = "",
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Register a person. From the first one on, only people registered answer, in their roles."""
    if bool(deputy) != bool(until):
        raise typer.BadParameter("a deputy stands in until some time: give `--deputy` and `--until` together")
    moment = _moment(until) if until else ""
    said = write(
        data,
        lambda desk: desk.person(
            do="set", name=name, roles=role, reports_to=reports_to, deputy=deputy, deputy_until=moment
        ),
        may_begin=True,
    )
    say(said, [f"{said['person']} as {', '.join(said['roles'])}, on the record as {said['called']}"], as_json=as_json)


@command.command()
def remove(name: Name, data: Data = DATA, as_json: AsJson = False) -> None:
    """End a person's standing here; what they decided stands."""
    said = write(data, lambda desk: desk.person(do="remove", name=name))
    say(said, [f"removed {name}"], as_json=as_json)


@command.command("list")
def list_people(data: Data = DATA, as_json: AsJson = False) -> None:
    """List who is registered."""
    found = people_of(Reader.open(data)).list()
    names = {each.person: each.name.rpartition(":")[2] for each in found}
    rows = [
        (
            names[each.person],
            ", ".join(each.roles),
            names.get(each.reports_to, each.reports_to),
            f"{names.get(each.deputy, each.deputy)} until {each.deputy_until[:16]}" if each.deputy else "",
        )
        for each in found
    ]
    lines = columns(("PERSON", "ROLES", "REPORTS TO", "DEPUTY"), rows) if rows else ["nobody is registered"]
    say([asdict(each) for each in found], lines, as_json=as_json)


@_signer.command("add")
def add_signer(
    name: Name,
    key: Annotated[Path, typer.Argument(metavar="KEYFILE", help="Their P-256 public key, PEM.", dir_okay=False)],
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Register a key that a person signs with. From then on nobody answers in their name without it."""
    public = base64.b64encode(read_public_key(key)).decode()
    said = write(data, lambda desk: desk.signer(do="add", named=name, public=public), may_begin=True)
    say(said, [f"{said['id']} for {name}"], as_json=as_json)


@_signer.command("list")
def list_signers(data: Data = DATA, as_json: AsJson = False) -> None:
    """List the keys that people sign with."""
    reader = Reader.open(data)
    names = {each.person: each.name.rpartition(":")[2] for each in people_of(reader).list()}
    found = signing_keys_of(reader).list()
    rows = [(each.id[:16], names.get(each.person, each.person), each.kind, each.since[:19]) for each in found]
    value = [{"id": each.id, "person": each.person, "kind": each.kind, "since": each.since} for each in found]
    say(value, columns(("KEY", "PERSON", "KIND", "SINCE"), rows) if rows else ["no keys"], as_json=as_json)


@_signer.command("revoke")
def revoke_signer(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id, or how that begins.")],
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Revoke a key that a person signs with; what it has signed stands."""
    said = write(data, lambda desk: desk.signer(do="revoke", named=key))
    say(said, [f"revoked {key}"], as_json=as_json)


def _moment(text: str) -> str:
    """A time-out such as `3d` from now, or a date, as the record writes times."""
    lasts = parse_duration(text)
    try:
        until = datetime.now(UTC) + lasts if lasts else datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"`{text}` is neither a duration such as `3d` nor a date such as 2026-12-01") from None
    return format_time(until if until.tzinfo else until.replace(tzinfo=UTC))
