"""The migrations make exactly the tables that the code declares."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import answerable.app
from answerable.ledger import Ledger, metadata
from answerable.ledger._drivers._sqlite import SqliteStore
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


def test_approvals_of_an_older_store_are_carried_over_and_still_let_through(tmp_path: Path) -> None:
    path = tmp_path / "answerable.sqlite3"
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["engine"] = SqliteStore(path).engine()
    command.upgrade(config, "0004")
    columns = "approval, tenant, run, step, digest, agent, name, role, not_initiator, initiator, asked, due, held"
    with sqlite3.connect(path) as connection:
        for name, state, decided in (("a", "approved", "rcpt_1"), ("w", "waiting", "")):
            values = (name, "default", "run_1", name, "sha256:0", "clerk", "pay", "lead", 1, "", "", "", "rcpt_0")
            connection.execute(
                f"INSERT INTO policy_approvals ({columns}, state, decided, reason, taken) "
                f"VALUES ({', '.join('?' * 13)}, ?, ?, '', '')",
                (*values, state, decided),
            )
    connection.close()

    a_store(tmp_path)

    with sqlite3.connect(path) as connection:
        terms = connection.execute(
            "SELECT state, terms, answers, votes FROM policy_approvals ORDER BY state"
        ).fetchall()
        answers = connection.execute("SELECT receipt, decision, step FROM policy_answers").fetchall()
    connection.close()
    said = "approve:role=lead,n=1,distinct,not=initiator,timeout=259200s,on_timeout=deny"
    assert terms == [("approved", said, 1, 1), ("waiting", said, 0, 0)]
    assert answers == [("rcpt_1", "approve", "a")]
