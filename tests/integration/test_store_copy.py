"""A record that began in a file goes on in Postgres: every receipt and proof comes along, and new ones follow."""

import asyncio
import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from answerable.core import RunId
from answerable.ledger import (
    DirectoryInUse,
    KeysElsewhere,
    Ledger,
    NoStore,
    Projection,
    Reader,
    StoreElsewhere,
    StoreNotEmpty,
    copy_store,
    export_bundle,
    join_store,
    read_head,
    rebuild,
    write_trust,
)
from answerable.ledger._tests.evidence import ApprovedOnce, a_record, work
from answerable_verify import verify
from tests.postgres import Databases

pytestmark = pytest.mark.requirement("RT-5", "EV-2", "OP-1")
PROJECTIONS: tuple[Projection, ...] = (ApprovedOnce(),)


def made(directory: Path) -> list[RunId]:
    async def body(ledger: Ledger) -> list[RunId]:
        return [await work(ledger, ticket, rounds=2) for ticket in (1, 2)]

    return a_record(directory, body)


def test_a_copied_record_has_every_receipt_and_proof_of_the_original(tmp_path: Path, postgres: Databases) -> None:
    runs = made(tmp_path / "data")
    with closing(Reader.open(tmp_path / "data")) as reader:
        before = [(each.position, each.envelope, reader.leaf(each)) for each in reader.all()]
        note, texts = reader.checkpoint(), [reader.text(each) for each in reader.receipts(run=runs[0])]
        write_trust(reader, tmp_path / "trust.toml")
        export_bundle(reader, runs, tmp_path / "before.zip")

    assert copy_store(tmp_path / "data", postgres.new()) == len(before)

    with closing(Reader.open(tmp_path / "data")) as reader:
        assert [(each.position, each.envelope, reader.leaf(each)) for each in reader.all()] == before
        assert reader.checkpoint() == note
        assert [reader.text(each) for each in reader.receipts(run=runs[0])] == texts
        export_bundle(reader, runs, tmp_path / "after.zip")
    report = verify(tmp_path / "after.zip", tmp_path / "trust.toml")
    assert (report.verdict, report.findings) == ("verified", ())
    assert all(table.is_equal for table in rebuild(tmp_path / "data", PROJECTIONS))


def test_a_copied_record_goes_on_in_the_same_log_under_the_same_trust(tmp_path: Path, postgres: Databases) -> None:
    made(tmp_path / "data")
    with closing(Reader.open(tmp_path / "data")) as reader:
        old = read_head(reader.checkpoint())
        write_trust(reader, tmp_path / "trust.toml")
    copy_store(tmp_path / "data", postgres.new())

    (run,) = a_record(tmp_path / "data", lambda ledger: _one(ledger))

    with closing(Reader.open(tmp_path / "data")) as reader:
        new = read_head(reader.checkpoint())
        export_bundle(reader, [run], tmp_path / "new.zip")
        entries = reader.entries()
    assert new.origin == old.origin
    assert new.size == len(entries) > old.size
    report = verify(tmp_path / "new.zip", tmp_path / "trust.toml")
    assert (report.verdict, report.findings) == ("verified", ())


async def _one(ledger: Ledger) -> list[RunId]:
    return [await work(ledger, 3)]


def test_a_copy_that_was_broken_off_after_its_commit_is_found_and_kept(tmp_path: Path, postgres: Databases) -> None:
    made(tmp_path / "data")
    url = postgres.new()
    count = copy_store(tmp_path / "data", url)
    (tmp_path / "data" / "store.toml").unlink()

    assert copy_store(tmp_path / "data", url) == count
    with pytest.raises(StoreElsewhere):
        copy_store(tmp_path / "data", url)


def test_a_record_is_copied_neither_over_another_nor_from_under_its_gate(tmp_path: Path, postgres: Databases) -> None:
    made(tmp_path / "one")
    made(tmp_path / "two")
    url = postgres.new()
    copy_store(tmp_path / "one", url)

    with pytest.raises(StoreNotEmpty):
        copy_store(tmp_path / "two", url)
    with pytest.raises(NoStore):
        copy_store(tmp_path / "three", url)

    async def under_its_gate() -> None:
        ledger = Ledger.open(tmp_path / "two")
        try:
            with pytest.raises(DirectoryInUse):
                copy_store(tmp_path / "two", postgres.new())
        finally:
            await ledger.close()

    asyncio.run(under_its_gate())
    assert not (tmp_path / "two" / "store.toml").exists()


def test_a_worker_joins_by_command_and_one_without_the_keys_is_refused(tmp_path: Path, postgres: Databases) -> None:
    made(tmp_path / "data")
    url = postgres.new()

    copied = _command("store", "copy", str(tmp_path / "data"), url, "--json")
    joined = _command("store", "join", str(tmp_path / "more"), "--like", str(tmp_path / "data"), "--json")
    shown = _command("store", "show", "--data", str(tmp_path / "more"), "--json")

    assert copied["receipts"] > 0
    assert joined["logKey"] is False
    assert shown["isShared"] is True
    assert shown["logs"]["default"] > 0
    assert not (tmp_path / "more" / "keys" / "log.key").exists()
    with pytest.raises(KeysElsewhere):
        Ledger.open(tmp_path / "stranger", store=url)
    with pytest.raises(StoreElsewhere):
        join_store(tmp_path / "more", tmp_path / "data")


def _command(*words: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "answerable.cli", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said
