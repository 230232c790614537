"""Disclosed texts against the commitments of receipts.

Format: `docs/formats/bundle.md`, "Disclosed texts".
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from answerable_verify._filed import Filed
from answerable_verify._history import Say
from answerable_verify._json import NotCanonical, read_json
from answerable_verify._receipt import Receipt

__all__ = ["SALT_BYTES", "TEXT_FOLDERS", "check_requests", "check_texts", "named_texts"]

SALT_BYTES = 32
TEXT_FOLDERS = ("disclosed/", "policy/", "specs/")
"""Members named by the hexadecimal commitment of their content; in `disclosed/` a salt stands before the text."""
_HEX64 = re.compile(r"[0-9a-f]{64}")
_ANOTHER = object()


def named_texts(members: Iterable[str]) -> set[bytes]:
    """The digests that members for texts are named by."""
    texts = (name.partition("/")[2] for name in members if name.startswith(TEXT_FOLDERS))
    return {bytes.fromhex(name) for name in texts if _HEX64.fullmatch(name)}


def check_texts(
    members: Mapping[str, bytes], names: Iterable[str], filed: Filed, *, are_all_readable: bool
) -> tuple[int, int, list[tuple[str, str]]]:
    """How many texts match, how many commitments have no text, and (member, fault) for the rest.

    Args:
        members: content by name.
        names: of those that may be texts.
        filed: the receipts whose commitments count.
        are_all_readable: where a receipt was damaged, a text may be its own, and is not blamed.
    """
    faults: list[tuple[str, str]] = []
    found: set[bytes] = set()
    for member in names:
        if not member.startswith(TEXT_FOLDERS):
            continue
        content, name = members[member], member.partition("/")[2]
        digest = hashlib.sha256(content).digest()
        if digest.hex() != name:
            faults.append((member, "the content is not what its name commits to"))
        elif member.startswith("disclosed/") and len(content) < SALT_BYTES:
            faults.append((member, "shorter than its salt"))
        elif digest not in filed.committed and are_all_readable:
            faults.append((member, "no receipt in the bundle commits to it"))
        else:
            found.add(digest)
    return len(found), filed.commitments() - len(found & filed.committed), faults


def check_requests(members: Mapping[str, bytes], receipts: Iterable[Receipt], *, say: Say) -> int:
    """Check that a disclosed decision request is of the agent and action of each receipt that cites it.

    In a delegated run it may also be of an agent that delegated: policy is asked of all of them.
    """
    read = lru_cache(maxsize=256)(lambda name: _request(members[f"disclosed/{name}"], name))
    chains: dict[str, Any] = {}
    count = 0
    for receipt in receipts:
        if receipt.phase == "run.open":
            chain = receipt.section("control").get("chain")
            chains[receipt.run] = chain if isinstance(chain, list) else []  # in a text, any part of it would be found
        name = str(receipt.section("authority").get("request", "")).removeprefix("sha256:")
        if f"disclosed/{name}" not in members:
            continue
        request = read(name)
        if request is _ANOTHER:
            continue
        if request == {}:
            continue  # refused before policy was asked
        count += 1
        match request:
            case {"principal": {"id": str(agent)}, "action": {"id": str()}, "resource": {"id": str(resource)}}:
                pass
            case _:
                say("requests", "the request it was decided on names no principal, action and resource", receipt)
                continue
        if agent != receipt.section("agent").get("id") and agent not in chains.get(receipt.run, []):
            say("requests", "was decided on a request of another agent", receipt)
        elif resource != (receipt.section("action").get("target") or "none"):
            say("requests", "was decided on a request about another resource", receipt)
    return count


def _request(content: bytes, name: str) -> Any:
    """What a disclosed text says; None where it is no JSON, and `_ANOTHER` where it is not the text that is named."""
    if hashlib.sha256(content).hexdigest() != name:
        return _ANOTHER
    try:
        return read_json(content[SALT_BYTES:])
    except NotCanonical:
        return None
