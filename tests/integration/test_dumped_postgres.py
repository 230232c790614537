"""A record on Postgres that comes back from a dump knows it, and is written on once somebody says how."""

import asyncio
import contextlib
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from answerable import Answerable, Gate
from answerable.app import all_projections, continue_log
from answerable.core import RunId, TenantId
from answerable.errors import (
    GapOnSharedRecord,
    KeysElsewhere,
    LogBehind,
    NothingStandsStill,
    StoreMoved,
    StoreUnreachable,
)
from answerable.ledger import (
    Reader,
    Standstill,
    back_up,
    compare,
    export_bundle,
    join_store,
    log_folder,
    read_head,
    stand_still,
)
from answerable.ledger._drivers._postgres import PostgresStore
from answerable.runtime import find_order, list_runs
from tests.integration.clinic import an_app, seen_to, verified, went_on, with_gate
from tests.postgres import Databases, Server

pytestmark = pytest.mark.requirement("OP-1", "EV-2")

TENANT = TenantId("default")


def receipts(directory: Path) -> list[bytes]:
    with contextlib.closing(Reader.open(directory)) as reader:
        return [each.envelope for each in reader.all()]


def tool(server: Server, *words: str) -> None:
    subprocess.run([server.binaries / words[0], *words[1:]], check=True, timeout=60, capture_output=True)


class Dumped:
    """A database that is dumped, and put back at the same address in the place of what is there."""

    def __init__(self, server: Server, url: str, folder: Path) -> None:
        self._server, self._url, self._file = server, url, folder / "dump"
        tool(server, "pg_dump", "--format=custom", f"--file={self._file}", url)

    def put_back(self) -> None:
        name = urlsplit(self._url).path[1:]
        self._server.cut_connections(self._url)
        self._server.sql(self._server.url("postgres"), f"ALTER DATABASE {name} RENAME TO {name}_before")
        self._server.sql(self._server.url("postgres"), f"CREATE DATABASE {name}")
        tool(self._server, "pg_restore", f"--dbname={self._url}", str(self._file))


@pytest.fixture
def app(tmp_path: Path, postgres: Databases) -> Answerable:
    """With one run that is over, one that waits, and a second worker's directory."""
    app = an_app(tmp_path, store=postgres.server.new_database())  # nobody gets it after this test

    async def body(gate: Gate) -> None:
        await seen_to(gate)
        waiting = await gate.start("nurse", {"patient": "ben", "waits": True})
        async with asyncio.timeout(60):
            while [each.phase for each in gate.reader.receipts(run=waiting)].count("outcome") < 2:  # noqa: ASYNC110 - the record has no event
                await asyncio.sleep(0.01)

    with_gate(app, body)
    join_store(tmp_path / "other", app.data)
    return app


async def _see_ben(gate: Gate) -> None:
    open_run = next(row.run for row in list_runs(gate.reader) if row.state == "open")
    await gate.runs.signal(open_run, "next")
    assert await gate.result(open_run) == "nothing is known of ben"


async def _see_cyn(gate: Gate) -> None:
    await seen_to(gate, "cyn")


def test_every_gate_of_a_database_put_back_from_a_dump_waits_until_one_says_that_nothing_was_lost(
    app: Answerable, tmp_path: Path, postgres: Databases
) -> None:
    Dumped(postgres.server, app.store, tmp_path).put_back()
    before = receipts(app.data)
    other = an_app(tmp_path, store=app.store)
    other.data = tmp_path / "other"

    for each in (app, other):
        with pytest.raises(StoreMoved):
            with_gate(each, lambda gate: asyncio.sleep(0))
    with pytest.raises(StoreMoved):
        back_up(app.data, tmp_path / "backups")
    assert receipts(app.data) == before

    went_on(app.data, is_after_gap=False)

    with_gate(other, _see_ben)
    with pytest.raises(NothingStandsStill):
        went_on(app.data, is_after_gap=False)
    with_gate(app, lambda gate: asyncio.sleep(0))
    assert receipts(app.data)[: len(before)] == before


def test_what_was_lost_since_the_dump_shows_in_the_published_log_and_shared_logs_go_on_under_new_origins(
    app: Answerable, tmp_path: Path, postgres: Databases
) -> None:
    dumped = Dumped(postgres.server, app.store, tmp_path)
    other = an_app(tmp_path, store=app.store)
    other.data = tmp_path / "other"
    with_gate(app, _see_cyn)
    for each in (app, other):
        with contextlib.closing(Reader.open(each.data)) as reader:
            seen = log_folder(each.data, TENANT).publish(reader, TENANT)
    assert seen is not None

    dumped.put_back()

    with pytest.raises(StoreMoved):
        with_gate(app, lambda gate: asyncio.sleep(0))
    with pytest.raises(LogBehind, match=f"{seen.size} entries"):
        went_on(app.data, is_after_gap=False)
    with pytest.raises(KeysElsewhere, match="log key"):
        went_on(other.data, is_after_gap=True)
    origins = went_on(app.data, is_after_gap=True)
    assert all(".2/" in origin for origin in origins)

    ended: list[RunId] = []

    async def body(gate: Gate) -> None:
        open_run = next(row.run for row in list_runs(gate.reader) if row.state == "open")
        order = find_order(gate.reader, open_run)
        assert order is not None
        assert order.do == "pause"
        ended.append(await seen_to(gate, "dee"))

    with_gate(other, body)  # which had published the old history, and asks nobody
    with_gate(app, body)
    for each in (app, other):
        with contextlib.closing(Reader.open(each.data)) as reader:
            head = log_folder(each.data, TENANT).publish(reader, TENANT)
            assert head is not None
            assert head.origin in origins
            assert {read_head(reader.checkpoint(tenant)).origin for tenant in reader.tenants()} == set(origins)
            export_bundle(reader, ended, tmp_path / "after.zip")
        assert verified(each.data, tmp_path / "after.zip").verdict == "verified"
    assert all(table.is_equal for table in compare(app.data, all_projections()))


def test_shared_logs_get_no_new_origins_while_another_gate_writes_them(
    app: Answerable, tmp_path: Path, postgres: Databases
) -> None:
    other = an_app(tmp_path, store=app.store)
    other.data = tmp_path / "other"
    stand_still(app.data, Standstill(kind="behind", id="it", at="2026-01-01T00:00:00Z", seen={}, who="a witness"))

    async def body(gate: Gate) -> None:
        with pytest.raises(GapOnSharedRecord, match="1 other gates"):
            await continue_log(app.data, is_after_gap=True, by="person:dana", reason="a witness says so")

    with_gate(other, body)

    assert all(".2/" in origin for origin in went_on(app.data, is_after_gap=True))
    with_gate(app, lambda gate: asyncio.sleep(0))
    with_gate(other, lambda gate: asyncio.sleep(0))


def test_a_database_that_was_exchanged_under_a_gate_is_not_written_by_it(
    app: Answerable, tmp_path: Path, postgres: Databases
) -> None:
    store = PostgresStore(app.store)
    store.stay()
    with contextlib.closing(store.connect(writable=False)):
        pass

    Dumped(postgres.server, app.store, tmp_path).put_back()

    with pytest.raises(StoreUnreachable, match="another database"):
        store.connect(writable=False)
    with psycopg.connect(app.store) as connection:  # which answers everybody else
        assert connection.execute("SELECT count(*) FROM homes").fetchone() == (1,)


def test_whoever_may_only_use_the_database_may_learn_which_it_is(app: Answerable, postgres: Databases) -> None:
    postgres.server.sql(postgres.server.url("postgres"), "CREATE ROLE plain_user LOGIN")
    try:
        plain = PostgresStore(app.store.replace("postgres@", "plain_user@", 1))
        own = PostgresStore(app.store)
        for each in (plain, own):
            each.stay()
        assert plain.home == own.home != ""
    finally:
        postgres.server.sql(postgres.server.url("postgres"), "DROP ROLE plain_user")
