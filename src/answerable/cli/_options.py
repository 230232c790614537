"""Options that several commands share, so that they are named and explained the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "By", "Data", "Reason", "Specs", "Trust"]

Data = Annotated[
    Path,
    typer.Option(
        "--data", envvar="ANSWERABLE_DATA", help="The data directory.", file_okay=False, show_default=".answerable/data"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]
By = Annotated[str, typer.Option("--as", metavar="NAME", envvar="ANSWERABLE_AS", help="Who you are.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes on the record.")]
Specs = Annotated[
    Path | None, typer.Option("--specs", help="Specifications to use instead of those recorded with the run.")
]
Trust = Annotated[
    Path | None, typer.Option("--trust", metavar="FILE", help="Your own trust file: which keys are whose.")
]
DATA = Path(".answerable/data")
