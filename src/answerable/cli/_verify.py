"""`answerable verify BUNDLE`."""

from pathlib import Path
from typing import Annotated

import typer

from answerable.cli._errors import FileUnusable
from answerable.cli._options import AsJson, Trust
from answerable.cli._say import say
from answerable_verify import BadTrust, verify

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)


@command.command()
def verify_bundle(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="An evidence ZIP.", show_default=False)],
    trust: Trust = None,
    as_json: AsJson = False,
) -> None:
    """Verify an evidence bundle, offline.

    Without `--trust` the keys are the bundle's own, so the best verdict is "self-consistent only" (exit 3).
    Exit 4: it does not verify; the first thing wrong is named.
    """
    try:
        report = verify(bundle, trust)
    except BadTrust as error:
        raise FileUnusable(file=str(trust), reason=str(error)) from None
    except OSError as error:
        raise FileUnusable(file=str(error.filename or bundle), reason=str(error.strerror)) from None
    say(report.to_json(), report.lines(), as_json=as_json)
    raise typer.Exit(report.exit_code)
