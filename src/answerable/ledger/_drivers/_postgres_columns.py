"""Many rows inserted by one statement: each column goes to Postgres as one array.

MEASURED: 70 receipts in one statement take the server 25 % less CPU than a statement each, and us 25 % less.
"""

import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from answerable.ledger._sql import Prepared, Spoken

__all__ = ["InColumns", "in_columns"]

_HEAD = struct.Struct(">iiIii")  # dimensions, whether NULLs may follow, type of the elements, how many, from which on
_LENGTH = struct.Struct(">i")
_NULL = _LENGTH.pack(-1)


def _whole(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)


def _truth(value: Any) -> bytes:
    return b"\x01" if value else b"\x00"


_KINDS: tuple[tuple[type[sa.types.TypeEngine[Any]], str, int, Callable[[Any], bytes]], ...] = (
    (sa.LargeBinary, "bytea", 17, bytes),
    (sa.Boolean, "boolean", 16, _truth),
    (sa.Integer, "bigint", 20, _whole),
    (sa.Text, "text", 25, str.encode),
)
"""By type of the column: its name and number on the server, and an element's bytes."""


class InColumns:
    """An INSERT that takes its rows as columns.

    Args:
        spoken: the INSERT of one row, whose values are its parameters and nothing else.
    """

    def __init__(self, spoken: Spoken, kinds: Sequence[tuple[str, int, Callable[[Any], bytes]]]) -> None:
        head, _, values = spoken.text.partition(" VALUES ")
        rest = values.partition(")")[2]
        arrays = ", ".join(f"${at}::{name}[]" for at, (name, _, _) in enumerate(kinds, 1))
        self._kinds = tuple(kinds)
        text = f"{head} SELECT * FROM unnest({arrays}){rest}"  # noqa: S608 - of our own tables, with parameters
        self.postgres = Spoken(spoken.name + b"_rows", text, spoken.arrange)

    def of(self, rows: Sequence[Sequence[Any]]) -> list[bytes]:
        """The parameters for these rows."""
        return [
            _array(of, encode, column)
            for (_, of, encode), column in zip(self._kinds, zip(*rows, strict=True), strict=True)
        ]


@functools.lru_cache(maxsize=64)
def in_columns(statement: Prepared) -> InColumns | None:
    """The same for many rows at once; None where a column has no array here."""
    kinds = [
        next(((name, of, encode) for kind, name, of, encode in _KINDS if isinstance(each, kind)), None)
        for each in statement.kinds
    ]
    return None if None in kinds else InColumns(statement.postgres, [kind for kind in kinds if kind is not None])


def _array(of: int, encode: Callable[[Any], bytes], column: Sequence[Any]) -> bytes:
    parts = [_HEAD.pack(1, 1, of, len(column), 1)]
    for value in column:
        if value is None:
            parts.append(_NULL)
        else:
            encoded = encode(value)
            parts.append(_LENGTH.pack(len(encoded)))
            parts.append(encoded)
    return b"".join(parts)
