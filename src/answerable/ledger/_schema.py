"""The store's schema version, and how an older store comes up to it.

INVARIANT: a migration that only adds (tables, indexes, columns that may be empty) is named `NNNN_since_MMMM`:
whoever knows MMMM can go on working beside those who know NNNN, so that workers are replaced one by one. One that
takes away or changes what is there is named `NNNN`, and comes a version after nobody needs it any more.

Alembic is imported only when there is something to do: it costs a third of a second. A new SQLite file has nothing to
carry over: it is made at once, as all migrations together would leave it (`_migrations/new_sqlite.sql`).
MEASURED: 0.02 s of CPU instead of 0.17 s, and of 0.5 s for the first in a process.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from answerable.core import ConfigError

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = ["HEAD", "NEW_SQLITE", "SchemaTooNew", "bring_up", "new_sqlite"]

_MIGRATIONS = Path(__file__).with_name("_migrations")
NEW_SQLITE = _MIGRATIONS / "new_sqlite.sql"
"""What the migrations leave of an empty SQLite file, by `make regenerate`; its first line names the last of them."""
_SINCE = "_since_"
HEAD = "0014_since_0013"
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


def new_sqlite() -> str:
    """The script that makes a new SQLite file; empty where it is of other migrations than these."""
    first, _, script = NEW_SQLITE.read_text(encoding="utf-8").partition("\n")
    return script if first == f"-- {HEAD}" else ""


def bring_up(address: str, found: str, engine: "Callable[[], sa.Engine]") -> None:
    """Bring a store to this version's schema; one that is there already is left as it is.

    Args:
        address: the store, for messages.
        found: the schema it has; empty where it has none.
        engine: connects to it; each transaction that it begins must keep other writers out.

    Raises:
        SchemaTooNew: a later version changed more than this one can work beside.
    """
    if found == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    connecting = config.attributes["engine"] = engine()
    try:
        command.upgrade(config, "head")
    except CommandError:
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if found.partition(_SINCE)[2] not in known:
            raise SchemaTooNew(path=address, found=found, known=HEAD) from None
    finally:
        connecting.dispose()
