"""A record that gates share is backed up while they write it, and goes on from there: in a file, or shared again."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg
import pytest

from answerable import Answerable, Gate
from answerable.app import all_projections
from answerable.core import RunId, TenantId
from answerable.errors import BackupUnusable, LogBehind, OtherSchema, StoreRestored
from answerable.ledger import (
    SYSTEM,
    Backup,
    Draft,
    Ledger,
    Reader,
    back_up,
    compare,
    control_run,
    copy_store,
    envelope_json,
    export_bundle,
    join_store,
    read_head,
    restore,
    store_of,
)
from answerable.runtime import find_order, list_runs
from tests.integration.clinic import an_app, seen_to, verified, went_on, with_gate
from tests.postgres import Databases

pytestmark = pytest.mark.requirement("OP-1", "EV-2")

TENANT = TenantId("default")


def a_note(tenant: TenantId) -> Draft:
    said = {"control": {"do": "signal", "name": "a note"}}
    return Draft(tenant=tenant, run=control_run(tenant), phase="control", agent="gate", members=said)


def receipts(directory: Path) -> list[bytes]:
    with contextlib.closing(Reader.open(directory)) as reader:
        return [each.envelope for each in reader.all()]


@pytest.fixture
def app(tmp_path: Path, postgres: Databases) -> Answerable:
    return an_app(tmp_path, store=postgres.new())


@pytest.fixture
def backup(app: Answerable, tmp_path: Path) -> Backup:
    """Of two runs, one of which waits, and of receipts in no log yet: whoever wrote them enters none."""

    async def body(gate: Gate) -> None:
        await seen_to(gate)
        waiting = await gate.start("nurse", {"patient": "ben", "waits": True})
        async with asyncio.timeout(60):
            while [each.phase for each in gate.reader.receipts(run=waiting)].count("outcome") < 2:  # noqa: ASYNC110 - the record has no event
                await asyncio.sleep(0.01)

    with_gate(app, body)
    join_store(tmp_path / "other", app.data)

    async def more() -> None:
        ledger = Ledger.open(tmp_path / "other", projections=all_projections())
        await ledger.start()
        for tenant in (TENANT, TENANT, TenantId("new")):
            await ledger.append(a_note(tenant))
        await ledger.close()

    asyncio.run(more())
    return back_up(app.data, tmp_path / "backups", with_keys=True)


def test_a_backup_made_while_gates_write_is_of_one_moment(app: Answerable, tmp_path: Path) -> None:
    backups: list[Backup] = []

    async def body(gate: Gate) -> None:
        await seen_to(gate)
        join_store(tmp_path / "other", app.data)
        other = Ledger.open(tmp_path / "other", projections=all_projections())
        await other.start()

        async def work(patient: str) -> None:
            for _ in range(6):
                await seen_to(gate, patient)

        async def note() -> None:
            while len(backups) < 2:
                await other.append(a_note(TENANT))

        working = asyncio.gather(note(), *(work(f"p-{number}") for number in range(3)))
        while not working.done():
            backups.append(await asyncio.to_thread(back_up, app.data, tmp_path / "backups", with_keys=True))
        await working
        await other.close()

    with_gate(app, body)

    whole = receipts(app.data)
    assert len(backups) > 1
    for number, each in enumerate(backups):
        restored = restore(each.path, tmp_path / f"data-{number}")
        found = receipts(restored.directory)
        assert found == whole[: each.receipts]
        assert all(table.is_equal for table in compare(restored.directory, all_projections()))


def test_restored_to_a_file_it_stands_still_and_then_has_every_receipt_in_its_log(
    app: Answerable, backup: Backup, tmp_path: Path
) -> None:
    before = receipts(app.data)
    sizes = sum(told["size"] for told in backup.logs.values())
    assert backup.logs["new"]["size"] == 0
    assert sizes < backup.receipts == len(before)

    restored = restore(backup.path, tmp_path / "restored").directory

    assert not store_of(restored).is_shared
    assert receipts(restored) == before
    app.data, app.store = restored, ""
    with pytest.raises(StoreRestored):
        with_gate(app, lambda gate: asyncio.sleep(0))
    assert set(went_on(restored, is_after_gap=False)) == {told["origin"] for told in backup.logs.values()}

    async def body(gate: Gate) -> None:
        open_run = next(row.run for row in list_runs(gate.reader) if row.state == "open")
        await gate.runs.signal(open_run, "next")
        assert await gate.result(open_run) == "nothing is known of ben"
        export_bundle(gate.reader, [open_run], tmp_path / "after.zip")

    with_gate(app, body)
    assert verified(restored, tmp_path / "after.zip").verdict == "verified"
    assert receipts(restored)[: len(before)] == before
    with contextlib.closing(Reader.open(restored)) as reader:
        for tenant in (SYSTEM, TENANT, TenantId("new")):
            head = read_head(reader.checkpoint(tenant))
            assert head.size == reader.log_size(tenant) == len(reader.entries(tenant, 1 << 40))
    assert all(table.is_equal for table in compare(restored, all_projections()))


def test_after_a_gap_it_is_shared_again_under_a_new_origin(
    app: Answerable, backup: Backup, tmp_path: Path, postgres: Databases
) -> None:
    async def later(gate: Gate) -> None:
        await seen_to(gate, "cyn")

    with_gate(app, later)
    with contextlib.closing(Reader.open(app.data)) as reader:
        seen = read_head(reader.checkpoint())

    done = restore(backup.path, app.data, replace=True)

    assert done.lost["default"] == seen.size - backup.logs["default"]["size"]
    with pytest.raises(LogBehind):
        went_on(app.data, is_after_gap=False)
    origins = went_on(app.data, is_after_gap=True)
    assert all(".2/" in origin for origin in origins)
    app.store = postgres.new()
    copy_store(app.data, app.store)
    ended: list[RunId] = []

    async def body(gate: Gate) -> None:
        open_run = next(row.run for row in list_runs(gate.reader) if row.state == "open")
        order = find_order(gate.reader, open_run)
        assert order is not None
        assert order.do == "pause"
        ended.append(await seen_to(gate, "dee"))

    with_gate(app, body)
    with contextlib.closing(Reader.open(app.data)) as reader:
        after = [read_head(reader.checkpoint(tenant)) for tenant in reader.tenants()]
        export_bundle(reader, ended, tmp_path / "after.zip")
    assert {head.origin for head in after} == set(origins)
    report = verified(app.data, tmp_path / "after.zip")
    assert report.verdict == "verified", report


def _forge(store: sqlite3.Connection) -> None:
    position, body, key = store.execute("SELECT position, body, key FROM receipts ORDER BY position DESC").fetchone()
    (key_id,) = store.execute("SELECT key_id FROM keys WHERE id = ?", (key,)).fetchone()
    digest = sha256(envelope_json(body, bytes(64), key_id)).digest()
    store.execute("UPDATE receipts SET signature = ?, digest = ? WHERE position = ?", (bytes(64), digest, position))


def _drop(store: sqlite3.Connection) -> None:
    store.execute(
        "DELETE FROM receipts WHERE tenant = 'default' AND leaf = (SELECT size FROM logs WHERE tenant = 'default')"
    )


@pytest.mark.parametrize(("damage", "problem"), [(_forge, "by no gate of the record"), (_drop, "are missing")])
def test_a_receipt_in_no_log_yet_is_held_to_its_signature_and_its_place(
    backup: Backup, tmp_path: Path, damage: Callable[[sqlite3.Connection], None], problem: str
) -> None:
    store = backup.path / "answerable.sqlite3"
    with contextlib.closing(sqlite3.connect(store)) as connection:
        damage(connection)
        connection.commit()
    manifest: dict[str, Any] = json.loads((backup.path / "manifest.json").read_text())
    content = store.read_bytes()
    manifest["members"]["answerable.sqlite3"] = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
    (backup.path / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(BackupUnusable, match=problem):
        restore(backup.path, tmp_path / "new")


def test_a_database_of_another_versions_schema_is_not_copied_in_part(app: Answerable, tmp_path: Path) -> None:
    async def body(gate: Gate) -> None:
        await seen_to(gate)

    with_gate(app, body)
    with psycopg.connect(app.store, autocommit=True) as connection:
        (known,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
        connection.execute(b"UPDATE alembic_version SET version_num = '9999_since_0013'")
        with pytest.raises(OtherSchema):
            back_up(app.data, tmp_path / "backups")
        connection.execute(b"UPDATE alembic_version SET version_num = '%b'" % known.encode())

    assert list((tmp_path / "backups").iterdir()) == []
