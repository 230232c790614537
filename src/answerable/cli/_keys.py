"""`answerable keys`: which keys sign here, how old they are, and how one takes the place of another."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from answerable.cli._desk import people_of, write
from answerable.cli._options import DATA, AsJson, By, Data, Reason
from answerable.cli._say import ago, columns, say
from answerable.core import parse_time
from answerable.ledger import (
    SYSTEM,
    KeyLife,
    Reader,
    find_in_ssh_agent,
    retire_key,
    rotate_key,
    write_key,
)

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Keys that sign: how old, and whose turn.")
Role = Annotated[Literal["gate", "log"], typer.Argument(help="Whose key.", show_default=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A key, as it is listed."""

    id: str
    role: str
    holder: str
    state: str
    since: str
    until: str
    kept: str


@command.command("list")
def list_(
    retired: Annotated[bool, typer.Option("--all", help="Also those that are retired.")] = False,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """List the keys that sign receipts (gate), checkpoints (log) and answers (people).

    Keys that only open the gate are listed by `agent key list` and `person key list`.
    """
    found = [each for each in _lines(Reader.open(data)) if retired or each.state == "in use"]
    now = datetime.now(UTC)
    rows = [
        (each.id[:16], each.role, each.holder, each.kept, each.state, ago(parse_time(each.since), now), each.until[:19])
        for each in found
    ]
    say(found, columns(("KEY", "ROLE", "HOLDER", "KEPT IN", "STATE", "SINCE", "UNTIL"), rows), as_json=as_json)


@command.command()
def rotate(
    role: Role,
    by: By,
    reason: Reason = "",
    ssh_agent: Annotated[
        str,
        typer.Option(
            "--ssh-agent",
            metavar="KEY",
            help="Go on with this key of the SSH agent: its comment, its SHA-256 as `ssh-add -l` shows it, or its id.",
        ),
    ] = "",
    socket: Annotated[
        str, typer.Option("--socket", metavar="PATH", help="The agent's socket; SSH_AUTH_SOCK's by default.")
    ] = "",
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Go on with a new key, and retire the one in use, both on the record.

    Stop the gate first. Then give those who verify a new trust file (`answerable evidence trust`).
    """
    from answerable.app import all_projections

    Reader.open(data).close()
    written = _from_agent(ssh_agent, socket) if ssh_agent else None
    life = asyncio.run(rotate_key(data, role, by=by, reason=reason, write=written, projections=all_projections()))
    _tell(life, f"the {role} signs with {life.id[:16]} from now on; write a new trust file", as_json=as_json)


@command.command()
def retire(
    key: Annotated[str, typer.Argument(metavar="gate|log|KEY", help="A role, or a person's key by its id.")],
    by: By,
    reason: Reason = "",
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """End a key with none to follow: it may be in other hands. What it signed before stands.

    Without a gate or log key no gate starts; `answerable keys rotate` makes one.
    """
    if key not in ("gate", "log"):
        said = write(data, lambda desk: desk.signer(do="revoke", named=key))
        say(said, [f"retired {key}"], as_json=as_json)
        return
    from answerable.app import all_projections

    Reader.open(data).close()
    life = asyncio.run(retire_key(data, key, by=by, reason=reason, projections=all_projections()))
    _tell(life, f"retired the {key} key {life.id[:16]}; no gate starts here until `keys rotate {key}`", as_json=as_json)


def _tell(life: KeyLife, line: str, *, as_json: bool) -> None:
    say({"id": life.id, "role": life.role, "since": life.since, "until": life.until}, [line], as_json=as_json)


def _lines(reader: Reader) -> Iterable[_Line]:
    names = {each.person: each.name.rpartition(":")[2] for each in people_of(reader).list()}
    tenants = [SYSTEM, *(tenant for tenant in reader.tenants() if tenant != SYSTEM)]
    for tenant in tenants:
        for life in reader.keys_of(tenant):
            if tenant != SYSTEM and life.role != "signer":
                continue  # a log says again who signs it
            yield _Line(
                id=life.id,
                role="person" if life.role == "signer" else life.role,
                holder=names.get(life.person, life.person),
                state="in use" if life.is_in_use else "retired",
                since=life.since,
                until=life.until,
                kept=life.kept or "file",
            )


def _from_agent(named: str, socket: str) -> Callable[[Path], None]:
    """What writes the key file for a key that an SSH agent has."""
    key = find_in_ssh_agent(named, socket)
    options = {"socket": socket} if socket else {}
    return lambda path: write_key(path, signer="ssh-agent", public=key, options=options)
