"""The store's schema version, and how an older store comes up to it.

Alembic is imported only when there is something to do: it costs a third of a second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from answerable.core import ConfigError

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = ["HEAD", "SchemaTooNew", "bring_up"]

HEAD = "0012"
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


def bring_up(address: str, found: str, engine: "Callable[[], sa.Engine]") -> None:
    """Bring a store to this version's schema; one that is there already is left as it is.

    Args:
        address: the store, for messages.
        found: the schema it has; empty where it has none.
        engine: connects to it; each transaction that it begins must keep other writers out.

    Raises:
        SchemaTooNew: a later version wrote it.
    """
    if found == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("_migrations")))
    config.attributes["engine"] = engine()
    try:
        command.upgrade(config, "head")
    except CommandError:
        raise SchemaTooNew(path=address, found=found, known=HEAD) from None
