"""The published vectors and our own, against the ledger that writes and the verifier that reads."""

import base64
import hashlib
import importlib.util
import json
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from answerable.ledger import inclusion_path, leaf_hash, pae, root_hash
from answerable_verify import Trust, _checkpoint, _keys, _receipt, _tree, verify_members

pytestmark = pytest.mark.requirement("EV-3")

FOLDER = Path(__file__).parents[2] / "conformance" / "vectors"


def load(name: str) -> Any:
    """One file of vectors."""
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def cases(name: str) -> list[Any]:
    """The cases of one file, named for the test report."""
    return [pytest.param(case, id=case["name"].replace(" ", "-")) for case in load(name)["cases"]]


def generator() -> ModuleType:
    """The script that writes the vectors."""
    spec = importlib.util.spec_from_file_location("generate_vectors", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generator_writes_exactly_the_files_that_are_checked_in() -> None:
    script = generator()

    for name, vectors in script.all_vectors().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == script.encoded(vectors), name


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


@pytest.mark.parametrize("case", cases("receipts.json"))
def test_receipts_are_accepted_and_refused_as_the_vectors_say(case: dict[str, Any]) -> None:
    refused_by = ""

    try:
        receipt = _receipt.read_receipt(case["envelope"].encode())
    except _receipt.BadReceipt as error:
        refused_by = error.check
    else:
        key = _keys.read_pem(load("receipts.json")["gateKey"])
        assert _keys.is_signed(_receipt.pae(receipt.body), receipt.signature, key)
        assert receipt.key_id == hashlib.sha256(key).hexdigest()

    assert refused_by == case["check"]


@pytest.mark.parametrize("case", cases("bundles.json"))
def test_bundles_get_the_verdict_that_the_vectors_say(case: dict[str, Any]) -> None:
    said = load("bundles.json")["trust"]
    gate = _keys.read_pem(said["gateKey"])
    trust = Trust(origin=said["origin"], log_key=_keys.read_pem(said["logKey"]), gate_keys={_keys.key_id(gate): gate})

    report = verify_members({name: text.encode() for name, text in case["members"].items()}, trust)

    expected = case["expect"]
    assert report.verdict == expected["verdict"], list(report.lines())
    assert (report.first.check if report.first else "") == expected["check"], report.findings
    if "receipt" in expected:
        assert report.first is not None
        assert report.first.receipt == expected["receipt"], report.findings


WEIRD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**53 - 1,
    "",
    "sha256:" + "0" * 64,
    "\x1b[2J",
    [],
    {},
    [[]],
    {"id": {}},
    ["a", 1],
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, item in inner for found in places(item, (*path, key))]


def disturb(value: Any, chance: random.Random) -> None:
    """Put something unexpected somewhere, or take something away."""
    *path, last = chance.choice(places(value))
    for key in path:
        value = value[key]
    if isinstance(value, dict) and chance.random() < 0.2:
        del value[last]
    else:
        value[last] = chance.choice(WEIRD)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_signed_receipt_says_the_verifier_ends_with_a_verdict_and_prints_nothing_unprintable(
    seed: int,
) -> None:
    script, chance = generator(), random.Random(seed)

    for _ in range(120):
        run = script.an_ordinary_run()
        for _ in range(chance.choice((1, 1, 3))):
            disturb(chance.choice(run.said), chance)
        try:
            members = script.bundle(run.envelopes())
        except (KeyError, TypeError, AttributeError):
            continue  # the script itself needs what was taken away
        if chance.random() < 0.4:
            name = chance.choice(("manifest.json", "proofs.json", "keys.json"))
            value = json.loads(members[name])
            disturb(value, chance)
            members[name] = json.dumps(value)

        report = verify_members({name: text.encode() for name, text in members.items()})

        assert report.verdict in ("self-consistent", "undetermined", "does not verify")
        assert all(line.isprintable() for line in report.lines())
        json.dumps(report.to_json())
