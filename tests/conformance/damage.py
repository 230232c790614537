"""Damage to bundles, drawn at random: signed receipts that say something odd, members changed, lost and swapped."""

import base64
import copy
import json
import random
from collections.abc import Mapping
from typing import Any

from conformance.vectors.making import bundle, canonical, envelope, sha256

__all__ = ["damaged", "disturb", "forged", "heal"]

WEIRD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 2**53 - 1, 2**53, 1.5),
    *("", "sha256:" + "0" * 64, "\x1b[2J", "0", "é", "\ud800", "__proto__", "constructor"),
    *("approve", "lead", "read", "refused", "approve:n=2", "2026-13-01T00:00:00.000000Z"),
    *([], {}, [[]], ["a", 1], {"id": {}}, {"é": 1}, {"__proto__": 1}),
)
_SECTIONS = ("control", "control", "authority", "action", "effect")
_MADE_ANEW = ("manifest.json", "checkpoint.txt", "proofs.json", "keys.json")
_STRANGE_NAMES = ("__proto__", "x", "constructor", "toString")


def damaged(members: Mapping[str, bytes], chance: random.Random) -> dict[str, bytes]:
    """The members with one or two things wrong; often with a manifest that was written anew to match."""
    found = dict(members)
    for _ in range(chance.choice((1, 1, 2))):
        if found:
            _damage(found, chance)
    if chance.random() < 0.7:
        heal(found)
    return found


def forged(members: Mapping[str, bytes], chance: random.Random) -> dict[str, bytes]:
    """A whole log whose receipts say something odd, chained and signed anew by whoever has all of its keys.

    Nothing but what the receipts say is wrong with it, so what it says is judged.

    Args:
        members: of a bundle of a whole log.
    """
    names = sorted(name for name in members if name.startswith("receipts/"))
    said = [json.loads(base64.b64decode(json.loads(members[name])["payload"])) for name in names]
    for _ in range(chance.choice((1, 2, 3))):
        predicate = chance.choice(said)["predicate"]
        section = predicate.get(chance.choice(_SECTIONS))
        disturb(section if isinstance(section, dict) else predicate, chance)
    newest: dict[str, str] = {}
    log = []
    for statement in said:
        predicate = statement["predicate"]
        run, control = str(predicate.get("run")), predicate.get("control")
        if "prev" in predicate and run in newest:
            predicate["prev"] = newest[run]
            if isinstance(control, dict) and "last" in control:
                control["last"] = newest[run]
        log.append(envelope(_written(statement)))
        newest[run] = "sha256:" + sha256(log[-1].encode())
    others = {n: content for n, content in members.items() if n not in _MADE_ANEW and not n.startswith("receipts/")}
    complete = json.loads(members["manifest.json"]).get("complete")
    found = bundle(log, complete=complete, changed=others)
    return {name: content if isinstance(content, bytes) else content.encode() for name, content in found.items()}


def disturb(value: Any, chance: random.Random) -> None:
    """Put something unexpected somewhere in a JSON value, or take something away."""
    places = _places(value)
    if not places:
        return
    *path, last = chance.choice(places)
    for key in path:
        value = value[key]
    if isinstance(value, dict) and chance.random() < 0.2:
        del value[last]
    elif isinstance(value, dict) and chance.random() < 0.1:
        value[chance.choice(_STRANGE_NAMES)] = copy.deepcopy(value[last])
    else:
        value[last] = copy.deepcopy(chance.choice(WEIRD))  # what is put there may be disturbed in its turn


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, item in inner for found in _places(item, (*path, key))]


def _damage(members: dict[str, bytes], chance: random.Random) -> None:
    name, how = chance.choice(sorted(members)), chance.random()
    if name.endswith(".json") and how < 0.75:
        members[name] = _reworded(members[name], chance, is_receipt=name.startswith("receipts/"))
    elif how < 0.85:
        changed = bytearray(members[name] or b"\0")
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        members[name] = bytes(changed)
    elif how < 0.93:
        del members[name]
    else:
        other = chance.choice(sorted(members))
        members[name], members[other] = members[other], members[name]


def _reworded(content: bytes, chance: random.Random, *, is_receipt: bool) -> bytes:
    """A JSON member that says something else; a receipt signed anew, as whoever has the gate's key could."""
    try:
        value = json.loads(content)
        if is_receipt:
            value = json.loads(base64.b64decode(value["payload"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return content  # damaged before
    disturb(value, chance)
    body = _written(value)
    return envelope(body).encode() if is_receipt else body


def _written(value: Any) -> bytes:
    """As canonical as it can be said: lone surrogates stay what they are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def heal(members: dict[str, bytes]) -> None:
    """Write the manifest anew to match the members."""
    try:
        manifest = json.loads(members["manifest.json"])
        manifest["members"] = {name: sha256(body) for name, body in members.items() if name != "manifest.json"}
        manifest["receipts"] = sum(name.startswith("receipts/") for name in members)
        members["manifest.json"] = canonical(manifest)
    except (KeyError, ValueError, TypeError, RecursionError):
        pass  # there is none, or it is beyond repair
