"""How the demo tells what happens: lines for people, or one JSON object a line for programs."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from answerable.cli._say import columns

__all__ = ["Telling"]

_STYLES = {
    "act": "bold",
    "done": "green",
    "declined": "yellow",
    "held": "yellow",
    "approved": "green",
    "rejected": "yellow",
    "refused": "red",
    "killed": "bold red",
    "in doubt": "red",
    "failed": "bold red",
}


class Telling:
    """Tells, and keeps count of what did not hold.

    Args:
        as_json: one JSON object a line instead of text.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.failed: list[str] = []
        self._console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True)

    @property
    def can_ask(self) -> bool:
        """Whether a person is there to be asked."""
        return not self.as_json and sys.stdin.isatty() and sys.stdout.isatty()

    def act(self, number: int, title: str) -> None:
        """Begin the next part."""
        self._event("act", {"number": number, "title": title})
        self._line(f"\n{number}. {title}", _STYLES["act"])

    def tell(self, event: str, line: str, **fields: Any) -> None:
        """Something happened."""
        self._event(event, fields)
        self._line(f"   {line}", _STYLES.get(event, ""))

    def say(self, line: str = "") -> None:
        """A word to people; programs need it not."""
        self._line(f"   {line}" if line else "", "")

    def check(self, name: str, holds: bool, line: str, **fields: Any) -> bool:
        """Something must hold: tell whether it does, and remember if not."""
        if not holds:
            self.failed.append(name)
        self._event("check", {"name": name, "holds": holds, "said": line, **fields})
        self._line(f"   {'ok     ' if holds else 'FAILED '}{line}", "" if holds else _STYLES["failed"])
        return holds

    def table(self, event: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int) -> None:
        """Rows under a header.

        Args:
            numbers: how many of the last columns hold numbers.
        """
        names = [name.lower() for name in header]
        for row in rows:
            self._event(event, dict(zip(names, row, strict=True)))
        if self.as_json:
            return
        if not self._console.is_terminal:
            for line in columns(header, rows):
                self._line(f"   {line}", "")
            self._line("", "")
            return
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
        for place, name in enumerate(header):
            table.add_column(name, justify="right" if place >= len(header) - numbers else "left")
        for row in rows:
            table.add_row(*(Text(_printable(cell)) for cell in row))
        self._console.print(Padding(table, (0, 0, 0, 2)), soft_wrap=False)

    def _event(self, event: str, fields: dict[str, Any]) -> None:
        if self.as_json:
            self._console.file.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
            self._console.file.flush()

    def _line(self, line: str, style: str) -> None:
        if not self.as_json:
            self._console.print(Text(_printable(line), style=style))


def _printable(line: str) -> str:
    """SECURITY: customers and models write what is shown here, and must not steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in line)
