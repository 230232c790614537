"""Options that several commands share, so that they are named and explained the same everywhere."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["CONFIG", "DATA", "AsJson", "By", "Data", "Reason", "Specs", "Trust"]

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar="ANSWERABLE_DATA",
        help="The data directory.",
        file_okay=False,
        show_default="answerable.toml's, or .answerable/data",
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


def _data_directory() -> Path:
    """The one that `answerable.toml` names; a file that cannot be read names none, and `serve` will say why."""
    try:
        said = tomllib.loads(CONFIG.read_text(encoding="utf-8")).get("data")
    except (OSError, ValueError):
        said = None
    return Path(said) if isinstance(said, str) else Path(".answerable/data")


CONFIG = Path("answerable.toml")
DATA: Any = _data_directory  # called when a command is, in the directory of the day
