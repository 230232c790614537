"""`answerable verify BUNDLE`."""

from pathlib import Path
from typing import Annotated

import typer

from answerable.cli._errors import FileUnusable
from answerable.cli._options import AsJson, Trust
from answerable.cli._say import say
from answerable_verify import BadTrust, page, verify

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)


@command.command()
def verify_bundle(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="An evidence ZIP, or a `.tlog-proof`.", show_default=False)
    ],
    trust: Trust = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write the report as a page.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify an evidence bundle, or the proof of one receipt, offline.

    Without `--trust` the keys are the bundle's own, so the best verdict is "self-consistent only" (exit 3).
    Exit 4: it does not verify; the first thing wrong is named.
    """
    # A pipe would never end, and a socket never begin: nothing is opened that is no file.
    if bundle.exists() and not bundle.is_file():
        raise FileUnusable(file=str(bundle), reason="it is no regular file")
    try:
        report = verify(bundle, trust)
    except BadTrust as error:
        raise FileUnusable(file=str(trust or bundle), reason=str(error)) from None
    except OSError as error:
        raise FileUnusable(file=str(error.filename or bundle), reason=str(error.strerror)) from None
    if html is not None:
        html.write_text(page(report, of=bundle.name), "utf-8")
    say(report.to_json(), report.lines(), as_json=as_json)
    raise typer.Exit(report.exit_code)
