"""From when on a command looks at the record."""

from datetime import UTC, datetime

import typer

from answerable.core import format_time
from answerable.policy import parse_duration

__all__ = ["moment_of"]


def moment_of(text: str) -> str:
    """A duration before now (`30d`), or a date, as the record writes times."""
    lasts = parse_duration(text)
    try:
        moment = datetime.now(UTC) - lasts if lasts else datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"`{text}` is neither a duration like `30d` nor a date like 2026-11-01") from None
    return format_time(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
