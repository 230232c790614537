"""Keys of gate and log change on the record, and verifiers hold each key to its time."""

import asyncio
import base64
import hashlib
import json
import shutil
import subprocess
import zipfile
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from answerable.core import RunId
from answerable.ledger import (
    SYSTEM,
    DirectoryInUse,
    KeyLost,
    KeyRetired,
    KeyRoleTaken,
    KeysElsewhere,
    KeyShared,
    Ledger,
    Reader,
    export_bundle,
    export_span,
    join_store,
    retire_key,
    rotate_key,
    write_trust,
)
from answerable.ledger._checkpoint import sign_checkpoint
from answerable.ledger._keys import FileSigner
from answerable.ledger._tests.evidence import ApprovedOnce, work
from answerable_verify import Report, verify
from answerable_verify._checkpoint import read_checkpoint
from tests.postgres import Databases

ROLES = pytest.mark.parametrize("role", ["gate", "log"])


def held(data: Path, body: Callable[[Ledger], Awaitable[Any]]) -> Any:
    """What `body` gives, with the record open."""

    async def main() -> Any:
        ledger = Ledger.open(data, projections=(ApprovedOnce(),))
        try:
            await ledger.start()
            return await body(ledger)
        finally:
            await ledger.close()

    return asyncio.run(main())


def one_run(data: Path, ticket: int = 1001) -> RunId:
    return RunId(held(data, lambda ledger: work(ledger, ticket)))


def rotate(data: Path, role: str) -> None:
    asyncio.run(rotate_key(data, role, by="ada", reason="a year is over"))


def by_shell(bundle: Path, trust: Path, folder: Path) -> tuple[int, str]:
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    done = subprocess.run(
        ["bash", str(folder / "VERIFY.sh"), "--trust", str(trust)], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def by_node(bundle: Path, trust: Path) -> tuple[int, set[str]]:
    """The exit code of the verifier in another language, and the checks that failed."""
    main = Path(__file__).parents[2] / "conformance" / "node-verify" / "main.mjs"
    done = subprocess.run(
        ["node", str(main), str(bundle), "--trust", str(trust)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout, done.stderr
    return done.returncode, {found["check"] for found in json.loads(done.stdout)["findings"]}


def failed(report: Report) -> set[str]:
    return {check.name for check in report.checks if check.status == "failed"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.mark.requirement("EV-2", "EV-3")
@ROLES
def test_what_was_written_before_and_after_a_rotation_verifies_under_one_trust(
    data: Path, tmp_path: Path, role: str
) -> None:
    before = one_run(data)
    old = (data / "keys" / f"{role}.key").read_bytes()
    rotate(data, role)
    after = one_run(data, 1002)

    reader = Reader.open(data)
    trust = write_trust(reader, tmp_path / "trust.toml")
    bundle = export_bundle(reader, [before, after], tmp_path / "both.zip")

    report = verify(bundle, trust)
    assert (report.verdict, [str(each) for each in report.findings]) == ("verified", [])
    assert next(check for check in report.checks if check.name == "key-period").count > 0
    code, said = by_shell(bundle, trust, tmp_path / "unpacked")
    assert code == 0, said
    assert by_node(bundle, trust) == (0, set())
    assert (data / "keys" / f"{role}.key").read_bytes() != old
    lives = [life for life in reader.keys_of(SYSTEM) if life.role == role]
    assert [life.is_in_use for life in lives] == [False, True]
    assert lives[0].reason == "a year is over"
    assert f"{role}_key{'_2' if role == 'log' else ''}_until" in trust.read_text()


@pytest.mark.requirement("EV-2")
def test_the_old_key_signs_that_the_new_one_follows_it_and_then_nothing_more(data: Path) -> None:
    one_run(data)
    rotate(data, "gate")
    one_run(data, 1002)

    receipts = [receipt for receipt in Reader.open(data).all() if receipt.phase == "key"]
    told = [(each.predicate["control"]["role"], each.predicate["control"]["state"]) for each in receipts]
    signed_by = [receipt.key_id for receipt in receipts]

    assert told == [("gate", "in use"), ("log", "in use"), ("gate", "in use"), ("gate", "retired")]
    assert len(set(signed_by)) == 1
    follows, retired = receipts[2].predicate["control"], receipts[3].predicate["control"]
    assert follows["replaces"] == retired["id"] == signed_by[0]
    assert retired["replacedBy"] == follows["id"]
    assert retired["by"].startswith("party_")
    last = [receipt.key_id for receipt in Reader.open(data).all()][-1]
    assert last == follows["id"]


@pytest.mark.requirement("EV-2")
@ROLES
def test_a_trust_file_from_before_does_not_believe_the_new_key(data: Path, tmp_path: Path, role: str) -> None:
    one_run(data)
    trust = write_trust(Reader.open(data), tmp_path / "trust.toml")
    rotate(data, role)
    run = one_run(data, 1002)

    report = verify(export_bundle(Reader.open(data), [run], tmp_path), trust)

    assert report.verdict == "does not verify"
    assert failed(report) == ({"signature"} if role == "gate" else {"checkpoint"})


@pytest.mark.requirement("EV-2")
def test_a_retired_gate_key_in_other_hands_signs_nothing_that_verifies(data: Path, tmp_path: Path) -> None:
    one_run(data)
    stolen = (data / "keys" / "gate.key").read_bytes()
    rotate(data, "gate")
    trust = write_trust(Reader.open(data), tmp_path / "trust.toml")
    keys_now = (data / "keys" / "gate.key").read_bytes()
    (data / "keys" / "gate.key").write_bytes(stolen)

    with pytest.raises(KeyRetired, match="retired at"):
        Ledger.open(data)

    # The thief has code of their own, which does not ask.
    thief = FileSigner.open(data / "keys" / "gate.key")
    (data / "keys" / "gate.key").write_bytes(keys_now)

    async def forge() -> str:
        ledger = Ledger.open(data, projections=(ApprovedOnce(),))
        await ledger.start()
        of = ledger._recorder
        of.gate, of.signing._signer, of.gate_row = thief, thief, 1
        try:
            return await work(ledger, 1003)
        finally:
            await ledger.close()

    bundle = export_bundle(Reader.open(data), [RunId(asyncio.run(forge()))], tmp_path)
    assert failed(verify(bundle, trust)) == {"key-period"}
    assert by_node(bundle, trust) == (4, {"key-period"})
    code, said = by_shell(bundle, trust, tmp_path / "unpacked")
    assert (code, "key-period" in said) == (4, True)


@pytest.mark.requirement("EV-2")
def test_a_retired_log_key_in_other_hands_signs_no_longer_log(data: Path, tmp_path: Path) -> None:
    one_run(data)
    thief = FileSigner.open(Path(shutil.copy(data / "keys" / "log.key", tmp_path / "stolen.key")))
    rotate(data, "log")
    run = one_run(data, 1002)
    reader = Reader.open(data)
    trust = write_trust(reader, tmp_path / "trust.toml")
    bundle = export_bundle(reader, [run], tmp_path / "run.zip")
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    origin, size, root = members["checkpoint.txt"].decode().split("\n")[:3]
    members["checkpoint.txt"] = sign_checkpoint(thief, origin, int(size), base64.b64decode(root)).encode()
    manifest = json.loads(members.pop("manifest.json"))
    manifest["members"]["checkpoint.txt"] = hashlib.sha256(members["checkpoint.txt"]).hexdigest()
    members["manifest.json"] = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    forged = tmp_path / "forged.zip"
    with zipfile.ZipFile(forged, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)

    assert failed(verify(bundle, trust)) == set()
    assert failed(verify(forged, trust)) == {"key-period"}
    assert by_node(bundle, trust) == (0, set())
    assert by_node(forged, trust) == (4, {"key-period"})
    code, said = by_shell(forged, trust, tmp_path / "unpacked")
    assert (code, "key-period" in said) == (4, True)


@ROLES
def test_a_rotation_broken_off_after_it_was_announced_is_finished_by_the_next_start(data: Path, role: str) -> None:
    one_run(data)
    key, waiting = data / "keys" / f"{role}.key", data / "keys" / f"{role}.next.key"
    old = key.read_bytes()
    rotate(data, role)
    new = key.read_bytes()
    key.rename(waiting)  # as a crash between the record and the file would leave them
    key.write_bytes(old)
    key.chmod(0o600)

    one_run(data, 1002)

    assert key.read_bytes() == new
    assert not waiting.exists()


@ROLES
def test_a_rotation_broken_off_before_it_was_announced_leaves_the_old_key_in_use(data: Path, role: str) -> None:
    one_run(data)
    key, waiting = data / "keys" / f"{role}.key", data / "keys" / f"{role}.next.key"
    old = key.read_bytes()
    FileSigner.open(waiting)

    one_run(data, 1002)

    assert key.read_bytes() == old
    assert not waiting.exists()


@ROLES
def test_a_retired_key_has_none_to_follow_until_one_is_made(data: Path, tmp_path: Path, role: str) -> None:
    one_run(data)
    asyncio.run(retire_key(data, role, by="ada", reason="a laptop was stolen"))
    with pytest.raises(KeyRetired):
        Ledger.open(data)

    rotate(data, role)
    run = one_run(data, 1002)

    reader = Reader.open(data)
    trust = write_trust(reader, tmp_path / "trust.toml")
    assert verify(export_bundle(reader, [run], tmp_path), trust).verdict == "verified"
    assert [life.is_in_use for life in reader.keys_of(SYSTEM) if life.role == role] == [False, True]


@pytest.mark.requirement("EV-2")
@pytest.mark.parametrize(("role", "other"), [("gate", "log"), ("log", "gate")])
def test_one_key_is_refused_in_two_roles(data: Path, role: str, other: str) -> None:
    one_run(data)
    shutil.copy(data / "keys" / f"{other}.key", data / "keys" / f"{role}.key")

    with pytest.raises(KeyRoleTaken, match=other):
        Ledger.open(data)


def test_the_first_start_refuses_one_key_for_both_roles(data: Path) -> None:
    (data / "keys").mkdir(parents=True)
    FileSigner.open(data / "keys" / "gate.key")
    shutil.copy(data / "keys" / "gate.key", data / "keys" / "log.key")

    with pytest.raises(KeyRoleTaken):
        Ledger.open(data)


def test_a_key_does_not_come_back_after_it_was_rotated_away(data: Path, tmp_path: Path) -> None:
    one_run(data)
    old = Path(shutil.copy(data / "keys" / "gate.key", tmp_path / "old.key"))
    rotate(data, "gate")

    def back(path: Path) -> None:
        shutil.copy(old, path)

    with pytest.raises(KeyRoleTaken):
        asyncio.run(rotate_key(data, "gate", by="ada", reason="", write=back))

    one_run(data, 1002)  # nothing is half done


@ROLES
def test_a_key_that_was_lost_is_not_silently_made_anew(data: Path, role: str) -> None:
    one_run(data)
    (data / "keys" / f"{role}.key").unlink()
    with pytest.raises(KeyLost):
        Ledger.open(data)

    rotate(data, role)

    one_run(data, 1002)
    assert [life.is_in_use for life in Reader.open(data).keys_of(SYSTEM) if life.role == role] == [False, True]


def test_keys_are_not_rotated_while_a_gate_runs(data: Path) -> None:
    async def body(ledger: Ledger) -> None:
        with pytest.raises(DirectoryInUse):
            await rotate_key(data, "gate", by="ada", reason="")

    held(data, body)


@pytest.mark.requirement("RT-5", "EV-2")
def test_where_gates_share_a_log_a_replaced_key_signs_none_of_it_whoever_still_has_it(
    data: Path, tmp_path: Path, postgres: Databases
) -> None:
    other = tmp_path / "other"

    async def main() -> None:
        ledger = Ledger.open(data, projections=(ApprovedOnce(),), store=postgres.new())
        await ledger.start()
        await work(ledger, 1)
        await ledger.close()
        join_store(other, data, enters_log=True)
        elsewhere = Ledger.open(other, projections=(ApprovedOnce(),))
        await elsewhere.start()
        await until_entered(elsewhere)
        was = elsewhere.reader.log_keys()[-1]

        await rotate_key(data, "log", by="ada", reason="", projections=(ApprovedOnce(),))
        await work(elsewhere, 2)  # by a gate that has the old key, and whose sequencer was the log's

        ledger = Ledger.open(data, projections=(ApprovedOnce(),))
        await ledger.start()
        await until_entered(ledger)
        assert len(ledger.reader.log_keys()) == 2
        for tenant in ledger.reader.tenants():
            head = read_checkpoint(ledger.reader.checkpoint(tenant).encode())
            assert head.is_signed_by(ledger.reader.log_keys()[-1])
            assert not head.is_signed_by(was)
        export_span(ledger.reader, tmp_path / "all.zip")
        await ledger.close()
        await elsewhere.close()

    asyncio.run(main())
    with closing(Reader.open(data)) as reader:
        trust = write_trust(reader, tmp_path / "trust.toml")

    assert verify(tmp_path / "all.zip", trust).verdict == "verified"
    with pytest.raises(KeysElsewhere, match="the present log key"):
        Ledger.open(other, projections=(ApprovedOnce(),))
    (other / "keys" / "log.key").write_bytes((data / "keys" / "log.key").read_bytes())
    asyncio.run(first_again(other))


async def until_entered(ledger: Ledger) -> None:
    """Returns once all that was appended is under a checkpoint."""
    async with asyncio.timeout(60):
        while any(  # noqa: ASYNC110 - the sequencer is on a thread, or in another gate
            read_checkpoint(ledger.reader.checkpoint(tenant).encode()).size
            < len([each for each in ledger.reader.receipts() if each.predicate["tenant"] == tenant])
            for tenant in ledger.reader.tenants()
        ):
            await asyncio.sleep(0.05)


@pytest.mark.requirement("RT-5")
def test_of_a_record_that_gates_share_each_rotates_its_own_key_and_the_logs_only_who_has_it(
    data: Path, tmp_path: Path, postgres: Databases
) -> None:
    other = tmp_path / "other"

    async def first() -> None:
        ledger = Ledger.open(data, projections=(ApprovedOnce(),), store=postgres.new())
        await ledger.start()
        await ledger.close()

    asyncio.run(first())
    join_store(other, data)
    asyncio.run(first_again(other))
    before = (other / "keys" / "gate.key").read_bytes()

    with pytest.raises(KeyShared):
        rotate(other, "log")
    with pytest.raises(KeyShared):
        asyncio.run(retire_key(other, "log", by="ada", reason=""))
    rotate(other, "gate")
    asyncio.run(first_again(other))

    assert (other / "keys" / "gate.key").read_bytes() != before
    lives = [life.is_in_use for life in Reader.open(data).keys_of(SYSTEM) if life.role == "gate"]
    assert sorted(lives) == [False, True, True]


async def first_again(data: Path) -> None:
    ledger = Ledger.open(data, projections=(ApprovedOnce(),))
    await ledger.start()
    await ledger.close()
