"""`answerable restore`."""

from pathlib import Path
from typing import Annotated

import typer

from answerable.cli._backup import Passphrase, passphrase_in
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import say
from answerable.ledger import restore

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)


@command.command()
def restore_backup(
    backup: Annotated[
        Path, typer.Argument(metavar="BACKUP", file_okay=False, help="The backup's folder.", show_default=False)
    ],
    keys: Annotated[
        Path | None,
        typer.Option("--keys", metavar="DIR", file_okay=False, help="Where the keys are kept, if not in the backup."),
    ] = None,
    passphrase_file: Passphrase = None,
    erasures: Annotated[
        list[Path] | None,
        typer.Option("--erasures", metavar="FILE", help="A further list of erasures to follow; may be repeated."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of a record that is there, which is kept beside it.")
    ] = False,
    data: Data = DATA,
    as_json: AsJson = False,
) -> None:
    """Make a data directory of a backup: checked, and without what was erased since.

    It can be read at once. Nothing is written to it until `answerable log continue` says how its log goes on.
    """
    done = restore(
        backup,
        data,
        keys=keys,
        passphrase=passphrase_in(passphrase_file),
        erasures=erasures or (),
        replace=replace,
    )
    lost = [f"  at least {count} entries of the log of `{tenant}` are lost" for tenant, count in done.lost.items()]
    lines = [
        f"{done.directory}: {done.backup.receipts} receipts, as of {done.backup.at[:19]}",
        *([f"  {done.erased} erasures since then were followed: {done.texts} texts dropped"] if done.erased else []),
        *([f"  what was there is now {done.replaced}"] if done.replaced else []),
        *lost,
        "  nothing is written to it until you say how its log goes on:",
        "    answerable log continue --nothing-lost    nothing was written after this backup",
        "    answerable log continue --after-gap       something may have been",
    ]
    said = {
        "directory": str(done.directory),
        "backup": done.backup.id,
        "erasures": done.erased,
        "texts": done.texts,
        "replaced": str(done.replaced) if done.replaced else None,
        "lost": done.lost,
    }
    say(said, lines, as_json=as_json)
