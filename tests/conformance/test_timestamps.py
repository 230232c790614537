"""Two verifiers say the same of timestamps with a bit flipped, of another shape, and of certificates in any order."""

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from answerable_verify import verify_members
from conformance.vectors.stamps import AUTHORITY, BY_RSA, TIME_STAMPING, Authority, Certificate, der, stamp
from tests.conformance.damage import heal
from tests.conformance.second_opinion import in_base64, nodes_opinions, ours, theirs
from tests.conformance.test_vectors import load, members_of, trusted
from tests.soak import IS_SOAK

pytestmark = [pytest.mark.requirement("EV-3"), pytest.mark.slow]

VECTORS = load("bundles.json")
STAMP = "timestamps/1.tsr"
STAMPED = ("stamped", "stamped with RSA", "stamped by an authority below another", "stamped by one of two authorities")
WITH_MORE = "stamped, with words and revocations that nobody signs"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", STAMPED)
def test_both_refuse_a_timestamp_with_any_bit_flipped(name: str, tmp_path: Path) -> None:
    answer = members_of(_case(name))[STAMP]
    places = [(at, bit) for at in range(len(answer)) for bit in range(8)]

    drawn = places if IS_SOAK else random.Random(name).sample(places, 120)

    found = _said_by_both(name, [_flipped(answer, *place) for place in drawn], tmp_path)
    assert {opinion["verdict"] for opinion in found} == {"does not verify"}
    assert {tuple(opinion["first"]) for opinion in found} == {("timestamps", "")}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [WITH_MORE, *STAMPED[1:]])
def test_both_say_the_same_of_a_timestamp_of_another_shape(name: str, tmp_path: Path) -> None:
    answer, chance = members_of(_case(name))[STAMP], random.Random(name)

    found = _said_by_both(name, [_reshaped(answer, chance) for _ in range(5_000 if IS_SOAK else 120)], tmp_path)

    assert "does not verify" in {opinion["verdict"] for opinion in found}


def test_what_nobody_signs_may_be_changed_and_is_passed_over(tmp_path: Path) -> None:
    answer = members_of(_case(WITH_MORE))[STAMP]
    at = answer.index(b"Here you are"), answer.index(b"anything")

    found = _said_by_both(WITH_MORE, [_flipped(answer, place, 0) for place in at], tmp_path)

    assert [opinion["verdict"] for opinion in found] == ["verified", "verified"]


def test_both_read_as_much_as_they_may_and_no_more(tmp_path: Path) -> None:
    text = _stamped_text()
    least = len(stamp(text, passed_over=True, words=bytes(70_000))) - 70_000
    sizes = ((1 << 18) - least, (1 << 18) - least + 1)

    found = _said_by_both("stamped", [stamp(text, passed_over=True, words=b"." * size) for size in sizes], tmp_path)

    assert [opinion["verdict"] for opinion in found] == ["verified", "does not verify"]


@pytest.mark.timeout(1800)
def test_both_find_the_same_path_among_certificates_in_any_order(tmp_path: Path) -> None:
    chance = random.Random("paths")
    text = _stamped_text()
    carried = [_drawn_authority(chance) for _ in range(3_000 if IS_SOAK else 250)]

    found = _said_by_both("stamped", [stamp(text, by, carried=certificates) for by, certificates in carried], tmp_path)

    assert {opinion["verdict"] for opinion in found} == {"verified", "does not verify"}


def _case(name: str) -> dict[str, Any]:
    return next(case for case in VECTORS["cases"] if case["name"] == name)


def _stamped_text() -> bytes:
    return members_of(_case("stamped"))["checkpoint.txt"].split(b"\n\n")[0] + b"\n"


def _said_by_both(name: str, answers: Sequence[bytes], folder: Path) -> list[dict[str, Any]]:
    """What both say of a bundle with one of these timestamps; that it is the same is asserted."""
    case = _case(name)
    text, members = VECTORS["trusts"][case["trust"]], members_of(case)
    bundles = [{**members, STAMP: answer} for answer in answers]
    for bundle in bundles:
        heal(bundle)  # or the manifest's digest would say it before
    said = [
        opinion
        for start in range(0, len(bundles), 500)  # each call of the other verifier has its time
        for opinion in nodes_opinions(
            [{"members": in_base64(each), "trust": text} for each in bundles[start : start + 500]]
        )
    ]
    pinned = trusted(text, folder)
    found = [json.loads(json.dumps(ours(verify_members(each, pinned)))) for each in bundles]
    for answer, our, their in zip(answers, found, said, strict=True):
        assert our == json.loads(json.dumps(theirs(their))), answer.hex()
    return found


def _flipped(answer: bytes, at: int, bit: int) -> bytes:
    spoilt = bytearray(answer)
    spoilt[at] ^= 1 << bit
    return bytes(spoilt)


Node = list[Any]
"""A tag, and bytes or further values."""
PIECES = (
    "0500",
    "020100",
    "020103",
    "0101ff",
    "010100",
    "3000",
    "3100",
    "a000",
    "a100",
    "0c026869",
    "0202007f",
    "0201ff",
)
TAGS = (0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C, 0x17, 0x18, 0x80, 0x81)


def _reshaped(answer: bytes, chance: random.Random) -> bytes:
    """An answer with a value or two lost, doubled, moved, put in or changed, and every length right again."""
    (root,) = _values(answer)
    every = list(_within(root))
    for _ in range(chance.choice((1, 1, 1, 2))):
        _reshape(chance.choice(every), chance)
    return _written(root)


def _reshape(node: Node, chance: random.Random) -> None:
    _, content = node
    how = chance.randrange(5)
    if isinstance(content, bytes):
        changed = bytearray(content or b"\0")
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        node[1] = (bytes(changed), content + b"\0", content[:-1], b"\0" + content, content)[how]
        node[0] = chance.choice(TAGS) if how == 4 else node[0]
    elif how == 0 and content:
        del content[chance.randrange(len(content))]
    elif how == 1 and content:
        content.insert(chance.randrange(len(content) + 1), chance.choice(content))
    elif how == 2:
        content.insert(chance.randrange(len(content) + 1), _values(bytes.fromhex(chance.choice(PIECES)))[0])
    elif how == 3:
        chance.shuffle(content)
    else:
        node[0] = chance.choice((0x30, 0x31, 0xA0, 0xA1, 0xA3))


def _values(data: bytes) -> list[Node]:
    found, at = [], 0
    while at < len(data):
        tag, size, start = data[at], data[at + 1], at + 2
        if size >= 0x80:
            start += size - 0x80
            size = int.from_bytes(data[at + 2 : start], "big")
        content = data[start : start + size]
        found.append([tag, _values(content) if tag & 0x20 else content])
        at = start + size
    return found


def _within(node: Node) -> Iterable[Node]:
    yield node
    if isinstance(node[1], list):
        for each in node[1]:
            yield from _within(each)


def _written(node: Node) -> bytes:
    tag, content = node
    return der(tag, content) if isinstance(content, bytes) else der(tag, *map(_written, content))


KEYS = (AUTHORITY.root.key, AUTHORITY.leaf.key, BY_RSA.leaf.key)
ODD_LEAF: tuple[dict[str, Any], ...] = (
    *({"usage": usage} for usage in (0xC0, 0x40, 0x20, 0x84, 0x04, 0xA0)),
    *({"until": until} for until in ("261121040100Z", "261121040101Z", "261121040059Z", "491231235959Z")),
    *({"since": since} for since in ("261121040100Z", "261121040101Z", "500101000000Z", "490101000000Z")),
    *({"is_authority": True}, {"strange": True}, {"purposes_are_critical": False}, {"purposes": ()}),
)
ODD_AUTHORITY: tuple[dict[str, Any], ...] = (
    *({"usage": usage} for usage in (0x80, 0x84, 0x06, 0x02)),
    *({"longest": longest} for longest in (0, 1, 2, 7, 200)),
    *({"is_authority": False}, {"strange": True}, {"purposes": (TIME_STAMPING,)}, {"until": "261101000000Z"}),
)


def _drawn_authority(chance: random.Random) -> tuple[Authority, list[Certificate]]:
    """An authority some way below the root that is trusted, and the certificates its answer carries: others, too."""
    above, way = AUTHORITY.root, []
    for place in range(chance.choice((0, 0, 1, 1, 2, 3, 7, 8, 9))):
        odd = chance.choice(ODD_AUTHORITY) if chance.random() < 0.1 else {}
        said = {
            "subject": f"Time {place}",
            "key": chance.choice(KEYS),
            "serial": 10 + place,
            "is_authority": True,
            **odd,
        }
        above = Certificate(issuer=above.subject, issuer_key=above.key, **said)
        way.append(above)
    odd = chance.choice(ODD_LEAF) if chance.random() < 0.3 else {}
    said = {"subject": "Stamps", "key": chance.choice(KEYS), "serial": 99, "purposes": (TIME_STAMPING,), **odd}
    leaf = Certificate(issuer=above.subject, issuer_key=above.key, **said)
    beside = [
        replace(
            chance.choice([AUTHORITY.root, *way]),
            key=chance.choice(KEYS),
            issuer_key=chance.choice(KEYS),
            serial=200 + n,
        )
        for n in range(chance.choice((0, 0, 1, 4)))
    ]
    if way and chance.random() < 0.1:
        way.remove(chance.choice(way))
    return Authority(root=AUTHORITY.root, leaf=leaf), [leaf, *way, *beside]
