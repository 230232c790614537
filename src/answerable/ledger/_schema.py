"""The store's schema version, and how older stores come up to it."""

from pathlib import Path

from answerable.ledger._sql import metadata
from answerable.ledger._store import Connection

__all__ = ["upgrade"]


def upgrade(path: Path, connection: Connection) -> None:
    """Bring the store to this version's schema."""
    from sqlalchemy import create_engine

    engine = create_engine(f"sqlite:///{path}")
    metadata.create_all(engine)
    engine.dispose()
