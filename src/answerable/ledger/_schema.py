"""The store's schema version, and how an older store comes up to it.

Alembic is imported only when there is something to do: it costs a third of a second.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from answerable.core import ConfigError
from answerable.ledger._store import Connection

__all__ = ["HEAD", "SchemaTooNew", "upgrade"]

HEAD = "0011"
"""The newest migration in `_migrations/versions`; a test holds it to the folder and to the tables."""


@dataclass(eq=False, kw_only=True)
class SchemaTooNew(ConfigError):
    """The store was written by a later version of Answerable."""

    code = "config.schema_too_new"
    what = "the store `{path}` has schema `{found}`, and this version knows up to `{known}`"
    why = "a later version of Answerable has written it, and an older one could damage it"
    fix = "install that version or a later one"

    path: str
    found: str
    known: str


def upgrade(path: Path, connection: Connection) -> None:
    """Bring the store to this version's schema; a store that is there already is only looked at.

    Raises:
        SchemaTooNew: a later version wrote it.
    """
    found = _version(connection)
    if found == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("_migrations")))
    config.attributes["path"] = path
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise SchemaTooNew(path=str(path), found=found, known=HEAD) from None


def _version(connection: Connection) -> str:
    try:
        rows = connection.raw.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.OperationalError:
        return ""
    return str(rows[0][0]) if rows else ""
