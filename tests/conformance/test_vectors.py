"""The published vectors and our own, against the ledger that writes and the verifier that reads."""

import base64
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from answerable.ledger import inclusion_path, leaf_hash, pae, root_hash
from answerable_verify import (
    BadTrust,
    Report,
    Trust,
    _checkpoint,
    _json,
    _keys,
    _receipt,
    _tree,
    read_trust,
    verify,
    verify_members,
)
from answerable_verify._report import COVERS
from conformance.vectors import generate
from conformance.vectors.making import bundle
from conformance.vectors.runs import an_ordinary_run
from tests.conformance.damage import damaged
from tests.conformance.second_opinion import ours

pytestmark = pytest.mark.requirement("EV-3")

FOLDER = Path(__file__).parents[2] / "conformance" / "vectors"


@pytest.fixture(params=["with what is fast", "without"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verifier as where its extra `fast` is installed, and as where it is not."""
    assert _json._orjson
    assert _json._pybase64
    if request.param == "without":
        monkeypatch.setattr(_json, "_orjson", None)
        monkeypatch.setattr(_json, "_pybase64", None)


def load(name: str) -> Any:
    """One file of vectors."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def members_of(case: dict[str, Any]) -> dict[str, bytes]:
    """The members of a vector's bundle."""
    binary = {name: base64.b64decode(text) for name, text in case.get("binary", {}).items()}
    return {name: text.encode() for name, text in case["members"].items()} | binary


def trusted(text: str, folder: Path) -> Trust:
    """What a trust file says."""
    (folder / "trust.toml").write_text(text)
    return read_trust(folder / "trust.toml")


def opinion(report: Report, expected: dict[str, Any]) -> dict[str, Any]:
    """As much of a report as a vector tells."""
    found = ours(report)
    check, receipt = found["first"] or ("", "")
    return {name: value for name, value in {**found, "check": check, "receipt": receipt}.items() if name in expected}


def cases(name: str) -> list[Any]:
    """The cases of one file, named for the test report."""
    return [pytest.param(case, id=case["name"].replace(" ", "-")) for case in load(name)["cases"]]


def test_the_generator_writes_exactly_the_files_that_are_checked_in() -> None:
    for name, vectors in generate.all_vectors().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == generate.encoded(vectors), name


def test_published_tree_roots_are_ours() -> None:
    trees = load("rfc6962.json")
    entries = [bytes.fromhex(leaf) for leaf in trees["leaves"]]

    for size, root in enumerate(trees["published"]["roots"]):
        assert _tree.tree_root(entries[:size]).hex() == root
        assert root_hash([leaf_hash(entry) for entry in entries[:size]]).hex() == root


def test_published_and_computed_audit_paths_are_made_and_accepted() -> None:
    trees = load("rfc6962.json")
    entries = [bytes.fromhex(leaf) for leaf in trees["leaves"]]

    for case in trees["published"]["paths"] + trees["computed"]["paths"]:
        index, size = case["index"], case["size"]
        path = [bytes.fromhex(node) for node in case["path"]]

        assert inclusion_path([leaf_hash(entry) for entry in entries[:size]], index) == path
        root = _tree.path_root(_tree.leaf_hash(entries[index]), index=index, size=size, path=path)
        assert root.hex() == trees["published"]["roots"][size]


def test_a_path_of_the_wrong_length_is_refused() -> None:
    for case in load("rfc6962.json")["computed"]["paths"]:
        path = [bytes.fromhex(node) for node in case["path"]]
        for wrong in [[*path, bytes(32)], *([path[:-1]] if path else [])]:
            with pytest.raises(_tree.BadProof):
                _tree.path_root(bytes(32), index=case["index"], size=case["size"], path=wrong)


def test_the_pre_authentication_encoding_is_the_published_one() -> None:
    dsse = load("dsse.json")

    for case in [dsse["published"], *dsse["computed"]]:
        assert _receipt.pae(case["payload"].encode(), case["payloadType"]) == case["pae"].encode()
    assert pae(b"").decode() == dsse["computed"][0]["pae"]


def test_the_published_signed_note_holds() -> None:
    note = load("checkpoints.json")["published"]
    key, signature = bytes.fromhex(note["publicKey"]), base64.b64decode(note["signature"])

    assert _checkpoint.note_key_hash(note["name"], key).hex() == note["keyHash"] == signature[:4].hex()
    assert _keys.is_signed(note["text"].encode(), signature[4:], key)


@pytest.mark.parametrize("case", cases("checkpoints.json"))
def test_checkpoints_are_accepted_and_refused_as_the_vectors_say(case: dict[str, Any]) -> None:
    vectors = load("checkpoints.json")

    try:
        found = _checkpoint.read_checkpoint(case["note"].encode())
        holds = found.is_signed_by(bytes.fromhex(vectors["key"]))
        stated = (found.origin, found.size, found.root.hex())
    except _checkpoint.BadCheckpoint:
        holds, stated = False, ("", 0, "")

    assert holds is case["valid"]
    if holds:
        assert stated == (vectors["origin"], vectors["size"], vectors["root"])


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("case", cases("receipts.json"))
def test_receipts_are_accepted_and_refused_as_the_vectors_say(case: dict[str, Any]) -> None:
    refused_by = ""

    try:
        signed = _receipt.read_envelope(case["envelope"].encode())
        receipt = _receipt.read_statement(signed, b"", "")
    except _receipt.BadReceipt as error:
        refused_by = error.check
    else:
        key = _keys.read_pem(load("receipts.json")["gateKey"])
        assert _keys.is_signed(_receipt.pae(signed.body), signed.signature, key)
        assert receipt.key_id == hashlib.sha256(key).hexdigest()

    assert refused_by == case["check"]


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("case", cases("bundles.json"))
def test_bundles_get_the_verdict_that_the_vectors_say(case: dict[str, Any], tmp_path: Path) -> None:
    trust = load("bundles.json")["trusts"].get(case["trust"])

    report = verify_members(members_of(case), trusted(trust, tmp_path) if trust else None)

    assert opinion(report, case["expect"]) == case["expect"], list(report.lines())


@pytest.mark.parametrize("case", cases("proofs.json"))
def test_one_receipt_proofs_get_the_verdict_that_the_vectors_say(case: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "trust.toml").write_text(load("proofs.json")["trust"])
    (tmp_path / "one.tlog-proof").write_text(case["proof"])

    report = verify(tmp_path / "one.tlog-proof", tmp_path / "trust.toml")

    assert opinion(report, case["expect"]) == case["expect"], list(report.lines())


@pytest.mark.parametrize("case", cases("trusts.json"))
def test_trust_files_are_accepted_and_refused_as_the_vectors_say(case: dict[str, Any], tmp_path: Path) -> None:
    try:
        trusted(case["trust"], tmp_path)
        is_usable = True
    except BadTrust:
        is_usable = False

    assert is_usable is case["valid"]


@pytest.mark.parametrize("case", cases("containers.json"))
def test_containers_are_opened_and_refused_as_the_vectors_say(case: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_bytes(base64.b64decode(case["zip"]))

    report = verify(tmp_path / "b.zip")

    assert (report.first is None or report.first.check != "container") is case["valid"], report.findings


def test_every_check_has_a_vector_in_which_it_fails() -> None:
    failing = {case["expect"]["check"] for name in ("bundles.json", "proofs.json") for case in load(name)["cases"]}

    assert set(COVERS) <= failing


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_signed_receipt_says_the_verifier_ends_with_a_verdict_and_prints_nothing_unprintable(
    seed: int,
) -> None:
    chance = random.Random(seed)
    made = bundle(an_ordinary_run().envelopes())

    for _ in range(120):
        members = damaged({name: text.encode() for name, text in made.items()}, chance)

        report = verify_members(members)

        assert report.verdict in ("self-consistent", "undetermined", "does not verify")
        assert all(line.isprintable() for line in report.lines())
        json.dumps(report.to_json())
