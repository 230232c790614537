"""Single values between Python and Postgres: parameters as they are sent, and answers as they are read."""

from collections.abc import Callable
from typing import Any

from psycopg import pq

__all__ = ["read_rows", "to_bytes"]


def to_bytes(value: Any) -> bytes | None:
    """As a parameter is sent: bytes as they are, all else as text."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"t" if value else b"f"
    return b"%d" % value


def _whole(value: bytes) -> int:
    return int.from_bytes(value, "big", signed=True)


def _truth(value: bytes) -> bool:
    return value == b"\x01"


_READ: dict[int, Callable[[bytes], Any]] = {16: _truth, 17: bytes, 20: _whole, 21: _whole, 23: _whole}
"""By type: boolean, bytea, bigint, smallint, integer; whatever else is asked for is text."""


def read_rows(answer: "pq.abc.PGresult") -> list[tuple[Any, ...]]:
    """What an answer holds, read by its columns' types."""
    if not answer.ntuples:
        return []
    columns = [(at, _READ.get(answer.ftype(at), bytes.decode)) for at in range(answer.nfields)]
    get = answer.get_value
    found = []
    for row in range(answer.ntuples):
        values = ((get(row, at), read) for at, read in columns)
        found.append(tuple(None if value is None else read(value) for value, read in values))
    return found
