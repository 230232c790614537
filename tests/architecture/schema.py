"""`_migrations/new_sqlite.sql`: what all migrations leave of an empty SQLite file."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from answerable.ledger._drivers._sqlite import SqliteStore
from answerable.ledger._schema import HEAD, NEW_SQLITE, bring_up

__all__ = ["PAGE", "page", "schema_of"]

PAGE = NEW_SQLITE


def schema_of(file: Path) -> list[str]:
    """The statements that make a file what it is, rows and all, each in one line."""
    with closing(sqlite3.connect(file)) as store:
        said = [" ".join(statement.split()) for statement in store.iterdump()]
    return said[1:-1]  # without BEGIN and COMMIT


def page() -> str:
    """The script, as the migrations make it now."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "migrated.sqlite3")
        bring_up(store.address, "", store.engine)
        return "\n".join([f"-- {HEAD}", *schema_of(Path(store.address))]) + "\n"
