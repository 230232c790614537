"""A record is copied while it is written, and comes back whole: without what was erased, or a second history."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from answerable import Answerable, Gate
from answerable.app import all_projections, continue_log, open_desk
from answerable.core import RunId, TenantId
from answerable.errors import (
    BackupKeysUnusable,
    BackupUnusable,
    DirectoryInUse,
    DirectoryNotEmpty,
    LogBehind,
    NothingStandsStill,
    StoreRestored,
)
from answerable.ledger import (
    Backup,
    Reader,
    Restored,
    back_up,
    compare,
    export_bundle,
    list_backups,
    read_head,
    read_standstill,
    restore,
)
from answerable.runtime import find_order, list_runs
from tests.integration.clinic import an_app, holding, on_disk, sealed_about, seen_to, verified

DANA = {"by": "person:dana", "reason": "the machine burned"}
TENANT = TenantId("default")
PASSPHRASE = b"correct horse battery staple"


def with_gate(app: Answerable, body: Callable[[Gate], Awaitable[None]]) -> None:
    async def main() -> None:
        async with app.gate() as gate, asyncio.timeout(40):
            await body(gate)

    asyncio.run(main())


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - what is awaited stands on the record, which has no event
        await asyncio.sleep(0.01)


@pytest.fixture
def app(tmp_path: Path) -> Answerable:
    return an_app(tmp_path)


@pytest.fixture
def backup(app: Answerable, tmp_path: Path) -> Backup:
    """A backup made with two runs on the record, one of them open."""
    made = []

    async def body(gate: Gate) -> None:
        await seen_to(gate)
        run = await gate.start("nurse", {"patient": "ben", "waits": True})
        await until(lambda: [each.phase for each in gate.reader.receipts(run=run)].count("outcome") == 2)
        made.append(await asyncio.to_thread(back_up, app.data, tmp_path / "backups", with_keys=True))

    with_gate(app, body)
    return made[0]


def went_on(directory: Path, *, is_after_gap: bool, **said: Any) -> tuple[str, ...]:
    return asyncio.run(continue_log(directory, is_after_gap=is_after_gap, **(DANA | said))).origins


def receipts(directory: Path) -> list[bytes]:
    with contextlib.closing(Reader.open(directory)) as reader:
        return [each.envelope for each in reader.receipts(tenant=TENANT)]


@pytest.mark.requirement("OP-1")
def test_a_backup_made_while_runs_are_written_is_of_one_moment(app: Answerable, tmp_path: Path) -> None:
    backups: list[Backup] = []

    async def body(gate: Gate) -> None:
        async def work(patient: str) -> None:
            for _ in range(8):
                await seen_to(gate, patient)

        working = asyncio.gather(*(work(f"p-{number}") for number in range(4)))
        while not working.done():
            backups.append(await asyncio.to_thread(back_up, app.data, tmp_path / "backups", with_keys=True))
        await working

    with_gate(app, body)

    assert len(backups) > 1
    assert [each.id for each in list_backups(tmp_path / "backups")] == sorted(each.id for each in backups)
    whole = receipts(app.data)
    for number, each in enumerate(backups):
        restored = restore(each.path, tmp_path / f"data-{number}")
        found = receipts(restored.directory)
        assert found == whole[: len(found)]
        assert all(table.is_equal for table in compare(restored.directory, all_projections()))


@pytest.mark.requirement("OP-1", "EV-2")
def test_a_restored_record_is_read_and_not_written_until_it_is_said_how_it_goes_on(
    app: Answerable, backup: Backup, tmp_path: Path
) -> None:
    shutil.rmtree(app.data)

    done = restore(backup.path, app.data)

    assert done.backup.id == backup.id
    before = receipts(app.data)
    with pytest.raises(StoreRestored):
        with_gate(app, lambda gate: asyncio.sleep(0))

    async def desk() -> None:
        async with open_desk(app.data):
            pass

    with pytest.raises(StoreRestored):
        asyncio.run(desk())
    with pytest.raises(StoreRestored):
        back_up(app.data, tmp_path / "again")
    assert receipts(app.data) == before
    went_on(app.data, is_after_gap=False)
    with pytest.raises(NothingStandsStill):
        went_on(app.data, is_after_gap=False)


@pytest.mark.requirement("OP-1", "RT-1")
def test_where_nothing_was_lost_runs_and_log_go_on_as_they_were(app: Answerable, backup: Backup) -> None:
    shutil.rmtree(app.data)
    restore(backup.path, app.data)

    origins = went_on(app.data, is_after_gap=False)

    assert set(origins) == {each["origin"] for each in backup.logs.values()}

    async def body(gate: Gate) -> None:
        open_run = next(row.run for row in list_runs(gate.reader) if row.state == "open")
        await gate.runs.signal(open_run, "next")
        assert await gate.result(open_run) == "nothing is known of ben"

    with_gate(app, body)
    told = [json.loads(each) for each in receipts(app.data)]
    assert len(told) > backup.logs["default"]["size"]
    assert all(table.is_equal for table in compare(app.data, all_projections()))


@pytest.mark.requirement("OP-1", "EV-2", "RT-3")
def test_after_a_gap_the_log_has_another_origin_and_open_runs_wait_for_a_person(
    app: Answerable, backup: Backup, tmp_path: Path
) -> None:
    lost: list[RunId] = []

    async def later(gate: Gate) -> None:
        lost.append(await seen_to(gate, "cyn"))

    with_gate(app, later)
    with contextlib.closing(Reader.open(app.data)) as reader:
        seen = read_head(reader.checkpoint())

    done = restore(backup.path, app.data, replace=True)

    assert done.lost == {"default": seen.size - backup.logs["default"]["size"]}
    assert done.replaced is not None
    assert len(receipts(done.replaced)) == seen.size
    with pytest.raises(LogBehind, match=f"{seen.size} entries"):
        went_on(app.data, is_after_gap=False)
    origins = went_on(app.data, is_after_gap=True)
    assert seen.origin not in origins
    assert all(".2/" in origin for origin in origins)

    async def body(gate: Gate) -> None:
        open_run = next(row.run for row in list_runs(gate.reader) if row.state == "open")
        order = find_order(gate.reader, open_run)
        assert order is not None
        assert order.do == "pause"
        run = await seen_to(gate, "dee")
        export_bundle(gate.reader, [run], tmp_path / "after.zip")
        said = next(
            control
            for each in gate.reader.receipts()
            if (control := each.predicate.get("control", {})).get("do") == "continue"
        )
        assert (said["how"], said["origin"], said["seen"]) == ("after-gap", seen.origin, seen.size)
        await gate.control.resume(open_run, by="person:dana", reason="nothing was done")
        await gate.runs.signal(open_run, "next")
        assert await gate.result(open_run) == "nothing is known of ben"

    with_gate(app, body)
    assert verified(app.data, tmp_path / "after.zip").verdict == "verified"
    assert all(table.is_equal for table in compare(app.data, all_projections()))


@pytest.mark.requirement("EV-12", "OP-1")
def test_an_old_backup_comes_back_without_what_was_erased_since(
    app: Answerable, backup: Backup, tmp_path: Path
) -> None:
    ada = [each for names, sealed in sealed_about(app.data).items() if names.startswith("party_") for each in sealed]

    async def erase(gate: Gate) -> None:
        await gate.desk.erase(subject="patient:ada", by="person:dana", reason="a letter")
        await gate.desk.erase(subject="patient:ben", by="person:dana", reason="a letter")

    with_gate(app, erase)
    assert len(holding(backup.path, on_disk(ada))) >= len(ada)
    shutil.rmtree(app.data)

    done = restore(backup.path, app.data)

    assert (done.erased, done.texts) == (2, 7)
    assert holding(app.data, on_disk(ada)) == []
    went_on(app.data, is_after_gap=True)
    assert holding(app.data, on_disk(ada)) == []
    with contextlib.closing(Reader.open(app.data)) as reader:
        assert {row.state for row in list_runs(reader)} == {"done", "erased"}


@pytest.mark.requirement("EV-12")
def test_a_list_of_erasures_from_elsewhere_is_followed_too(app: Answerable, backup: Backup, tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"

    async def erase(gate: Gate) -> None:
        shutil.move(tmp_path / "backups", tmp_path / "unplugged")
        said = await gate.desk.erase(subject="patient:ada", by="person:dana", reason="a letter")
        assert said["untold"] == [str(tmp_path / "backups")]

    with_gate(app, erase)
    shutil.copy(app.data / "erasures.jsonl", kept)
    shutil.move(tmp_path / "unplugged", tmp_path / "backups")

    without = restore(backup.path, tmp_path / "without")
    done = restore(backup.path, tmp_path / "with", erasures=[kept])

    assert (without.erased, done.erased, done.texts) == (0, 1, 4)


@pytest.mark.requirement("OP-1")
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "answerable.sqlite3").write_bytes(b"x" + (path / "answerable.sqlite3").read_bytes()[1:]),
        lambda path: (path / "answerable.sqlite3").unlink(),
        lambda path: (path / "more").write_text("unlisted"),
        lambda path: (path / "manifest.json").write_text("{}"),
        lambda path: (path / "manifest.json").unlink(),
    ],
    ids=["changed", "missing", "unlisted", "empty manifest", "no manifest"],
)
def test_a_damaged_backup_is_refused_and_nothing_is_made(
    backup: Backup, tmp_path: Path, damage: Callable[[Path], Any]
) -> None:
    damage(backup.path)

    with pytest.raises(BackupUnusable):
        restore(backup.path, tmp_path / "new")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups", "data", "policy"]


@pytest.mark.requirement("OP-1", "EV-2")
def test_a_backup_whose_receipts_were_changed_together_with_its_digests_is_refused(
    backup: Backup, tmp_path: Path
) -> None:
    import hashlib

    store = backup.path / "answerable.sqlite3"
    with contextlib.closing(sqlite3.connect(store)) as connection:
        connection.execute("UPDATE receipts SET body = cast(replace(body, 'nurse', 'nurze') AS blob) WHERE leaf = 2")
        connection.commit()
    manifest = json.loads((backup.path / "manifest.json").read_text())
    content = store.read_bytes()
    manifest["members"]["answerable.sqlite3"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (backup.path / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(BackupUnusable, match="not what was logged"):
        restore(backup.path, tmp_path / "new")


@pytest.mark.requirement("OP-1")
def test_nothing_is_restored_over_a_record_or_a_running_gate(app: Answerable, backup: Backup) -> None:
    with pytest.raises(DirectoryNotEmpty):
        restore(backup.path, app.data)

    async def body(gate: Gate) -> None:
        with pytest.raises(DirectoryInUse):
            restore(backup.path, app.data, replace=True)

    with_gate(app, body)


@pytest.mark.requirement("OP-1")
def test_keys_are_in_a_backup_only_if_asked_for_and_sealed_if_wished(app: Answerable, tmp_path: Path) -> None:
    async def body(gate: Gate) -> None:
        await seen_to(gate)

    with_gate(app, body)
    secrets = [path.read_bytes() for path in (app.data / "keys").iterdir()]
    without = back_up(app.data, tmp_path / "without")
    sealed = back_up(app.data, tmp_path / "sealed", with_keys=True, passphrase=PASSPHRASE)

    assert holding(tmp_path / "without", secrets) == holding(tmp_path / "sealed", secrets) == []
    with pytest.raises(BackupKeysUnusable, match="not in it"):
        restore(without.path, tmp_path / "new")
    with pytest.raises(BackupKeysUnusable, match="another passphrase"):
        restore(sealed.path, tmp_path / "new", passphrase=b"guess")
    shutil.copytree(app.data / "keys", tmp_path / "others")
    os.chmod(tmp_path / "others" / "gate.key", 0o600)
    (tmp_path / "others" / "master.key").write_bytes(b"\0" * 32)
    with pytest.raises(BackupKeysUnusable, match="another key"):
        restore(without.path, tmp_path / "new", keys=tmp_path / "others")
    assert not (tmp_path / "new").exists()
    restore(without.path, tmp_path / "one", keys=app.data / "keys")
    restore(sealed.path, tmp_path / "two", passphrase=PASSPHRASE)
    assert receipts(tmp_path / "one") == receipts(tmp_path / "two") == receipts(app.data)


@pytest.mark.requirement("OP-1")
def test_a_backup_that_was_cut_off_is_not_there_and_its_rest_is_cleared(app: Answerable, tmp_path: Path) -> None:
    async def body(gate: Gate) -> None:
        await seen_to(gate)

    with_gate(app, body)
    program = (
        "import os, signal, sys, pathlib\n"
        "from answerable.ledger import _backup\n"
        "_backup._sync_all = lambda folder: os.kill(os.getpid(), signal.SIGKILL)\n"
        "_backup.back_up(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, app.data, tmp_path / "backups"], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "backups").iterdir())) == 1
    assert list_backups(tmp_path / "backups") == []

    made = back_up(app.data, tmp_path / "backups")

    assert [path.name for path in (tmp_path / "backups").iterdir() if path.is_dir()] == [made.id]


@pytest.mark.requirement("EV-2", "OP-1")
def test_a_copy_of_the_database_put_back_by_hand_is_noticed_by_what_was_published(
    app: Answerable, tmp_path: Path
) -> None:
    from answerable.ledger import log_folder

    async def body(gate: Gate) -> None:
        await seen_to(gate)

    with_gate(app, body)
    shutil.copy(app.data / "answerable.sqlite3", tmp_path / "older")
    with_gate(app, body)
    with contextlib.closing(Reader.open(app.data)) as reader:
        log_folder(app.data, TENANT).publish(reader, TENANT)
    shutil.copy(tmp_path / "older", app.data / "answerable.sqlite3")
    before = receipts(app.data)

    with pytest.raises(LogBehind, match="the folder of the published log"):
        with_gate(app, body)

    assert receipts(app.data) == before
    reason = read_standstill(app.data)
    assert reason is not None
    with pytest.raises(LogBehind):
        went_on(app.data, is_after_gap=False)
    went_on(app.data, is_after_gap=True)
    with_gate(app, body)
    with contextlib.closing(Reader.open(app.data)) as reader:
        head = log_folder(app.data, TENANT).publish(reader, TENANT)
        assert head is not None
        assert head.origin == reader.log_key(TENANT)[0] != read_head(reason.origin + "\n0\n").origin


@pytest.mark.requirement("EV-6", "EV-12")
def test_what_restored_says_of_itself_names_its_backup(backup: Backup, tmp_path: Path) -> None:
    done: Restored = restore(backup.path, tmp_path / "new")

    reason = read_standstill(done.directory)

    assert reason is not None
    assert (reason.kind, reason.made, reason.id.partition("@")[0]) == ("restored", backup.at, backup.id)
