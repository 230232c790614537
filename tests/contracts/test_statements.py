"""Every statement of the house, as both databases take it."""

import gc
import importlib
import pkgutil
import sqlite3
from pathlib import Path

import psycopg
import pytest

import answerable
from answerable.ledger import Ledger, Prepared
from tests.postgres import Databases


def statements() -> list[Prepared]:
    for module in pkgutil.walk_packages(answerable.__path__, "answerable."):
        if not {"_tests", "_migrations", "__main__"} & set(module.name.split(".")):
            importlib.import_module(module.name)
    return [each for each in gc.get_objects() if isinstance(each, Prepared)]


def is_of_postgres_alone(text: str) -> bool:
    words = (
        "pg_",
        "clock_timestamp",
        "SKIP LOCKED",
        "to_regclass",
        "FETCH",
        "LISTEN",
        "SET ",
        "DECLARE",
        "CLOSE ",
        "BEGIN",
    )
    return any(word in text for word in words)


@pytest.mark.requirement("RT-5")
def test_every_statement_is_understood_by_both_databases(tmp_path: Path, postgres: Databases) -> None:
    ledger = Ledger.open(tmp_path)
    ledger.reader.close()
    found = statements()
    url = postgres.new()

    with psycopg.connect(url, autocommit=True) as server:
        for statement in found:
            server.pgconn.prepare(statement.postgres.name, statement.postgres.text.encode())
            described = server.pgconn.describe_prepared(statement.postgres.name)
            assert described.status == psycopg.pq.ExecStatus.COMMAND_OK, statement.postgres.text
    with sqlite3.connect(tmp_path / "answerable.sqlite3") as file:
        for statement in found:
            if not is_of_postgres_alone(statement.postgres.text):
                file.execute(f"EXPLAIN {statement.sqlite}", [None] * statement.sqlite.count("?"))
    file.close()

    assert len(found) > 100
