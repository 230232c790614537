"""Long lists in JSON members, read without holding them: the manifest's members, and the places in the log.

They are by far the longest that a large bundle's JSON says. What is read here is read as strictly as elsewhere; what is
not plainly what a gate writes is left to the reader that has all of it in memory, which also words what is wrong.
"""

import re
from array import array
from collections.abc import Iterator, Mapping
from typing import Any

from answerable_verify._container import Container, Numbered
from answerable_verify._desk import Desk
from answerable_verify._filed import Filed
from answerable_verify._json import NotCanonical, read_json

__all__ = ["places_of", "rest_of_manifest"]

_LONGEST_HEAD = 64 * 1024
_LONGEST_ITEM = 1024
_LISTED = re.compile(rb'"([A-Za-z0-9._/-]{1,200})":"([0-9a-f]{64})"')
_MOST_DIGITS = 15  # the longest number that is surely below 2^53


def rest_of_manifest(desk: Desk, filed: Filed) -> dict[str, Any] | None:
    """What the manifest says beside its `members`, if those are exactly the members of the bundle; None else."""
    names, members = filed.names, desk.members
    if not isinstance(names, Numbered) or "manifest.json" not in members:
        return None
    lines = enumerate(filed.lines(), names.begin)
    expected = (b'"receipts/%06d.json":"%b"' % (number, line[0].hex().encode()) for number, line in lines)
    rest: list[Any] = []
    following, last, others = next(expected, None), "", 0
    for item in _items(members, "manifest.json", "members", rest):
        if item == following:
            following = next(expected, None)
            continue
        found = _LISTED.fullmatch(item)
        name = found[1].decode("ascii") if found else ""
        # Each name is higher than the one before, so none is there twice.
        if not found or name <= last or name.startswith("receipts/") or name not in members:
            return None
        if name == "manifest.json" or desk.digest(name).hex().encode() != found[2]:
            return None
        last, others = name, others + 1
    if not rest or following is not None or others + len(names) + 1 != len(members):
        return None
    manifest: dict[str, Any] = rest[0]
    return manifest


def places_of(desk: Desk, filed: Filed) -> "tuple[dict[str, Any], array[int]] | None":
    """The proofs without their `leaves`, and the index of each receipt, if each has one and they rise; None else."""
    names = filed.names
    strange = any(name.startswith("receipts/") for name in desk.others)  # which should have a place, too
    if not isinstance(names, Numbered) or strange or "proofs.json" not in desk.members:
        return None
    rest: list[Any] = []
    places, last = array("Q"), -1
    number, end = names.begin, names.begin + len(names)
    for item in _items(desk.members, "proofs.json", "leaves", rest):
        name, _, digits = item.partition(b":")
        is_plain = digits.isdigit() and len(digits) <= _MOST_DIGITS and (digits == b"0" or not digits.startswith(b"0"))
        if number == end or name != b'"receipts/%06d.json"' % number or not is_plain or (place := int(digits)) <= last:
            return None
        places.append(place)
        number, last = number + 1, place
    return (rest[0], places) if rest and number == end else None


def _items(members: Mapping[str, bytes], member: str, name: str, rest: list[Any]) -> Iterator[bytes]:
    """What an object within a JSON object holds, item by item as it is written, and then, in `rest`, all beside it.

    Nothing comes in `rest` where it cannot be read like this.

    SECURITY: the caller takes every item for one key and its value, or takes nothing. What is left without the items
    is read strictly, and is the same document with an empty object in that place: with no escape in it, quotes come
    in pairs, so the name that stands there once, before `{}`, is a key of the outermost object.
    """
    opening = b'"%b":{' % name.encode("ascii")
    pieces = members.pieces(member) if isinstance(members, Container) else _pieces(members[member])
    head = b""
    while opening not in head:
        piece = next(pieces, None)
        if piece is None or len(head) > _LONGEST_HEAD:
            return
        head += piece
    head, _, text = head.partition(opening)
    while b"}" not in text:
        *items, text = text.split(b",")
        yield from items
        piece = next(pieces, None)
        if piece is None or len(text) > _LONGEST_ITEM:
            return
        text += piece
    text, _, tail = text.partition(b"}")
    yield from text.split(b",")
    said = b"".join((head, opening, b"}", tail, *pieces))
    try:
        value = read_json(said) if b"\\" not in said and said.count(b'"%b"' % name.encode("ascii")) == 1 else None
    except NotCanonical:
        return
    if isinstance(value, dict) and value.get(name) == {}:
        rest.append(value)


def _pieces(content: bytes) -> Iterator[bytes]:
    return (content[at : at + _LONGEST_HEAD] for at in range(0, len(content), _LONGEST_HEAD))
