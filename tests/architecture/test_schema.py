"""The migrations make exactly the tables that the code declares."""

import ast
import asyncio
import re
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
from answerable.core import TenantId
from answerable.ledger import Draft, Ledger, control_run, metadata
from answerable.ledger._drivers._sqlite import SqliteStore
from answerable.ledger._schema import HEAD, SchemaTooNew
from answerable.runtime import list_runs
from tests.architecture import schema
from tests.integration.clinic import an_app, seen_to
from tests.postgres import Databases

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


def test_a_new_store_is_made_as_the_migrations_would_make_it(tmp_path: Path) -> None:
    assert schema.PAGE.read_text() == schema.page(), "run `make regenerate`"
    new = SqliteStore(tmp_path / "new.sqlite3")

    new.upgrade()

    assert schema.schema_of(tmp_path / "new.sqlite3") == schema.page().splitlines()[1:]


def test_where_the_script_is_of_other_migrations_a_new_store_is_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "older.sql").write_text("-- 0001\nCREATE TABLE nothing (of TEXT);\n")
    monkeypatch.setattr("answerable.ledger._schema.NEW_SQLITE", tmp_path / "older.sql")
    new = SqliteStore(tmp_path / "new.sqlite3")

    new.upgrade()

    assert schema.schema_of(tmp_path / "new.sqlite3") == schema.page().splitlines()[1:]


def test_the_code_knows_the_newest_migration() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD


def test_a_store_of_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    with pytest.raises(SchemaTooNew, match="9999"):
        Ledger.open(tmp_path)


_ADDED = (
    "ALTER TABLE receipts ADD COLUMN note TEXT",
    "ALTER TABLE runs ADD COLUMN mood TEXT DEFAULT 'calm'",
    "CREATE TABLE moods (run TEXT PRIMARY KEY, mood TEXT NOT NULL)",
    "CREATE INDEX moods_by_mood ON moods (mood)",
    f"UPDATE alembic_version SET version_num = '9999_since_{HEAD}'",
)


@pytest.mark.requirement("OP-1")
def test_a_process_goes_on_working_when_a_later_version_adds_to_the_schema_and_so_does_the_next(tmp_path: Path) -> None:
    draft = Draft(tenant=TenantId("default"), run=control_run(TenantId("default")), phase="signal", agent="a")

    async def main() -> None:
        ledger = Ledger.open(tmp_path)
        await ledger.start()
        await ledger.append(draft)
        with sqlite3.connect(tmp_path / "answerable.sqlite3") as later:
            for statement in _ADDED:
                later.execute(statement)
        later.close()
        await ledger.append(draft)
        await ledger.close()
        again = Ledger.open(tmp_path)
        await again.start()
        await again.append(draft)
        assert len(again.reader.receipts()) == 3
        await again.close()

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.requirement("OP-1", "RT-5")
def test_workers_on_postgres_go_on_while_a_later_version_adds_to_the_schema(
    tmp_path: Path, postgres: Databases
) -> None:
    url = postgres.new()
    app = an_app(tmp_path, store=url)

    async def main() -> None:
        async with app.gate() as gate, asyncio.timeout(40):
            await seen_to(gate)
            for statement in _ADDED:
                postgres.server.sql(url, statement)
            await seen_to(gate, "ben")
        async with app.gate() as gate, asyncio.timeout(40):
            await seen_to(gate, "cyn")
            assert [row.state for row in list_runs(gate.reader)] == ["done"] * 3

    asyncio.run(main())


_EXPANDS = {"create_table", "create_index", "add_column", "get_context"}  # the last one only asks


def _only_adds(source: str) -> bool:
    """Whether a migration's calls of `op` are such that older code can work beside it."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return all(
        node.func.attr in _EXPANDS or _only_says_how_rows_lie(node)
        for node in calls
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id == "op"
    )


def _only_says_how_rows_lie(call: ast.Call) -> bool:
    """A storage parameter of a table: nobody's statements read otherwise for it."""
    said = [each.value for each in call.args if isinstance(each, ast.Constant)]
    return len(said) == 1 and re.fullmatch(r"ALTER TABLE \w+ SET \([a-z_]+ = \d+\)", str(said[0])) is not None


def test_a_migration_that_older_workers_may_work_beside_only_adds() -> None:
    scripts = list(ScriptDirectory(str(MIGRATIONS)).walk_revisions())
    known = {script.revision for script in scripts}

    for script in scripts:
        _, since, floor = script.revision.partition("_since_")
        if since:
            assert floor in known, script.revision
            assert _only_adds(Path(script.path).read_text()), script.revision
    sources = {script.revision: Path(script.path).read_text() for script in scripts}
    assert _only_adds(sources["0009"])
    assert not _only_adds(sources["0005"])  # which changes a table


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
