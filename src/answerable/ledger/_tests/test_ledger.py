"""The record as a whole: chained, counted, logged, sealed, owned by one process."""

import asyncio
import base64
import itertools
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from nacl.signing import VerifyKey

from answerable.core import Outcome, RunId, TenantId, new_run_id, parse_canonical
from answerable.ledger import (
    SYSTEM,
    DirectoryInUse,
    Draft,
    KeyFileUnsafe,
    Ledger,
    NoStore,
    ObjectErased,
    Prepared,
    Reader,
    StoreDamaged,
    control_run,
    leaf_hash,
    pae,
    root_hash,
)
from answerable.ledger._tests.conftest import PERMIT, TENANT, a_run, an_action

WithLedger = Callable[[Callable[[Ledger], Awaitable[None]]], None]


async def a_full_run(ledger: Ledger) -> str:
    run, _, journal = await a_run(ledger)
    for number in range(1, 6):
        step = await journal.open(an_action(run, number), PERMIT)
        await journal.close(step, Outcome(status="ok", value=b'"done"'))
    await ledger.append(Draft(tenant=TENANT, run=run, phase="run.close", agent="clerk", once=f"c:{run}"))
    return run


def test_a_batch_that_meets_what_is_there_already_leaves_nothing_and_the_next_one_lands(
    with_ledger: WithLedger,
) -> None:
    async def body(ledger: Ledger) -> None:
        run, _, _ = await a_run(ledger)

        def said(in_run: RunId) -> Draft:
            return Draft(tenant=TENANT, run=in_run, phase="observation", agent="clerk")

        await ledger.append(said(run))
        before = len(ledger.reader.receipts())
        ledger._recorder.heads[run] = (0, "sha256:" + "0" * 64)  # older than what is stored
        others = [said(control_run(TENANT)) for _ in range(40)]
        found = await asyncio.gather(*map(ledger.append, [said(run), *others]), return_exceptions=True)

        assert isinstance(found[0], sqlite3.IntegrityError)
        kept = [each for each in found if not isinstance(each, BaseException)]
        assert len(ledger.reader.receipts()) == before + len(kept)
        ledger._recorder.heads.pop(run)
        assert (await ledger.append(said(run))).seq == 2

    with_ledger(body)


@pytest.mark.requirement("EV-1")
def test_receipts_of_a_run_are_chained_signed_and_counted(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run = await a_full_run(ledger)

        receipts = ledger.reader.receipts(run=run)  # type: ignore[arg-type]
        for before, after in itertools.pairwise(receipts):
            assert after.predicate["prev"] == before.digest
        assert [receipt.predicate["seq"] for receipt in receipts] == list(range(12))
        assert [receipt.predicate["boundary"]["n"] for receipt in receipts] == list(range(12))
        assert receipts[-1].predicate["control"] == {"count": 11, "last": receipts[-2].digest}
        for receipt in receipts:
            VerifyKey(ledger.reader.gate_keys()[receipt.key_id]).verify(pae(receipt.body), receipt.signature)
            assert parse_canonical(receipt.body)["predicate"] == receipt.predicate

    with_ledger(body)


def test_the_checkpoint_commits_with_the_receipts_it_covers(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        await a_full_run(ledger)

        origin, size, root = ledger.reader.checkpoint().split("\n")[:3]

        entries = ledger.reader.entries()
        assert int(size) == len(entries) == 12
        assert origin.startswith("answerable.local/")

        assert base64.b64decode(root) == root_hash([leaf_hash(entry) for entry in entries])

    with_ledger(body)


def test_the_keys_are_the_first_thing_on_the_system_log(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        first, second = ledger.reader.receipts(tenant=SYSTEM)

        assert first.predicate["control"]["role"] == "gate"
        assert first.predicate["control"]["id"] == first.key_id
        assert second.predicate["control"]["role"] == "log"

    with_ledger(body)


def test_a_reopened_record_goes_on_where_it_was(tmp_path: Path) -> None:
    async def once() -> None:
        ledger = Ledger.open(tmp_path)
        await ledger.start()
        await a_full_run(ledger)
        await ledger.close()

    asyncio.run(once())
    asyncio.run(once())

    reader = Reader.open(tmp_path)
    receipts = reader.receipts()
    assert len({receipt.predicate["boundary"]["boot"] for receipt in receipts}) == 2
    assert [receipt.predicate["boundary"]["n"] for receipt in receipts] == [*range(12), *range(12)]
    assert len(reader.receipts(tenant=SYSTEM)) == 2
    assert reader.log_size() == 24


def test_text_is_nowhere_in_the_files_and_unseals_to_what_was_said(with_ledger: WithLedger, tmp_path: Path) -> None:
    async def body(ledger: Ledger) -> None:
        run = new_run_id()
        secret = "the customer's telephone number is 0123"
        await ledger.open_run(
            Draft(tenant=TENANT, run=run, phase="run.open", agent="clerk", input=json.dumps(secret).encode())
        )

        found = [path for path in tmp_path.rglob("*") if path.is_file() and b"telephone" in path.read_bytes()]

        assert not found
        assert json.loads(ledger.reader.text(ledger.reader.receipts(run=run)[0]).input or b"") == secret

    with_ledger(body)


def test_a_text_whose_subject_key_is_gone_says_so_and_the_receipt_stands(
    with_ledger: WithLedger, tmp_path: Path
) -> None:
    async def body(ledger: Ledger) -> None:
        run = await a_full_run(ledger)
        await ledger.writer.submit(lambda tx: tx.run(Prepared(sa.text("DELETE FROM subject_keys"))))

        reader = Reader.open(tmp_path)
        receipt = reader.receipts(run=run)[0]  # type: ignore[arg-type]

        with pytest.raises(ObjectErased):
            reader.text(receipt)
        assert receipt.predicate["commitments"]["input"].startswith("sha256:")

    with_ledger(body)


def test_pseudonyms_are_linkable_within_a_tenant_and_not_across(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        assert ledger.pseudonym(TENANT, "ann") == ledger.pseudonym(TENANT, "ann")
        assert ledger.pseudonym(TENANT, "ann") != ledger.pseudonym(TenantId("other"), "ann")

    with_ledger(body)


def test_private_keys_are_made_for_the_owner_alone(with_ledger: WithLedger, tmp_path: Path) -> None:
    async def body(ledger: Ledger) -> None:
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()}
        assert modes == {"gate.key": 0o600, "log.key": 0o600, "master.key": 0o600}

    with_ledger(body)


def test_a_key_file_others_can_read_is_refused(tmp_path: Path) -> None:
    Ledger.open(tmp_path).reader.close()
    (tmp_path / "keys" / "gate.key").chmod(0o644)
    os.truncate(tmp_path / "lock", 0)

    other = tmp_path / "other"
    (other / "keys").mkdir(parents=True)
    (other / "keys" / "gate.key").write_bytes((tmp_path / "keys" / "gate.key").read_bytes())
    (other / "keys" / "gate.key").chmod(0o644)

    with pytest.raises(KeyFileUnsafe, match="0644"):
        Ledger.open(other)


@pytest.mark.requirement("RT-1")
def test_a_second_process_is_told_who_owns_the_directory(with_ledger: WithLedger, tmp_path: Path) -> None:
    async def body(ledger: Ledger) -> None:
        program = (
            "import sys, pathlib\n"
            "from answerable.ledger import Ledger, DirectoryInUse\n"
            "try: Ledger.open(pathlib.Path(sys.argv[1]))\n"
            "except DirectoryInUse as error: print(error.pid)\n"
        )
        said = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
        ).stdout

        assert int(said) == os.getpid()

    with_ledger(body)


def test_a_directory_in_use_is_refused_in_the_same_process_too(with_ledger: WithLedger, tmp_path: Path) -> None:
    async def body(ledger: Ledger) -> None:
        with pytest.raises(DirectoryInUse):
            Ledger.open(tmp_path)

    with_ledger(body)


def test_a_damaged_database_is_a_clear_error_and_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "answerable.sqlite3").write_bytes(b"this is no database at all, not even a little" * 100)
    before = (tmp_path / "answerable.sqlite3").read_bytes()

    with pytest.raises(StoreDamaged, match="backup"):
        Ledger.open(tmp_path)

    assert (tmp_path / "answerable.sqlite3").read_bytes() == before


def test_reading_where_nothing_was_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoStore, match="--data"):
        Reader.open(tmp_path)
