"""On which line of a TOML text a key stands: the standard library's parser does not tell.

Source: TOML 1.0, "Keys", "Table", "Array of Tables".
"""

import re
import tomllib
from collections.abc import Sequence
from typing import Any

__all__ = ["Lines"]

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_KEY = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_KEY})\s*\]")
_PAIR = re.compile(rf"\s*({_KEY})\s*=")

Path = tuple[str | int, ...]


class Lines:
    """The lines of a text that is TOML."""

    def __init__(self, text: str) -> None:
        self._found: dict[Path, int] = {}
        table: Path = ()
        counts: dict[Path, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                table = _parts(header[2])
                if header[1] == "[[":
                    at = counts[table] = counts.get(table, -1) + 1
                    table = (*table, at)
                self._note(table, number)
            elif pair := _PAIR.match(line):
                self._note((*table, *_parts(pair[1])), number)

    def of(self, path: Sequence[str | int]) -> int:
        """The line of the key at `path`, or of the innermost table around it; 0 for the file as a whole."""
        for length in range(len(path), 0, -1):
            if (found := self._found.get(tuple(path[:length]))) is not None:
                return found
        return 0

    def _note(self, path: Path, number: int) -> None:
        for length in range(1, len(path) + 1):
            self._found.setdefault(path[:length], number)


def _parts(key: str) -> Path:
    """`a."b.c"` as ("a", "b.c"), by the parser itself."""
    parts: list[str] = []
    said: Any = tomllib.loads(f"{key} = 0")
    while isinstance(said, dict):
        ((part, said),) = said.items()
        parts.append(part)
    return tuple(parts)
