"""Bundles of a watched log: what witnesses, authorities and completeness add, and how each kind of forgery shows."""

import hashlib
import itertools
import json
import subprocess
import zipfile
from asyncio import gather
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import pytest

from answerable.core import TenantId
from answerable.ledger import (
    FileSigner,
    LogContradicted,
    NothingToExport,
    Reader,
    RecordTiles,
    Tree,
    export_bundle,
    export_span,
    log_folder,
    log_vkey,
    read_head,
    tlog_proof,
    write_trust,
)
from answerable.ledger._checkpoint import sign_checkpoint
from answerable.ledger._proofs import shared_proof
from answerable.ledger._tests.evidence import a_record, work
from answerable.witness import Witness, cosign, make_witness, parse_note, vkey_of
from answerable.witness._tests.people import a_signer
from answerable_verify import BadTrust, Report, page, read_container, read_trust, verify, verify_members
from tests.integration.stamping import Authority

TENANT = TenantId("default")
MONITOR = a_signer(77)


class Fixed:
    """A clock that stands still."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic_s(self) -> float:
        return self.at.timestamp()


class Watched:
    """A record of two runs, then of a third; its log is watched by two witnesses, a monitor and an authority."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.runs = a_record(self.data, lambda ledger: gather(work(ledger, 1, lost=True), work(ledger, 2)))
        self.reader = Reader.open(self.data)
        self.before = self.reader.checkpoint()
        self.runs += a_record(self.data, lambda ledger: gather(work(ledger, 3)))
        self.note = self.reader.checkpoint()
        self.vkeys = [str(make_witness(directory / name, f"witness.example/{name}")) for name in ("ada", "bo")]
        self.authority = Authority(directory / "tsa")
        self.monitor = str(vkey_of(MONITOR, "monitor.example/cy", role="witness"))

    def keep(self, *, by: int = 2, at: datetime | None = None, monitored: bool = False, stamped: bool = False) -> None:
        """Keep the checkpoint with these signatures, in place of any other."""
        folder = log_folder(self.data, TENANT)
        note = parse_note(self.note.encode())
        at_s = int((at or datetime.now(UTC)).timestamp())
        lines = [
            cosign(FileSigner.open(self.directory / name / "witness.key"), f"witness.example/{name}", note.text, at_s)
            for name in ("ada", "bo")[:by]
        ]
        if monitored:
            lines.append(cosign(MONITOR, "monitor.example/cy", note.text, at_s))
        size = read_head(self.note).size
        for path in (folder.path / "checkpoints").glob("*") if (folder.path / "checkpoints").exists() else ():
            path.unlink()
        folder.put(f"checkpoints/{size}", str(note.joined(lines)).encode())
        if stamped:
            folder.put(f"checkpoints/{size}.1.tsr", self.stamp(note.text.encode()))

    def stamp(self, text: bytes) -> bytes:
        """A timestamp of a text."""
        (self.authority.folder / "text").write_bytes(text)
        self.authority._openssl("ts", "-query", "-data", "text", "-sha256", "-cert", "-out", "q.tsq")
        return self.authority.answer((self.authority.folder / "q.tsq").read_bytes())

    def trust(self, *, quorum: int | None = None, dates: Mapping[str, str] = MappingProxyType({})) -> Path:
        """A trust file that pins them all."""
        path = write_trust(
            self.reader,
            self.directory / "trust.toml",
            witnesses=self.vkeys,
            quorum=quorum,
            monitors=[self.monitor],
            tsa_roots=[self.authority.root.read_text()],
        )
        said = "".join(line for line in path.read_text().splitlines(True) if line.partition(" ")[0] not in dates)
        path.write_text(said + "".join(f"{name} = {json.dumps(value)}\n" for name, value in dates.items()))
        return path

    def checkpoint_of(self, size: int, root: bytes = b"") -> str:
        """The log's checkpoint of an earlier size, as somebody may have kept it; or one of another history."""
        log = FileSigner.open(self.data / "keys" / "log.key")
        root = root or Tree(RecordTiles(self.reader, TENANT), read_head(self.note).size).range_hash(0, size)
        return sign_checkpoint(log, read_head(self.note).origin, size, root)

    def bundle(self) -> Path:
        """The bundle of all runs."""
        return export_bundle(self.reader, self.runs, self.directory / "runs.zip")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return Watched(tmp_path_factory.mktemp("watched"))


def shell(bundle: Path, trust: Path, folder: Path) -> tuple[int, str]:
    """What the bundle's own script says."""
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    done = subprocess.run(
        ["bash", str(folder / "VERIFY.sh"), "--trust", str(trust)], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def altered(bundle: Path, change: Callable[[dict[str, bytes]], object]) -> dict[str, bytes]:
    """The members after a change, with the manifest made to match."""
    members = read_container(bundle)
    change(members)
    manifest = json.loads(members.pop("manifest.json"))
    manifest["members"] = {name: hashlib.sha256(body).hexdigest() for name, body in members.items()}
    manifest["receipts"] = sum(name.startswith("receipts/") for name in members)
    members["manifest.json"] = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    return members


def write(members: Mapping[str, bytes], path: Path) -> Path:
    """The members as a ZIP."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return path


def checks(report: Report) -> set[str]:
    """The checks that found something."""
    return {found.check for found in report.findings}


@pytest.mark.requirement("EV-2", "EV-3")
@pytest.mark.parametrize(
    ("kept", "quorum", "verdict", "assurance"),
    [
        ({"by": 2, "monitored": True, "stamped": True}, None, "verified", "witnessed+monitored"),
        ({"by": 2}, None, "verified", "witnessed"),
        ({"by": 1}, 1, "verified", "witnessed"),
        ({"by": 1}, None, "undetermined", "local"),
        ({"by": 0, "monitored": True}, None, "undetermined", "local"),
    ],
)
def test_the_grade_follows_from_who_signed_and_who_was_asked_for(
    watched: Watched, tmp_path: Path, kept: dict[str, bool], quorum: int | None, verdict: str, assurance: str
) -> None:
    watched.keep(**kept)  # type: ignore[arg-type]
    trust, bundle = watched.trust(quorum=quorum), watched.bundle()

    report = verify(bundle, trust)

    assert (report.verdict, report.assurance, report.findings) == (verdict, assurance, ())
    code, said = shell(bundle, trust, tmp_path)
    assert code == report.exit_code, said


@pytest.mark.requirement("EV-2")
def test_a_cosignature_that_does_not_hold_is_found(watched: Watched, tmp_path: Path) -> None:
    watched.keep()

    def spoil(members: dict[str, bytes]) -> None:
        lines = members["checkpoint.txt"].decode().split("\n")
        place = next(number for number, line in enumerate(lines) if "witness.example/ada" in line)
        lines[place] = lines[place][:-8] + "AAAA" + lines[place][-4:]
        members["checkpoint.txt"] = "\n".join(lines).encode()

    members = altered(watched.bundle(), spoil)

    assert checks(verify_members(members, read_trust(watched.trust()))) == {"witnesses"}
    code, said = shell(write(members, tmp_path / "b.zip"), watched.trust(), tmp_path / "b")
    assert (code, "cosignature of witness.example/ada does not hold" in said) == (4, True)


@pytest.mark.requirement("EV-2")
def test_a_cosignature_by_somebody_else_under_a_witnesss_name_counts_for_nothing(watched: Watched) -> None:
    watched.keep(by=1)
    note = parse_note(log_folder(watched.data, TENANT).best(1).encode())
    false = cosign(a_signer(5), "witness.example/bo", note.text, 1_900_000_000)
    members = altered(watched.bundle(), lambda m: m.update({"checkpoint.txt": str(note.joined([false])).encode()}))

    report = verify_members(members, read_trust(watched.trust()))

    assert (report.verdict, report.assurance) == ("undetermined", "local")


@pytest.mark.requirement("EV-2")
def test_receipts_written_after_others_saw_their_checkpoint_show_a_shifted_clock(watched: Watched) -> None:
    watched.keep(at=datetime.now(UTC) - timedelta(hours=1))

    report = verify(watched.bundle(), watched.trust())

    assert checks(report) == {"time"}
    assert report.first is not None
    assert report.first.receipt.startswith("rcpt_")


@pytest.mark.requirement("EV-2")
@pytest.mark.parametrize(("end", "is_found"), [("until", True), ("from", True), ("neither", False)])
def test_a_key_used_outside_its_period_is_found(watched: Watched, end: str, is_found: bool) -> None:
    watched.keep()
    dates = {"until": {"gate_key_until": "2026-01-01T00:00:00Z"}, "from": {"gate_key_from": "2200-01-01T00:00:00Z"}}
    around = {"gate_key_from": "2020-01-01T00:00:00Z", "gate_key_until": "2200-01-01T00:00:00.5Z"}

    report = verify(watched.bundle(), watched.trust(dates=dates.get(end, around)))

    assert checks(report) == ({"key-period"} if is_found else set())


@pytest.mark.requirement("EV-3")
@pytest.mark.parametrize("stamp", ["of another text", "of another authority", "no timestamp"])
def test_a_timestamp_that_does_not_hold_is_found(watched: Watched, tmp_path: Path, stamp: str) -> None:
    watched.keep(stamped=True)
    trust = watched.trust()
    forged = watched.stamp(b"another") if stamp == "of another text" else b"none"
    if stamp == "of another authority":
        other = Authority(tmp_path / "other", "Another authority")
        trust.write_text(trust.read_text().replace(
            watched.authority.root.read_text().replace("\n", "\\n"), other.root.read_text().replace("\n", "\\n")
        ))  # fmt: skip
        forged = read_container(watched.bundle())["timestamps/1.tsr"]
    members = altered(watched.bundle(), lambda m: m.update({"timestamps/1.tsr": forged}))

    assert checks(verify_members(members, read_trust(trust))) == {"timestamps"}
    code, said = shell(write(members, tmp_path / "b.zip"), trust, tmp_path / "b")
    assert (code, "none holds under the roots" in said) == (4, True)


@pytest.mark.requirement("EV-2", "EV-12")
def test_a_bundle_between_two_checkpoints_is_complete(watched: Watched, tmp_path: Path) -> None:
    watched.keep()
    bundle = export_span(watched.reader, tmp_path, since=watched.before)
    everything = export_span(watched.reader, tmp_path)

    report, whole = verify(bundle, watched.trust()), verify(everything, watched.trust())

    assert (report.verdict, whole.verdict) == ("verified", "verified")
    assert report.receipts == read_head(watched.note).size - read_head(watched.before).size
    assert whole.receipts == len(watched.reader.receipts())
    assert next(check for check in report.checks if check.name == "complete").status == "passed"
    for path in (bundle, everything):
        code, said = shell(path, watched.trust(), tmp_path / path.stem)
        assert (code, "complete     all entries" in said) == (0, True), said


@pytest.mark.requirement("EV-2", "EV-12")
def test_a_log_is_exported_in_parts_that_are_each_complete(watched: Watched, tmp_path: Path) -> None:
    watched.keep()
    size = read_head(watched.note).size
    cuts = ["", *(watched.checkpoint_of(number) for number in (5, size // 2, size))]

    parts = [
        export_span(watched.reader, tmp_path, since=since, until=until) for since, until in itertools.pairwise(cuts)
    ]

    reports = [verify(part, write_trust(watched.reader, tmp_path / "trust.toml")) for part in parts]
    assert [(report.verdict, report.findings) for report in reports] == [("verified", ())] * 3
    assert [report.receipts for report in reports] == [5, size // 2 - 5, size - size // 2]
    for report in reports:
        assert next(check for check in report.checks if check.name == "complete").status == "passed"


def test_a_log_is_not_exported_up_to_a_checkpoint_that_it_does_not_lead_to(watched: Watched, tmp_path: Path) -> None:
    size = read_head(watched.note).size
    foreign = sign_checkpoint(FileSigner.open(watched.data / "keys" / "log.key"), "elsewhere.example/log", 5, bytes(32))

    for ahead in (watched.checkpoint_of(size + 1, bytes(32)), foreign):
        with pytest.raises(NothingToExport, match="another log, or ahead of it"):
            export_span(watched.reader, tmp_path, until=ahead)
    with pytest.raises(LogContradicted):
        export_span(watched.reader, tmp_path, until=watched.checkpoint_of(5, bytes(32)))
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_began_before_the_older_checkpoint_is_not_blamed_for_it(watched: Watched, tmp_path: Path) -> None:
    watched.keep()
    start = read_head(watched.before).size + 7
    bundle = export_span(watched.reader, tmp_path, since=watched.checkpoint_of(start))

    report = verify(bundle, watched.trust())

    assert (report.verdict, report.findings) == ("verified", ())
    assert any("began before the older checkpoint" in note for note in report.notes)
    code, said = shell(bundle, watched.trust(), tmp_path / "b")
    assert (code, "began before the older checkpoint" in said) == (0, True), said


@pytest.mark.requirement("EV-2", "EV-12")
def test_whatever_is_left_out_between_two_checkpoints_is_missed(watched: Watched, tmp_path: Path) -> None:
    watched.keep()
    start = read_head(watched.before).size
    bundle = export_span(watched.reader, tmp_path, since=watched.before)
    tree = Tree(RecordTiles(watched.reader, TENANT), read_head(watched.note).size)

    def without(leaves: set[int]) -> dict[str, bytes]:
        """The bundle that an operator would make who leaves these entries out, proof and all."""

        def change(members: dict[str, bytes]) -> None:
            proofs = json.loads(members["proofs.json"])
            proofs["leaves"] = {name: leaf for name, leaf in proofs["leaves"].items() if leaf not in leaves}
            for name in [name for name in members if name.startswith("receipts/") and name not in proofs["leaves"]]:
                del members[name]
            proofs["nodes"] = shared_proof(tree, proofs["leaves"].values())
            members["proofs.json"] = json.dumps(proofs, sort_keys=True, separators=(",", ":")).encode()

        return altered(bundle, change)

    for leaves in ({start}, {start + 3}, {tree.size - 1}, set(range(start + 2, start + 9))):
        report = verify_members(without(leaves), read_trust(watched.trust()))
        assert "complete" in checks(report)
    code, said = shell(write(without({start + 3}), tmp_path / "b.zip"), watched.trust(), tmp_path / "b")
    assert (code, "not every entry" in said) == (4, True)


@pytest.mark.requirement("EV-2")
def test_an_older_checkpoint_of_another_history_is_found(watched: Watched, tmp_path: Path) -> None:
    watched.keep()
    bundle = export_span(watched.reader, tmp_path, since=watched.before)
    head = read_head(watched.before)
    text = watched.before.replace(watched.before.split("\n")[2], "A" * 43 + "=")
    for changed in (text.encode(), b"", watched.note.encode()):
        members = altered(bundle, lambda m, changed=changed: m.update({"checkpoint.from.txt": changed}))  # type: ignore[misc]
        assert checks(verify_members(members, read_trust(watched.trust()))) & {"complete", "checkpoint"}
    signed = watched.checkpoint_of(head.size, bytes(32)).encode()  # and one that the log's key signed
    members = altered(bundle, lambda m: m.update({"checkpoint.from.txt": signed}))
    assert checks(verify_members(members, read_trust(watched.trust()))) == {"complete"}
    code, said = shell(write(members, tmp_path / "b.zip"), watched.trust(), tmp_path / "b")
    assert (code, "it is not the beginning of this log" in said) == (4, True)
    members = altered(bundle, lambda m: m.pop("checkpoint.from.txt"))
    assert "complete" in checks(verify_members(members, read_trust(watched.trust())))


def test_only_the_texts_that_are_named_are_disclosed(watched: Watched, tmp_path: Path) -> None:
    watched.keep()
    receipts = [each for each in watched.reader.receipts(run=watched.runs[0]) if "commitments" in each.predicate]
    chosen = receipts[1].predicate

    path = export_bundle(watched.reader, watched.runs[:1], tmp_path, disclose=[chosen["id"]])

    shown = {name[10:] for name in read_container(path) if name.startswith("disclosed/")}
    own = {name[7:] for name in chosen["commitments"].values()}
    others = {name[7:] for each in receipts for name in each.predicate["commitments"].values()} - own
    assert own <= shown
    assert not shown & others
    report = verify(path, watched.trust())
    assert report.verdict == "verified"
    assert any("not disclosed" in note for note in report.notes)


@pytest.mark.requirement("EV-3")
def test_the_proof_of_one_receipt_verifies_and_each_of_its_parts_is_needed(watched: Watched, tmp_path: Path) -> None:
    watched.keep(monitored=True)
    receipt = watched.reader.receipts()[5]
    note = log_folder(watched.data, TENANT).best(6)
    tree = Tree(RecordTiles(watched.reader, TENANT), read_head(note).size)
    text = tlog_proof(tree, 5, note, extra=receipt.envelope)
    path = tmp_path / "one.tlog-proof"
    path.write_text(text)
    lines = text.split("\n")

    report = verify(path, watched.trust())

    assert (report.verdict, report.assurance, report.receipts) == ("verified", "witnessed+monitored", 1)
    with pytest.raises(BadTrust):
        verify(path)
    other = watched.reader.receipts()[6]
    for spoiled in (
        text.replace("index 5", "index 6"),
        "\n".join([*lines[:3], *lines[4:]]),
        "\n".join([*lines[:3], "A" * 43 + "=", *lines[4:]]),
        tlog_proof(tree, 5, note, extra=other.envelope),
        tlog_proof(tree, 5, note),
        text.replace(lines[1], lines[1][:-1]),
        text[:-9],
    ):
        path.write_text(spoiled)
        assert verify(path, watched.trust()).verdict == "does not verify"


@pytest.mark.parametrize(
    "line",
    [
        'witnes = "x"',
        'witness_from = "2026-01-01T00:00:00Z"',
        'witness_3 = "x"',
        'quorum = "0"',
        'quorum = "3"',
        "quorum = 1",
        'monitor_2 = "{ada}"',
        'witness_3 = "{log}"',
        'tsa_root_2 = "x"',
        'gate_key_until = "yesterday"',
        'log_key_until = "yesterday"',
    ],
)
def test_a_trust_file_that_would_ask_for_less_than_it_seems_to_is_refused(
    watched: Watched, tmp_path: Path, line: str
) -> None:
    said = watched.trust().read_text().replace('quorum = "2"\n', "" if line.startswith("quorum") else 'quorum = "2"\n')
    origin, public = watched.reader.log_key()
    log = vkey_of(_Public(public), origin, role="witness")
    path = tmp_path / "trust.toml"
    path.write_text(said + line.format(ada=watched.vkeys[0], log=log) + "\n")

    with pytest.raises(BadTrust):
        read_trust(path)


class _Public:
    """A key that cannot sign."""

    def __init__(self, public_key: bytes) -> None:
        self.public_key = public_key
        self.key_id = ""

    def sign(self, message: bytes) -> bytes:
        raise NotImplementedError


def test_the_page_tells_the_verdict_and_reaches_for_nothing(watched: Watched) -> None:
    watched.keep(monitored=True)
    report = verify(watched.bundle(), watched.trust())

    text = page(report, of="<script>x</script>.zip")

    assert "<h1 class=good>Verified</h1>" in text
    assert "<b>witnessed+monitored</b>" in text
    assert "<script" not in text
    assert "http" not in text.replace('http-equiv="Content-Security-Policy"', "")
    assert all(check.covers.split(":")[0][:20] in text.replace("&#x27;", "'") for check in report.checks)


def test_a_witness_in_between_cosigns_what_the_ledger_signs(watched: Watched) -> None:
    witness = Witness.open(watched.directory / "ada", clock=Fixed(datetime(2026, 11, 21, tzinfo=UTC)))
    witness.add_log(log_vkey(*watched.reader.log_key()))

    answer = witness.add_checkpoint(f"old 0\n\n{watched.note}".encode())

    assert answer.status == 200
