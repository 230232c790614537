"""`answerable backup`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from answerable.cli._errors import FileUnusable
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import columns, say
from answerable.ledger import Backup, back_up, list_backups

__all__ = ["Passphrase", "command", "passphrase_in"]

command = typer.Typer(rich_markup_mode=None)

Passphrase = Annotated[
    Path | None, typer.Option("--passphrase-file", metavar="FILE", help="The passphrase that keys are sealed under.")
]


@command.command()
def backup(
    place: Annotated[
        Path,
        typer.Argument(metavar="PLACE", file_okay=False, help="The folder to keep backups in.", show_default=False),
    ],
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Put the keys in: who has them reads all texts and signs as the gate.")
    ] = False,
    passphrase_file: Passphrase = None,
    listed: Annotated[bool, typer.Option("--list", help="Only say which backups are there.")] = False,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Make a backup of the record, complete and checked by digests; a gate may run meanwhile.

    Without `--with-keys` the keys are not in it: keep a copy of the folder `keys` elsewhere, once.
    """
    if listed:
        found = list_backups(place)
        rows = [(each.id, each.at[:19], each.receipts, each.keys) for each in found]
        say([_said(each) for each in found], columns(("BACKUP", "OF", "RECEIPTS", "KEYS"), rows), as_json=as_json)
        return
    made = back_up(data, place, with_keys=with_keys, passphrase=passphrase_in(passphrase_file))
    lines = [str(made.path), f"  {made.receipts} receipts in {len(made.logs)} logs, as of {made.at[:19]}"]
    lines += ["  its keys are not in it: restore it with `--keys DIR`"] if made.keys == "none" else []
    lines += ["  its keys are in it in clear: keep it as you keep them"] if made.keys == "clear" else []
    say(_said(made), lines, as_json=as_json)


def passphrase_in(path: Path | None) -> bytes:
    """The passphrase in a file, without the end of its line; empty where no file is named."""
    if path is None:
        return b""
    try:
        found = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise FileUnusable(file=str(path), reason=str(error.strerror)) from None
    if not found:
        raise FileUnusable(file=str(path), reason="it holds no passphrase")
    return found


def _said(made: Backup) -> dict[str, Any]:
    about = {"id": made.id, "path": str(made.path), "at": made.at, "receipts": made.receipts, "keys": made.keys}
    return {**about, "logs": {tenant: dict(said) for tenant, said in made.logs.items()}}
