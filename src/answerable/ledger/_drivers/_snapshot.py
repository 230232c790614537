"""A copy of a SQLite store as it stands at one moment, while others read and write it."""

import sqlite3
from contextlib import closing
from pathlib import Path

__all__ = ["as_one_file", "snapshot"]


def snapshot(source: Path, target: Path) -> None:
    """Copy the store page by page, in one read transaction: writers go on meanwhile.

    What the write-ahead log holds is in the copy, which is one file and needs no other.
    """
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as live,
        closing(sqlite3.connect(target, isolation_level=None)) as copy,
    ):
        live.backup(copy)
    as_one_file(target)


def as_one_file(path: Path) -> None:
    """Have no write-ahead log beside a store that nobody has open: its one file is all of it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as copy:
        copy.execute("PRAGMA journal_mode=DELETE")
