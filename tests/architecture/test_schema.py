"""The migrations make exactly the tables that the code declares."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import answerable.app
from answerable.ledger import Ledger, metadata
from answerable.ledger._schema import HEAD, SchemaTooNew

MIGRATIONS = Path(answerable.app.__file__).parents[1] / "ledger" / "_migrations"


def a_store(directory: Path) -> Path:
    async def make() -> None:
        ledger = Ledger.open(directory)
        await ledger.start()
        await ledger.close()

    asyncio.run(make())
    return directory / "answerable.sqlite3"


def test_a_migrated_store_has_the_tables_the_code_declares(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{a_store(tmp_path)}")

    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()

    assert differences == []


def test_the_code_knows_the_newest_migration() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD


def test_a_store_of_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    with pytest.raises(SchemaTooNew, match="9999"):
        Ledger.open(tmp_path)
