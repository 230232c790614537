"""A complete, witnessed bundle of a thousand receipts: whatever is done to it is found, and the place named.

A sample of each kind on every change; in `make soak` 20,000 flipped bits, and every receipt in turn.
"""

import base64
import hashlib
import json
import random
from asyncio import gather
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable.core import RunId, TenantId, canonical_json
from answerable.ledger import (
    FileSigner,
    Ledger,
    Reader,
    envelope_json,
    export_span,
    leaf_hash,
    log_folder,
    pae,
    read_head,
    root_hash,
    write_trust,
)
from answerable.ledger._checkpoint import sign_checkpoint
from answerable.ledger._tests.evidence import a_record, work
from answerable.witness import cosign, parse_note, vkey_of
from answerable.witness._tests.people import a_signer
from answerable_verify import Report, Seen, Trust, read_container, read_trust, verify_members
from tests.conformance.second_opinion import verify
from tests.faults.test_tampering import Members, flipped, healed, named, receipts_of
from tests.soak import IS_SOAK

pytestmark = [pytest.mark.requirement("EV-2", "EV-3"), pytest.mark.slow, pytest.mark.timeout(3600)]

SEED = 20261121
ADA, BO = ((a_signer(number), f"witness.example/{number}") for number in (71, 72))


@dataclass(frozen=True, kw_only=True)
class Thousand:
    """The bundle, the trust, and the keys that an adversary might have."""

    path: Path
    trust_path: Path
    members: Members
    trust: Trust
    gate: FileSigner
    log: FileSigner
    seen: Seen = field(default_factory=Seen)

    @property
    def names(self) -> list[str]:
        return receipts_of(self.members)

    def receipt_id(self, name: str) -> str:
        return str(statement_of(self.members[name])["predicate"]["id"])

    def report(self, members: Members) -> Report:
        """What the verifier says of other members, listed in a manifest that was made to match."""
        return verify_members(healed(members), self.trust, seen=self.seen)

    def sample(self, count: int) -> list[str]:
        """Some receipts; every one of them in a soak."""
        return self.names if IS_SOAK else random.Random(SEED).sample(self.names, count)


def statement_of(envelope: bytes) -> dict[str, Any]:
    statement: dict[str, Any] = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    return statement


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Thousand:
    directory = tmp_path_factory.mktemp("thousand")

    async def body(ledger: Ledger) -> list[RunId]:
        return list(await gather(*(work(ledger, number, 20, lost=number == 3) for number in range(7))))

    a_record(directory / "data", body)
    reader = Reader.open(directory / "data")
    note = parse_note(reader.checkpoint().encode())
    now_s = int(datetime.now(UTC).timestamp())
    signed = note.joined([cosign(signer, name, note.text, now_s) for signer, name in (ADA, BO)])
    log_folder(directory / "data", TenantId("default")).put(
        f"checkpoints/{read_head(reader.checkpoint()).size}", str(signed).encode()
    )
    vkeys = [str(vkey_of(signer, name, role="witness")) for signer, name in (ADA, BO)]
    path = export_span(reader, directory)
    trust_path = write_trust(reader, directory / "trust.toml", witnesses=vkeys)
    reader.close()
    gate, log = (FileSigner.open(directory / "data" / "keys" / f"{name}.key") for name in ("gate", "log"))
    return Thousand(
        path=path,
        trust_path=trust_path,
        members=read_container(path),
        trust=read_trust(trust_path),
        gate=gate,
        log=log,
    )


def test_untouched_it_verifies_as_witnessed_and_both_verifiers_say_so(thousand: Thousand) -> None:
    report = verify(thousand.path, thousand.trust_path)

    assert (report.verdict, report.assurance, report.findings) == ("verified", "witnessed", ())
    assert report.receipts >= 1_000


@pytest.mark.parametrize("part", range(20 if IS_SOAK else 1))
def test_every_flipped_bit_within_a_member_is_found_and_the_member_named(thousand: Thousand, part: int) -> None:
    chance = random.Random(SEED + part)
    names = sorted(thousand.members)

    for count in range(1_000 if IS_SOAK else 60):
        name = chance.choice(names)
        members = {**thousand.members, name: flipped(thousand.members[name], chance)}

        # Every other time the manifest is made to match, so that it does not give the change away.
        is_healed = count % 2 and name != "manifest.json"
        report = thousand.report(members) if is_healed else verify_members(members, thousand.trust, seen=thousand.seen)

        is_watched = name == "checkpoint.txt" and report.verdict == "undetermined"  # a cosignature's name or key hash
        is_told_by_manifest_only = name in ("report.html", "README.txt", "VERIFY.sh", "keys.json")
        if is_told_by_manifest_only and is_healed:
            continue  # what it covers was made to match the change
        assert report.verdict == "does not verify" or is_watched, f"{count}: {name}"
        is_named = name in named(report)
        if name == "manifest.json" and report.first is not None:
            is_named = is_named or report.first.check == "manifest"  # what it says of another member is not so
        assert is_watched or is_named, f"{count}: {name} was changed, and {report.first} was said"


def test_each_dropped_receipt_is_missed_by_number_and_by_place(thousand: Thousand) -> None:
    for name in thousand.sample(8):
        said = statement_of(thousand.members[name])["predicate"]

        report = thousand.report({other: body for other, body in thousand.members.items() if other != name})

        assert report.verdict == "does not verify"
        assert name in named(report)
        assert (
            any(found.check == "chain" and f"`{said['run']}`" in found.what for found in report.findings)
            or said["phase"] == "run.close"
        ), name


def test_each_receipt_that_is_there_twice_is_named(thousand: Thousand) -> None:
    extra = f"receipts/{len(thousand.names) + 1:06d}.json"

    for name in thousand.sample(8):
        report = thousand.report({**thousand.members, extra: thousand.members[name]})

        assert report.first is not None
        assert thousand.receipt_id(name) in named(report)
        assert extra in named(report)


def test_each_receipt_that_took_anothers_place_is_named(thousand: Thousand) -> None:
    chance = random.Random(SEED)

    for name in thousand.sample(8):
        other = chance.choice([each for each in thousand.names if each != name])
        swapped = {**thousand.members, name: thousand.members[other], other: thousand.members[name]}
        report = thousand.report(swapped)

        assert report.verdict == "does not verify"
        assert {thousand.receipt_id(name), thousand.receipt_id(other), "proofs.json"} & named(report), (name, other)


def test_neighbours_in_another_order_are_found(thousand: Thousand) -> None:
    for name in thousand.sample(8)[:-1]:
        other = f"receipts/{min(int(name[9:15]) + 1, len(thousand.names)):06d}.json"
        if other == name:
            continue
        report = thousand.report({**thousand.members, name: thousand.members[other], other: thousand.members[name]})

        assert report.verdict == "does not verify"
        assert report.findings


@pytest.mark.parametrize("count", [1, 2, 100])
def test_a_truncated_tail_is_found_though_manifest_and_proof_were_made_to_match(thousand: Thousand, count: int) -> None:
    kept = {name: body for name, body in thousand.members.items() if name not in thousand.names[-count:]}
    proofs = json.loads(kept["proofs.json"])
    proofs["leaves"] = {name: place for name, place in proofs["leaves"].items() if name in kept}

    report = thousand.report({**kept, "proofs.json": canonical_json(proofs)})

    assert "inclusion" in {found.check for found in report.findings}


def test_a_truncated_tail_under_a_checkpoint_of_its_own_lacks_the_witnesses(thousand: Thousand) -> None:
    """An operator with both of his keys shows less than he did before."""
    report = thousand.report(forged(thousand, lambda said: None, upto=900))

    assert (report.verdict, report.assurance, report.findings) == ("undetermined", "local", ())
    assert "cosigned by 0 of 2 witnesses" in " ".join(report.open_questions)


def test_a_checkpoint_from_before_is_found_in_the_place_of_the_newer_one(thousand: Thousand) -> None:
    older = forged(thousand, lambda said: None, upto=900)["checkpoint.txt"]

    report = thousand.report({**thousand.members, "checkpoint.txt": older})

    assert "inclusion" in {found.check for found in report.findings}


def forged(
    thousand: Thousand,
    change: Callable[[dict[str, Any]], object],
    *,
    at: int = 500,
    upto: int = 0,
    cosigned: bool = False,
) -> Members:
    """What somebody with the gate's and the log's key can make: one receipt changed, all after it chained anew."""
    kept = thousand.names[: upto or None]
    last: dict[str, str] = {}
    texts = ("disclosed/", "policy/", "specs/") if upto else ()  # of receipts that are not there any more
    members = {
        name: body
        for name, body in thousand.members.items()
        if name not in thousand.names and not name.startswith(texts)
    }
    key_id = hashlib.sha256(thousand.gate.public_key).hexdigest()
    for number, name in enumerate(kept):
        statement = statement_of(thousand.members[name])
        said = statement["predicate"]
        if number == at:
            change(said)
        if said["seq"]:
            said["prev"] = last[said["run"]]
        if said["phase"] == "run.close":
            said["control"]["last"] = said["prev"]
        body = canonical_json(statement)
        members[name] = envelope_json(body, thousand.gate.sign(pae(body)), key_id)
        last[said["run"]] = "sha256:" + hashlib.sha256(members[name]).hexdigest()
    leaves = [leaf_hash(hashlib.sha256(members[name]).digest()) for name in kept]
    note = sign_checkpoint(thousand.log, thousand.trust.origin, len(leaves), root_hash(leaves))
    if cosigned:
        note += "".join(line + "\n" for line in thousand.members["checkpoint.txt"].decode().split("\n")[-3:-1])
    proofs = {"size": len(kept), "leaves": {name: place for place, name in enumerate(kept)}, "nodes": {}}
    return {**members, "checkpoint.txt": note.encode(), "proofs.json": canonical_json(proofs)}


def test_without_the_witnesses_keys_a_forger_gets_no_more_than_undetermined(thousand: Thousand) -> None:
    def changed(said: dict[str, Any]) -> None:
        said["labels"] = ["forged"]

    alone = thousand.report(forged(thousand, changed))
    copied = thousand.report(forged(thousand, changed, cosigned=True))

    assert (alone.verdict, alone.assurance, alone.findings) == ("undetermined", "local", ())
    assert copied.verdict == "does not verify"
    assert {found.check for found in copied.findings} == {"witnesses"}
    assert len(copied.findings) == 2


def test_with_the_gates_key_alone_a_forger_fails_at_the_log(thousand: Thousand) -> None:
    made = forged(thousand, lambda said: said.update(labels=["forged"]))

    report = thousand.report({**made, "checkpoint.txt": thousand.members["checkpoint.txt"]})

    assert {found.check for found in report.findings} == {"inclusion"}


def test_a_clock_that_was_set_forward_is_found_by_the_witnesses_time(thousand: Thousand) -> None:
    later = (datetime.now(UTC) + timedelta(hours=2)).isoformat(timespec="microseconds")[:26] + "Z"
    made = forged(thousand, lambda said: said.update(at=later), at=len(thousand.names) - 1)
    note = parse_note(made["checkpoint.txt"])
    now_s = int(datetime.now(UTC).timestamp())
    signed = note.joined([cosign(signer, name, note.text, now_s) for signer, name in (ADA, BO)])

    report = thousand.report({**made, "checkpoint.txt": str(signed).encode()})

    assert {found.check for found in report.findings} == {"time"}
    assert report.first is not None
    assert report.first.member == thousand.names[-1]
