"""What a monitor finds in a log whose operator, with every key in hand, does not behave."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable.core import canonical_json
from answerable.ledger import FileSigner, Reader, envelope_json, leaf_hash, pae, root_hash, write_trust
from answerable.ledger._checkpoint import sign_checkpoint
from answerable.ledger._tests.evidence import a_record, work
from answerable_verify import Alert, Mirror, Monitor, Round, Trust, read_trust

Change = Callable[[dict[str, Any]], object]


@dataclass
class Operator:
    """Holds the gate's and the log's keys, and shows a log of whatever envelopes it likes."""

    gate: FileSigner
    log: FileSigner
    origin: str
    envelopes: list[bytes]
    files: dict[str, bytes] = field(default_factory=dict)

    def entries(self, size: int | None = None) -> list[bytes]:
        return [hashlib.sha256(envelope).digest() for envelope in self.envelopes[:size]]

    def note(self, size: int | None = None) -> bytes:
        entries = self.entries(size)
        root = root_hash([leaf_hash(entry) for entry in entries])
        return sign_checkpoint(self.log, self.origin, len(entries), root).encode()

    def show(self, size: int | None = None) -> "Operator":
        """Publish the first entries, truthfully."""
        entries = self.entries(size)
        self.files = {"checkpoint": self.note(size)}
        for index in range(0, len(entries), 256):
            part = entries[index : index + 256]
            name = f"{index // 256:03d}" + (f".p/{len(part)}" if len(part) < 256 else "")
            self.files[f"tile/entries/{name}"] = b"".join(b"\0\x20" + entry for entry in part)
            self.files[f"receipts/{name}"] = b"".join(e + b"\n" for e in self.envelopes[index : index + len(part)])
        return self

    def sign(self, said: dict[str, Any]) -> bytes:
        """Any statement as an envelope of the gate."""
        body = canonical_json(said)
        return envelope_json(body, self.gate.sign(pae(body)), self.gate.key_id)

    def rewrite(self, place: int, change: Change, *, key: FileSigner | None = None) -> None:
        """Change one receipt, and every later one of its run so that the chain fits again."""
        said = _statement(self.envelopes[place])
        change(said["predicate"])
        run = said["predicate"]["run"]
        gate, self.gate = self.gate, key or self.gate
        self.envelopes[place] = self.sign(said)
        for later in range(place + 1, len(self.envelopes)):
            following = _statement(self.envelopes[later])
            if following["predicate"]["run"] == run:
                before = hashlib.sha256(self._last(run, later)).hexdigest()
                following["predicate"]["prev"] = f"sha256:{before}"
                if following["predicate"]["phase"] == "run.close":
                    following["predicate"]["control"]["last"] = f"sha256:{before}"
                self.envelopes[later] = self.sign(following)
        self.gate = gate

    def _last(self, run: str, before: int) -> bytes:
        return next(e for e in reversed(self.envelopes[:before]) if _statement(e)["predicate"]["run"] == run)


def _statement(envelope: bytes) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    return said


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], Path]:
    data = tmp_path_factory.mktemp("record") / "data"
    a_record(data, lambda ledger: asyncio.gather(work(ledger, 1, 20, lost=True), work(ledger, 2), work(ledger, 3)))
    reader = Reader.open(data)
    write_trust(reader, data.parent / "trust.toml")
    return [receipt.envelope for receipt in reader.receipts()], data


@pytest.fixture
def operator(record: tuple[list[bytes], Path]) -> Operator:
    envelopes, data = record
    gate, log = (FileSigner.open(data / "keys" / f"{name}.key") for name in ("gate", "log"))
    return Operator(gate, log, read_trust(data.parent / "trust.toml").origin, list(envelopes))


@pytest.fixture
def monitor(record: tuple[list[bytes], Path], operator: Operator, tmp_path: Path) -> Monitor:
    trust = read_trust(record[1].parent / "trust.toml")
    return Monitor(trust=trust, mirror=Mirror(tmp_path / "mirror"), fetch=lambda path: operator.files.get(path))


def kinds(found: Round) -> set[str]:
    return {alert.kind for alert in found.new}


def place_of(operator: Operator, wanted: Callable[[dict[str, Any]], bool]) -> int:
    return next(n for n, each in enumerate(operator.envelopes) if wanted(_statement(each)["predicate"]))


@pytest.mark.requirement("EV-2")
def test_an_honest_log_is_clean_however_it_grows(operator: Operator, monitor: Monitor) -> None:
    for size in (1, 2, 3, 17, 64, 100, None, None):
        found = monitor.look(witnesses=[("w", operator.show(size).files.get)])
        assert found.is_clean, found.new
    assert found.size == len(operator.envelopes)


@pytest.mark.requirement("EV-2")
def test_a_log_that_shrank_is_not_forgotten(operator: Operator, monitor: Monitor) -> None:
    operator.show()
    monitor.look()

    operator.show(50)
    found = monitor.look()

    assert kinds(found) == {"rewritten"}
    assert found.new[0].evidence.count(operator.origin.encode()) == 4  # both signed heads, each with its signature line
    operator.show()
    assert not monitor.look().is_clean


@pytest.mark.requirement("EV-2")
@pytest.mark.parametrize("size", [100, None])
def test_a_history_signed_anew_with_the_operators_own_keys_is_found(
    operator: Operator, monitor: Monitor, size: int | None
) -> None:
    operator.show(100)
    monitor.look()

    operator.rewrite(60, lambda said: said.update(labels=["changed"]))
    operator.show(size)
    found = monitor.look()

    assert kinds(found) == ({"split-view"} if size else {"rewritten"})
    assert found.size == 100


@pytest.mark.requirement("EV-2")
@pytest.mark.parametrize("theirs", [80, 100])
def test_another_history_shown_to_a_witness_is_a_split_view(operator: Operator, monitor: Monitor, theirs: int) -> None:
    other = replace(operator, envelopes=list(operator.envelopes), files={})
    other.rewrite(60, lambda said: said.update(labels=["changed"]))
    operator.show(100)

    found = monitor.look(witnesses=[("w", lambda path: other.note(theirs))])

    assert kinds(found) == {"split-view"}
    assert found.new[0].evidence == operator.note(100) + other.note(theirs)


@pytest.mark.requirement("EV-2")
def test_a_newer_log_that_only_the_witness_is_shown_is_a_split_view(operator: Operator, monitor: Monitor) -> None:
    operator.show(50)

    assert kinds(monitor.look(witnesses=[("w", lambda path: operator.note(90))])) == {"split-view"}


@pytest.mark.requirement("EV-2")
def test_a_checkpoint_that_the_log_did_not_sign_proves_nothing_against_it(operator: Operator, monitor: Monitor) -> None:
    operator.show(50)
    forged = replace(operator, log=operator.gate, envelopes=operator.envelopes[1:])

    found = monitor.look(witnesses=[("w", lambda path: forged.note(50))])

    assert kinds(found) == {"signature"}
    operator.files["checkpoint"] = forged.note()
    assert kinds(monitor.look()) == {"signature"}


@pytest.mark.requirement("EV-2")
@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lambda files: files.pop("checkpoint"), "silence"),
        (lambda files: files.pop("tile/entries/000.p/100"), "silence"),
        (lambda files: files.pop("receipts/000.p/100"), "silence"),
        (lambda files: files.update({"tile/entries/000.p/100": b"\0\x20" + b"x" * 32}), "silence"),
        (lambda files: files.update({"tile/entries/000.p/100": (b"\0\x20" + b"x" * 32) * 100}), "rewritten"),
        (lambda files: files.update({"receipts/000.p/100": b"\n" * 100}), "gap"),
        (lambda files: files.update({"receipts/000.p/100": b"{}\n" * 100}), "gap"),
        (lambda files: files.update({"checkpoint": b"junk"}), "signature"),
    ],
)
def test_what_is_not_served_is_not_signed_for(
    operator: Operator, monitor: Monitor, spoil: Callable[[dict[str, bytes]], object], kind: str
) -> None:
    spoil(operator.show(100).files)

    found = monitor.look()

    assert kinds(found) == {kind}
    assert not found.is_clean
    operator.show(100)
    assert monitor.look().is_clean == (kind == "silence")


def _approval(said: dict[str, Any]) -> bool:
    return bool(said["phase"] == "approval" and said["control"]["decision"] == "approve")


@pytest.mark.requirement("EV-2")
@pytest.mark.parametrize(
    ("wanted", "change", "kind"),
    [
        (lambda said: said["seq"] == 4, lambda said: said.update(prev="sha256:" + "0" * 64), "chain"),
        (lambda said: said["seq"] == 4, lambda said: said.update(seq=9), "chain"),
        (lambda said: said["seq"] == 4, lambda said: said.update(at="2020-01-01T00:00:00.000000Z"), "time"),
        (lambda said: said["seq"] == 4, lambda said: said["boundary"].update(n=4000), "gap"),
        (lambda said: said["seq"] == 4, lambda said: said["boundary"].update(n=0), "gap"),
        (lambda said: said["seq"] == 4, lambda said: said.update(tenant="other"), "checkpoint"),
        (_approval, lambda said: said["control"].update(digest="sha256:" + "0" * 64), "approvals"),
        (_approval, lambda said: said["control"].update(decision="reject"), "approvals"),
        (lambda said: "intentRef" in said, lambda said: said.pop("intentRef"), "steps"),
        (lambda said: said["phase"] == "intent", lambda said: said["action"].update(target="order:9"), "digests"),
        (lambda said: said["phase"] == "run.close", lambda said: said["control"].update(count=3), "chain"),
        (lambda said: said["seq"] == 4, lambda said: said.update(phase="rumour"), "statement"),
        (_approval, lambda said: said["control"].update(signature={"kind": "file", "sig": "AAAA"}), "people"),
    ],
)
def test_a_receipt_against_the_rules_of_the_journal_is_named_though_every_signature_holds(
    operator: Operator, monitor: Monitor, wanted: Callable[[dict[str, Any]], bool], change: Change, kind: str
) -> None:
    def is_wanted(said: dict[str, Any]) -> bool:
        return bool(said["run"].startswith("run_") and wanted(said))

    place = place_of(operator, is_wanted)
    operator.rewrite(place, change)

    operator.show()
    found = monitor.look()

    assert kind in kinds(found)
    name = _statement(operator.envelopes[place])["predicate"]["id"]
    assert kind in ("chain", "gap") or any(_concerns(alert, name, operator) for alert in found.new)


def _concerns(alert: Alert, name: str, operator: Operator) -> bool:
    """Whether an alert names the receipt or one of its run."""
    run = {_statement(e)["predicate"]["id"]: _statement(e)["predicate"]["run"] for e in operator.envelopes}
    return alert.receipt == name or run.get(alert.receipt) == run[name]


@pytest.mark.requirement("EV-2")
def test_a_receipt_that_was_numbered_and_never_logged_leaves_a_gap(operator: Operator, monitor: Monitor) -> None:
    place = place_of(operator, lambda said: said["run"].startswith("run_") and said["phase"] == "timer")
    del operator.envelopes[place]
    operator.show()

    found = monitor.look()

    assert {"gap", "chain"} <= kinds(found)
    assert any("a receipt is missing" in alert.what for alert in found.new)


@pytest.mark.requirement("EV-2")
def test_a_receipt_by_a_foreign_key_is_named(operator: Operator, monitor: Monitor, tmp_path: Path) -> None:
    operator.rewrite(40, lambda said: None, key=FileSigner.open(tmp_path / "stolen.key"))
    operator.show()

    assert "key" in kinds(monitor.look())


@pytest.mark.requirement("EV-2")
def test_what_follows_the_end_of_a_run_is_found_whenever_it_comes(operator: Operator, monitor: Monitor) -> None:
    end = place_of(operator, lambda said: said["phase"] == "run.close")
    operator.show()
    assert monitor.look().is_clean
    for number, (phase, control) in enumerate([("observation", {}), ("signal", {"name": "late"})], 1):
        said = _statement(operator.envelopes[end])
        last = _statement(operator.envelopes[-1])["predicate"]
        before = operator.envelopes[-1] if number > 1 else operator.envelopes[end]
        said["predicate"] |= {"id": f"rcpt_{number:024x}", "phase": phase, "control": control, "at": last["at"]}
        said["predicate"]["boundary"]["n"] = last["boundary"]["n"] + 1
        said["predicate"]["seq"] += number
        said["predicate"]["prev"] = f"sha256:{hashlib.sha256(before).hexdigest()}"
        operator.envelopes.append(operator.sign(said))

        operator.show()

        assert kinds(monitor.look()) == ({"chain"} if phase == "signal" else set())


@pytest.mark.requirement("EV-2")
@pytest.mark.parametrize("by", ["trust", "retired"])
def test_a_log_key_that_signs_after_its_time_is_found(operator: Operator, monitor: Monitor, by: str) -> None:
    end = _statement(operator.envelopes[49])["predicate"]["at"]
    if by == "trust":
        monitor.trust = _with_period(monitor.trust, operator.log.key_id, end)
    else:
        monitor.retired = {operator.log.key_id: end}
    operator.show(50)
    assert monitor.look().is_clean

    operator.show()

    assert kinds(monitor.look()) == {"key"}


@pytest.mark.requirement("EV-2")
@pytest.mark.parametrize("by", ["trust", "retired"])
def test_a_key_used_outside_its_period_is_found(operator: Operator, monitor: Monitor, by: str) -> None:
    key, end = operator.gate.key_id, "2026-01-01T00:00:00.000000Z"
    if by == "trust":
        monitor.trust = _with_period(monitor.trust, key, end)
    else:
        monitor.retired = {key: end}
    operator.show()

    assert kinds(monitor.look()) == {"key"}


def _with_period(trust: Trust, key: str, until: str) -> Trust:
    return replace(trust, periods={key: ("", until)})


def test_a_log_that_does_not_grow_is_silent_after_the_time_that_was_set(operator: Operator, monitor: Monitor) -> None:
    start = datetime(2026, 11, 21, tzinfo=UTC)
    monitor.silence, monitor.now = timedelta(hours=1), lambda: start
    operator.show(10)
    monitor.look()

    monitor.now = lambda: start + timedelta(minutes=59)
    assert monitor.look().is_clean
    monitor.now = lambda: start + timedelta(minutes=61)
    assert kinds(monitor.look()) == {"silence"}
    operator.show(20)
    assert monitor.look().is_clean


def test_a_monitor_that_stopped_half_way_goes_on_where_it_was(
    operator: Operator, monitor: Monitor, tmp_path: Path
) -> None:
    receipts = operator.show().files.pop("receipts/000.p/" + str(len(operator.envelopes)), None)
    assert receipts is not None
    assert kinds(monitor.look()) == {"silence"}
    monitor.mirror.close()

    again = replace(monitor, mirror=Mirror(tmp_path / "mirror"))
    operator.show()

    assert again.look().is_clean
