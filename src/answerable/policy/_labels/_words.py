"""What the user said, and whether it holds a value or names a record.

Strings carry no labels, so provenance is found by comparing: a value counts as the user's if the user wrote
it, whole. Short values and single common words are never counted: `13` of "June 13" is no file.
"""

import re
from collections.abc import Iterator
from typing import Any

__all__ = ["UserWords", "plain", "texts_in"]

_SHORTEST = 4
_BREAK = re.compile(r"[\W_]+")
_SPACE = re.compile(r"\s+")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}$")
_QUOTES = re.compile(r"(?<!\w)['\"“‘«]([^'\"”’»]{1,200})['\"”’»](?!\w)")
# What may not stand beside a value that counts as written whole: `mark.black@x.com` does not say `black@x.com`.
_BEFORE, _AFTER = r"(?<![\w@+%/:\-])(?<![\w]\.)", r"(?![\w@+%/\-])(?!\.\w)"


def plain(value: Any) -> str:
    """A value as it is compared: case and runs of white space do not matter."""
    return _SPACE.sub(" ", str(value)).strip().casefold()


def texts_in(value: Any) -> Iterator[str]:
    """Every text and number in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_in(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


class UserWords:
    """The texts that a run's user wrote."""

    def __init__(self) -> None:
        self._texts: dict[str, None] = {}
        self._whole = self._words = ""
        self._quoted: frozenset[str] = frozenset()

    def add(self, text: str) -> None:
        """The user said this, too."""
        said = plain(text)
        if said and said not in self._texts:
            self._texts[said] = None
            self._whole = "\n".join(self._texts)
            self._words = f" {_BREAK.sub(' ', self._whole).strip()} "
            self._quoted = frozenset(match[1].strip() for match in _QUOTES.finditer(self._whole))

    def hold(self, value: Any) -> bool:
        """Whether the user wrote this value, whole."""
        said = plain(value)
        if len(said) < _SHORTEST or said not in self._whole:
            return False
        return re.search(_BEFORE + re.escape(said) + _AFTER, self._whole) is not None

    def name(self, called: str) -> bool:
        """Whether the user named something that is called so.

        By two words or more, as written or with other marks between them (`grocery-list.xlsx`: "the grocery
        list"); by one only where it is quoted, or no plain word: whoever calls a record `please` names nothing.
        """
        said = plain(called)
        if len(said) < _SHORTEST:
            return False
        if said in self._quoted or (not said.isalpha() and self.hold(said)):
            return True
        words = _BREAK.sub(" ", _SUFFIX.sub("", said)).strip()
        return " " in words and f" {words} " in self._words
