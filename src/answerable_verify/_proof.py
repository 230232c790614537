"""One receipt and its proof: a C2SP tlog-proof that carries the receipt.

Source: C2SP tlog-proof; `docs/formats/log.md`.
"""

import hashlib
import re

from answerable_verify._checkpoint import Checkpoint
from answerable_verify._desk import Desk
from answerable_verify._inlog import read_note
from answerable_verify._json import NotCanonical, read_base64
from answerable_verify._tree import BadProof, leaf_hash, path_root

__all__ = ["FIRST_LINE", "BadProofFile", "check_path", "split_proof"]

FIRST_LINE = b"c2sp.org/tlog-proof@v1\n"
_INDEX = re.compile(rb"index (0|[1-9][0-9]{0,18})")
_MOST_HASHES = 64


class BadProofFile(ValueError):
    """Bytes that are no tlog-proof with a receipt in it."""


def split_proof(raw: bytes) -> tuple[bytes, int, list[bytes], bytes]:
    """The receipt's envelope, its index, the path, and the checkpoint.

    Raises:
        BadProofFile: the file is not of the format, or carries no receipt.
    """
    head, gap, note = raw.partition(b"\n\n")
    lines = head.split(b"\n")[1:]
    if not gap or len(lines) < 2 or not lines[0].startswith(b"extra "):
        raise BadProofFile("it carries no receipt as `extra`, or no checkpoint")
    index = _INDEX.fullmatch(lines[1])
    if index is None or len(lines) > _MOST_HASHES + 2:
        raise BadProofFile("it states no index, or its path is too long")
    try:
        envelope, *path = [read_base64(line.decode("ascii")) for line in (lines[0][6:], *lines[2:])]
    except (NotCanonical, UnicodeDecodeError):
        raise BadProofFile("a line is not canonical base64") from None
    if any(len(node) != 32 for node in path):
        raise BadProofFile("a line of the path is not a hash")
    return envelope, int(index[1]), path, note


def check_path(desk: Desk, envelope: bytes, index: int, path: list[bytes]) -> Checkpoint | None:
    """Check that the path leads from the receipt to the root hash of the checkpoint on the desk."""
    checkpoint = read_note(desk, "checkpoint.txt")
    if checkpoint is None:
        return None
    desk.counts["inclusion"] = 1
    try:
        root = path_root(leaf_hash(hashlib.sha256(envelope).digest()), index=index, size=checkpoint.size, path=path)
    except BadProof as error:
        desk.say("inclusion", str(error))
        return checkpoint
    if root != checkpoint.root:
        desk.say("inclusion", "receipt and path lead to another root hash than the checkpoint's")
    return checkpoint
