"""Whatever is done to a bundle is found, and the receipt or file at fault is named; nothing else is blamed."""

import base64
import hashlib
import json
import random
import shutil
import subprocess
import zipfile
from asyncio import gather
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from answerable.core import RunId, canonical_json
from answerable.ledger import Ledger, Reader, envelope_json, export_bundle, pae, write_trust
from answerable.ledger._tests.evidence import a_record, work
from answerable_verify import Report, Seen, Trust, read_container, read_trust, verify, verify_members

pytestmark = [pytest.mark.requirement("EV-2", "EV-3"), pytest.mark.timeout(180)]

SEED = 20261121
Members = dict[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A bundle of several hundred receipts of three runs, and the trust to check it against."""

    path: Path
    members: Members
    trust: Trust
    trust_path: Path
    seen: Seen = field(default_factory=Seen)

    def receipt_id(self, member: str) -> str:
        """The id in an untouched receipt."""
        return str(predicate_of(self.members[member])["id"])

    def verify(self, members: Members) -> Report:
        """What the verifier says of other members under the same trust."""
        return verify_members(members, self.trust, seen=self.seen)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    directory = tmp_path_factory.mktemp("evidence")

    async def body(ledger: Ledger) -> list[RunId]:
        return list(await gather(work(ledger, 1, 24, lost=True), work(ledger, 2, 10), work(ledger, 3, 6)))

    runs = a_record(directory / "data", body)
    reader = Reader.open(directory / "data")
    path = export_bundle(reader, runs[:2], directory)
    trust_path = write_trust(reader, directory / "trust.toml")
    reader.close()
    return Evidence(path=path, members=read_container(path), trust=read_trust(trust_path), trust_path=trust_path)


def receipts_of(members: Members) -> list[str]:
    """The names of receipt members, in order."""
    return sorted(name for name in members if name.startswith("receipts/"))


def predicate_of(envelope: bytes) -> dict[str, object]:
    """What a receipt says."""
    predicate: dict[str, object] = json.loads(base64.b64decode(json.loads(envelope)["payload"]))["predicate"]
    return predicate


def healed(members: Members) -> Members:
    """With a manifest that lists the members as they are now: what a careful forger would do."""
    manifest = json.loads(members["manifest.json"])
    manifest["members"] = {
        name: hashlib.sha256(content).hexdigest() for name, content in members.items() if name != "manifest.json"
    }
    manifest["receipts"] = len(receipts_of(members))
    return {**members, "manifest.json": canonical_json(manifest)}


def flipped(content: bytes, chance: random.Random) -> bytes:
    """With one bit changed."""
    at = chance.randrange(len(content) * 8)
    changed = bytearray(content)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def named(report: Report) -> set[str]:
    """Everything that is named as being at fault."""
    return {name for found in report.findings for name in (found.receipt, found.member) if name}


def test_an_untouched_bundle_verifies_and_lists_the_effect_whose_fate_is_unknown(evidence: Evidence) -> None:
    report = verify(evidence.path, evidence.trust_path)

    assert (report.verdict, report.assurance, report.findings) == ("verified", "local", ())
    assert report.receipts > 200
    # Of a trust file and a bundle that are plain, with answers that nobody signed.
    unasked = {"people", "erasures", "complete", "witnesses", "timestamps"}
    assert {check.name for check in report.checks if check.status != "passed"} == unasked
    assert sum(len(run.unknown) for run in report.runs) == 1
    assert report.not_established


def test_without_a_trust_file_the_verdict_is_self_consistent_only(evidence: Evidence) -> None:
    report = verify(evidence.path)

    assert (report.verdict, report.assurance, report.exit_code) == ("self-consistent", "dev", 3)


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
def test_every_flipped_bit_is_found_and_the_file_named(evidence: Evidence, seed: int) -> None:
    chance = random.Random(seed)
    names = sorted(evidence.members)

    for _ in range(400):
        name = chance.choice(names)
        report = evidence.verify({**evidence.members, name: flipped(evidence.members[name], chance)})

        assert report.verdict == "does not verify"
        assert report.first is not None
        if name != "manifest.json":
            assert name in named(report), f"seed {seed}: {name} was changed, and not named"


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
def test_a_flipped_bit_in_a_receipt_is_found_when_the_manifest_was_rewritten_to_match(
    evidence: Evidence, seed: int
) -> None:
    chance = random.Random(seed)
    names = receipts_of(evidence.members)

    for _ in range(300):
        name = chance.choice(names)
        report = evidence.verify(healed({**evidence.members, name: flipped(evidence.members[name], chance)}))

        assert report.verdict == "does not verify"
        assert report.first is not None
        assert report.first.member == name, f"seed {seed}: {name} was changed, {report.first} was said first"
        assert named(report) <= {name, evidence.receipt_id(name), "proofs.json", report.first.receipt}


@pytest.mark.parametrize("folder", ["disclosed/", "policy/", "specs/", "checkpoint.txt", "proofs.json"])
def test_a_flipped_bit_elsewhere_is_found_when_the_manifest_was_rewritten_to_match(
    evidence: Evidence, folder: str
) -> None:
    chance = random.Random(SEED)
    names = sorted(name for name in evidence.members if name.startswith(folder))

    for _ in range(150):
        name = chance.choice(names)
        report = evidence.verify(healed({**evidence.members, name: flipped(evidence.members[name], chance)}))

        assert report.verdict == "does not verify", f"seed {SEED}: {name}"
        assert name in named(report) or name == "checkpoint.txt"


def test_a_dropped_receipt_is_missed_by_its_seq(evidence: Evidence) -> None:
    for name in receipts_of(evidence.members)[5:-5:17]:
        members = dict(evidence.members)
        said = predicate_of(members.pop(name))

        report = evidence.verify(healed(members))

        assert report.first is not None
        assert report.first.check == "chain"
        assert f"`{said['run']}` has no receipt at seq {said['seq']}" in report.first.what
        assert name in named(report)  # its place in the log is still claimed


def test_a_duplicated_receipt_is_named(evidence: Evidence) -> None:
    names = receipts_of(evidence.members)
    extra = f"receipts/{len(names) + 1:06d}.json"

    report = evidence.verify(healed({**evidence.members, extra: evidence.members[names[40]]}))

    assert report.first is not None
    assert report.first.receipt == evidence.receipt_id(names[40])
    assert extra in named(report)


def test_two_swapped_receipts_are_named(evidence: Evidence) -> None:
    names = [
        name
        for name in receipts_of(evidence.members)
        if predicate_of(evidence.members[name])["run"] == predicate_of(evidence.members["receipts/000001.json"])["run"]
    ]
    one, other = names[10], names[20]
    swapped = {**evidence.members, one: evidence.members[other], other: evidence.members[one]}

    report = evidence.verify(healed(swapped))

    assert report.first is not None
    assert report.first.check == "chain"
    assert "whose seq is higher" in report.first.what
    assert {evidence.receipt_id(one), evidence.receipt_id(other)} & named(report)


def test_reordered_receipts_are_found(evidence: Evidence) -> None:
    names = receipts_of(evidence.members)
    mixed = names[:]
    random.Random(SEED).shuffle(mixed)
    members = {name: content for name, content in evidence.members.items() if name not in names}
    members |= {name: evidence.members[other] for name, other in zip(names, mixed, strict=True)}

    report = evidence.verify(healed(members))

    assert report.verdict == "does not verify"
    assert {"chain", "inclusion"} <= {found.check for found in report.findings}


def without_tail(evidence: Evidence, count: int) -> Members:
    """Without the last receipts, and with manifest and proofs rewritten to match as far as anybody can."""
    gone = receipts_of(evidence.members)[-count:]
    members = {name: content for name, content in evidence.members.items() if name not in gone}
    proofs = json.loads(members["proofs.json"])
    proofs["leaves"] = {name: leaf for name, leaf in proofs["leaves"].items() if name not in gone}
    return healed({**members, "proofs.json": canonical_json(proofs)})


def test_a_truncated_tail_is_found(evidence: Evidence) -> None:
    report = evidence.verify(without_tail(evidence, 3))

    assert report.verdict == "does not verify"
    assert {found.member for found in report.findings} & {"proofs.json"}
    assert any("has no run.close" in question for question in report.open_questions)


def test_a_run_without_its_close_is_undetermined_even_if_all_the_rest_holds(tmp_path: Path) -> None:
    async def body(ledger: Ledger) -> list[RunId]:
        from answerable.ledger._tests.evidence import Clerk

        return [(await Clerk.start(ledger, 1)).run]

    runs = a_record(tmp_path / "data", body)
    reader = Reader.open(tmp_path / "data")
    bundle, trust = export_bundle(reader, runs, tmp_path), write_trust(reader, tmp_path / "trust.toml")
    reader.close()

    report = verify(bundle, trust)

    assert (report.verdict, report.exit_code, report.findings) == ("undetermined", 3, ())
    assert "receipts after seq 0 may be missing" in report.open_questions[0]


def resigned(envelope: bytes, key: SigningKey, change: Callable[[dict[str, object]], None]) -> bytes:
    """A receipt that says something else, signed by somebody else."""
    statement = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    change(statement["predicate"])
    body = canonical_json(statement)
    return envelope_json(body, key.sign(pae(body)).signature, hashlib.sha256(bytes(key.verify_key)).hexdigest())


def test_a_receipt_signed_by_a_foreign_key_is_named(evidence: Evidence) -> None:
    name = receipts_of(evidence.members)[77]
    forged = resigned(evidence.members[name], SigningKey.generate(), lambda said: said.update(labels=[]))

    report = evidence.verify(healed({**evidence.members, name: forged}))

    assert report.first is not None
    assert (report.first.check, report.first.receipt) == ("signature", evidence.receipt_id(name))
    assert "does not name" in report.first.what


def test_a_bundle_remade_with_other_keys_is_self_consistent_and_fails_against_the_trust(
    evidence: Evidence, tmp_path: Path
) -> None:
    runs = a_record(tmp_path / "data", lambda ledger: gather(work(ledger, 1)))
    reader = Reader.open(tmp_path / "data")
    forged = export_bundle(reader, runs, tmp_path)
    reader.close()

    assert verify(forged).verdict == "self-consistent"
    report = verify(forged, evidence.trust_path)
    assert report.verdict == "does not verify"
    assert {"signature", "checkpoint"} <= {found.check for found in report.findings}


def test_a_forged_checkpoint_is_found(evidence: Evidence) -> None:
    lines = evidence.members["checkpoint.txt"].decode().split("\n")
    text = "\n".join([lines[0], lines[1], base64.b64encode(bytes(32)).decode(), ""])
    key = SigningKey.generate()
    key_hash = hashlib.sha256(lines[0].encode() + b"\n\x01" + bytes(key.verify_key)).digest()[:4]
    signature = base64.b64encode(key_hash + key.sign(text.encode()).signature).decode()
    forged = f"{text}\n\N{EM DASH} {lines[0]} {signature}\n".encode()

    report = evidence.verify(healed({**evidence.members, "checkpoint.txt": forged}))

    assert {found.check for found in report.findings} == {"inclusion", "checkpoint"}
    assert "checkpoint.txt" in named(report)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'=","payloadType"', b'","payloadType"', "base64"),
        (b'{"payload":', b'{ "payload":', "canonical"),
        (b'"payloadType":', b'"payload":"","payloadType":', "duplicate key"),
        (b'"sig":"', b'"sig":"\\u0041', "canonical"),
    ],
)
def test_another_spelling_of_a_receipt_is_refused(evidence: Evidence, old: bytes, new: bytes, why: str) -> None:
    name = next(name for name in receipts_of(evidence.members) if old in evidence.members[name])

    report = evidence.verify(healed({**evidence.members, name: evidence.members[name].replace(old, new, 1)}))

    assert report.first is not None
    assert (report.first.check, report.first.member) == ("envelope", name)
    assert why in report.first.what


def write_zip(path: Path, members: Members) -> Path:
    """A ZIP of these members."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_file_that_breaks_off_is_a_clear_error(evidence: Evidence, tmp_path: Path) -> None:
    whole = evidence.path.read_bytes()
    for length in (0, 10, 1000, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        cut = tmp_path / "cut.zip"
        cut.write_bytes(whole[:length])

        report = verify(cut, evidence.trust_path)

        assert (report.verdict, report.exit_code) == ("does not verify", 4)
        assert report.first is not None
        assert report.first.check == "container"


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/../../b", "a\\b", "receipts//x", "é"])
def test_an_unsafe_member_name_is_refused(tmp_path: Path, name: str) -> None:
    report = verify(write_zip(tmp_path / "b.zip", {"manifest.json": b"{}", name: b""}))

    assert report.first is not None
    assert report.first.check == "container"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(evidence: Evidence, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "b.zip", evidence.members)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("receipts/000001.json", b"{}")

    report = verify(path)

    assert report.first is not None
    assert (report.first.check, report.first.member) == ("container", "receipts/000001.json")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(65 * 1024**2))

    report = verify(path)

    assert report.first is not None
    assert "larger than" in report.first.what


@dataclass(frozen=True)
class Shell:
    """What VERIFY.sh said."""

    code: int
    text: str

    @classmethod
    def run(cls, folder: Path, *more: str) -> "Shell":
        done = subprocess.run(
            ["bash", str(folder / "VERIFY.sh"), *more], capture_output=True, text=True, check=False, timeout=60
        )
        return cls(done.returncode, done.stdout + done.stderr)


@pytest.fixture
def unpacked(tmp_path: Path) -> tuple[Path, Evidence]:
    """A small bundle, unpacked into a folder whose name has a space."""
    runs = a_record(tmp_path / "data", lambda ledger: gather(work(ledger, 1, lost=True), work(ledger, 2)))
    reader = Reader.open(tmp_path / "data")
    path, trust_path = export_bundle(reader, runs[:1], tmp_path), write_trust(reader, tmp_path / "trust.toml")
    reader.close()
    folder = tmp_path / "un packed"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder, Evidence(
        path=path, members=read_container(path), trust=read_trust(trust_path), trust_path=trust_path
    )


def test_the_shell_verifier_agrees_on_an_untouched_bundle(unpacked: tuple[Path, Evidence]) -> None:
    folder, evidence = unpacked

    trusted = Shell.run(folder, "--trust", str(evidence.trust_path))
    alone = Shell.run(folder)

    assert trusted.code == 0, trusted.text
    assert "VERIFIED against trust.toml" in trusted.text
    assert "unknown: intent rcpt_" in trusted.text
    assert alone.code == 3, alone.text
    assert "SELF-CONSISTENT ONLY" in alone.text


def tampered(evidence: Evidence) -> dict[str, tuple[Members, str]]:
    """Bundles that were tampered with, and what must be named."""
    chance = random.Random(SEED)
    names = receipts_of(evidence.members)
    one, other = names[3], names[4]
    disclosed = next(name for name in sorted(evidence.members) if name.startswith("disclosed/"))
    foreign = resigned(evidence.members[one], SigningKey.generate(), lambda said: said.update(labels=[]))

    def changed(name: str, content: bytes) -> Members:
        return {**evidence.members, name: content}

    def flip(name: str) -> Members:
        return changed(name, flipped(evidence.members[name], chance))

    return {
        "swapped": (
            {**evidence.members, one: evidence.members[other], other: evidence.members[one]},
            evidence.receipt_id(one),
        ),
        "dropped": ({n: content for n, content in evidence.members.items() if n != names[6]}, "has no receipt at seq"),
        "foreign key": (changed(one, foreign), evidence.receipt_id(one)),
        "another text": (changed(disclosed, evidence.members[disclosed] + b" "), disclosed),
        "checkpoint": (flip("checkpoint.txt"), "checkpoint"),
        "proof": (flip("proofs.json"), "proofs.json"),
        "first receipt": (flip(names[0]), names[0]),
        "last receipt": (flip(names[-1]), names[-1]),
    }


@pytest.mark.parametrize("is_healed", [False, True], ids=["as-is", "manifest-rewritten"])
@pytest.mark.parametrize(
    "case",
    ["swapped", "dropped", "foreign key", "another text", "checkpoint", "proof", "first receipt", "last receipt"],
)
def test_the_shell_verifier_agrees_on_what_was_tampered_with(
    unpacked: tuple[Path, Evidence], case: str, is_healed: bool
) -> None:
    folder, evidence = unpacked
    members, expected = tampered(evidence)[case]
    forged = healed(members) if is_healed else members
    shutil.rmtree(folder)
    for name, content in forged.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    said = Shell.run(folder, "--trust", str(evidence.trust_path))

    assert evidence.verify(forged).exit_code == 4
    assert said.code == 4, f"seed {SEED}: {said.text}"
    assert expected in said.text, f"seed {SEED}: {said.text}"


def test_the_shell_verifier_says_how_it_is_used(unpacked: tuple[Path, Evidence]) -> None:
    folder, _ = unpacked

    assert Shell.run(folder, "--trust", "/nowhere").code == 2
    assert Shell.run(folder, "--what").code == 2
