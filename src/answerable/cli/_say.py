"""What commands print: JSON for programs, lines and columns for people."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any

import typer

__all__ = ["ago", "columns", "say", "say_json"]


def say_json(value: Any) -> None:
    """One JSON document."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def say(value: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """The value for programs, or the lines for people."""
    if as_json:
        say_json(value)
        return
    for line in lines:
        typer.echo(line)


def columns(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Rows under a header, aligned; the header alone where there are none."""
    said = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[n]) for row in said) for n in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in said]


def ago(moment: datetime, now: datetime) -> str:
    """How long ago, or `in …` how soon, in the largest unit that fits."""
    seconds = int((now - moment).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if abs(seconds) >= length:
            amount = f"{abs(seconds) // length} {unit}"
            break
    else:
        amount = f"{abs(seconds)} s"
    return f"{amount} ago" if seconds >= 0 else f"in {amount}"


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, bytes):
        return json.loads(value)
    return str(value)
