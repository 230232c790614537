"""`answerable init [DIR] [--pack NAME]`."""

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated

import typer

from answerable.cli._options import AsJson
from answerable.cli._say import say

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)

PACKS = ("developer", "finance_ops", "sales", "support")
"""Ready policies; a test holds the list to the folder."""

_NEXT = [
    "",
    "Run it, look at what it did, and at what it may not do:",
    '  answerable run agent:app --input \'{"book": "b-7", "reader": "r-2"}\'',
    "  answerable runs list",
    "  answerable policy check",
    "",
    "Or serve agents that exist elsewhere, as `answerable.toml` says:",
    "  answerable agent key new desk",
    "  answerable serve",
]
_NEXT_OF_PACK = [
    "",
    "See what it permits, and that it does:",
    "  answerable policy check",
    "  answerable policy test",
    "",
    "Then put your servers and models into `answerable.toml`, register the people (`answerable person set`), and:",
    "  answerable serve",
]


@command.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write them.", file_okay=False)] = Path(),
    pack: Annotated[
        str, typer.Option("--pack", metavar="NAME", help=f"Ready policies instead: {', '.join(PACKS)}.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Write a small agent, its policies and a specification to start from. Files that are there stay as they are.

    With `--pack`, ready policies for one kind of agent, with their tests and an `answerable.toml` that declares the
    tools they speak of.
    """
    if pack and pack not in PACKS:
        raise typer.BadParameter(f"there is no pack `{pack}`; there are {', '.join(PACKS)}")
    written, kept = [], []
    source_of = resources.files("answerable.cli")
    for name, source in _files(source_of / "_packs" / pack if pack else source_of / "_starter"):
        path = directory / name
        if path.exists():
            kept.append(str(path))
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read_bytes())
        written.append(str(path))
    lines = [f"wrote {path}" for path in written] + [f"kept  {path}" for path in kept]
    following = _NEXT_OF_PACK if pack else _NEXT
    say({"written": written, "kept": kept}, lines + (following if written else []), as_json=as_json)


def _files(directory: Traversable, below: str = "") -> list[tuple[str, Traversable]]:
    """Every file, by its path below `directory`; what starts with `dot-` is written with a dot."""
    found: list[tuple[str, Traversable]] = []
    for each in sorted(directory.iterdir(), key=lambda entry: entry.name):
        name = below + each.name.replace("dot-", ".", 1).removesuffix(".txt")
        found += _files(each, f"{name}/") if each.is_dir() else [(name, each)]
    return found
