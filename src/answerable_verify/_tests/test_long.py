"""Long lists read as they come: believed only where the reader that has all of it in memory says the same."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answerable_verify._desk import Desk
from answerable_verify._filed import Filed
from answerable_verify._json import NotCanonical, read_json
from answerable_verify._long import places_of, rest_of_manifest
from answerable_verify._reading import Read
from answerable_verify._receipt import read_receipt

pytestmark = pytest.mark.requirement("EV-3")

VECTORS = Path(__file__).parents[3] / "conformance" / "vectors" / "bundles.json"
(CASE,) = (case for case in json.loads(VECTORS.read_text("utf-8"))["cases"] if case["name"] == "an ordinary run")
MEMBERS = {name: text.encode() for name, text in CASE["members"].items()}
HEX = "0" * 64
SPLICES = (
    *(
        '"members":{',
        '"leaves":{',
        '"members":{}',
        '"leaves":{},',
        '{"a":',
        "}",
        "{",
        ",",
        '"',
        "\\",
        " ",
        "0",
        "01",
        "-",
    ),
    *(f'"receipts/000001.json":"{HEX}",', f'"x":"{HEX}",', '"receipts/000001.json":3,', '"members" :{},'),
)


def filed(desk: Desk) -> Filed:
    """Its receipts, put aside."""
    found = Filed(desk.receipts)
    for name in desk.receipts:
        receipt = read_receipt(desk.members[name], name)
        found.add([Read(receipt.digest, receipt)])
    return found


def fully(body: bytes) -> Any:
    try:
        return read_json(body)
    except NotCanonical:
        return None


def agree(members: Mapping[str, bytes]) -> bool:
    """Whether anything was believed; what was is what the other reader says."""
    desk = Desk(members=members, trust=None)
    aside = filed(desk)
    rest, proofs = rest_of_manifest(desk, aside), places_of(desk, aside)
    if rest is not None:
        digests = {name: desk.digest(name).hex() for name in members if name != "manifest.json"}
        assert {**rest, "members": digests} == fully(members["manifest.json"])
    if proofs is not None:
        said, places = proofs
        leaves = dict(zip(desk.receipts, places, strict=True))
        assert {**said, "leaves": leaves} == fully(members["proofs.json"])
        assert list(places) == sorted(set(places))
    return rest is not None and proofs is not None


def test_what_a_gate_writes_is_read_as_it_comes() -> None:
    assert agree(MEMBERS)


@pytest.mark.parametrize("name", ["manifest.json", "proofs.json"])
@given(data=st.data())
def test_whatever_else_they_say_both_readers_agree_or_one_leaves_it_to_the_other(
    name: str, data: st.DataObject
) -> None:
    text = MEMBERS[name].decode()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        width = data.draw(st.sampled_from([0, 0, 1, 2, 90]))
        text = text[:at] + data.draw(st.sampled_from(SPLICES)) + text[at + width :]

    agree({**MEMBERS, name: text.encode()})


@pytest.mark.parametrize("name", ["manifest.json", "proofs.json"])
def test_a_list_that_is_not_of_the_outermost_object_is_not_believed(name: str) -> None:
    text = MEMBERS[name].decode()
    key = '"members":' if name == "manifest.json" else '"leaves":'
    inner = f'{{"a":{text}}}'
    hidden = text.replace(key, key.replace('"', '"\\u0061', 1), 1)
    beside = text[:-1] + f",{key[:-1]} :{{}}}}"

    for said in (inner, hidden, beside, inner[:-1] + f",{key}{{}}}}", text[:-1] + f",{key}{{}}}}"):
        assert not agree({**MEMBERS, name: said.encode()})


@pytest.mark.parametrize("name", ["receipts/000001.json", "receipts/000002.json", "keys.json", "proofs.json"])
def test_another_digest_of_a_member_is_not_believed(name: str) -> None:
    manifest = json.loads(MEMBERS["manifest.json"])
    digest = manifest["members"][name]
    said = MEMBERS["manifest.json"].replace(
        digest.encode(), digest[:-1].encode() + (b"0" if digest[-1] != "0" else b"1")
    )

    assert not agree({**MEMBERS, "manifest.json": said})


def test_members_in_another_order_or_beside_the_list_are_left_to_the_other_reader() -> None:
    manifest = json.loads(MEMBERS["manifest.json"])
    listed = list(manifest["members"].items())
    random.Random(1).shuffle(listed)
    shuffled = json.dumps({**manifest, "members": dict(listed)}, separators=(",", ":")).encode()

    assert not agree({**MEMBERS, "manifest.json": shuffled})
    assert not agree({**MEMBERS, "x.txt": b""})
    assert not agree({name: body for name, body in MEMBERS.items() if name != "README.txt"} | {"y": b""})
    assert not agree({**MEMBERS, "receipts/x.json": b""})
