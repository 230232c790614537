"""Checkpoints: signed tree heads as C2SP signed notes.

Source: C2SP tlog-checkpoint, signed-note; `docs/formats/log.md`.
"""

import base64
import hashlib
from dataclasses import dataclass

from answerable.ledger._ports import Signer

__all__ = ["Head", "line_of", "log_vkey", "origin_of", "read_head", "sign_checkpoint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a checkpoint states; who signed it is told elsewhere."""

    origin: str
    size: int
    root: bytes


def read_head(note: str) -> Head:
    """The head that a checkpoint of our own states."""
    origin, size, root = note.split("\n")[:3]
    return Head(origin=origin, size=int(size), root=base64.b64decode(root))


def origin_of(first: str, tenant: str, line: int = 1) -> str:
    """The log's origin, which is also the name of its keys; it stays when the key changes.

    Args:
        first: id of the key that the record began with.
        line: of history, counted from 1: a record that was restored with entries lost begins another.
    """
    return f"answerable.local/{first[:16]}{f'.{line}' if line > 1 else ''}/{tenant}"


def line_of(origin: str) -> int:
    """Which line of history an origin names."""
    _, _, line = origin.split("/")[1].partition(".")
    return int(line or 1)


def sign_checkpoint(log: Signer, origin: str, size: int, root: bytes) -> str:
    """The checkpoint of a tree, a signed note."""
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    key_hash = hashlib.sha256(origin.encode() + b"\n\x01" + log.public_key).digest()[:4]
    signature = base64.b64encode(key_hash + log.sign(text.encode())).decode()
    return f"{text}\n\N{EM DASH} {origin} {signature}\n"


def log_vkey(origin: str, public_key: bytes) -> str:
    """The log's key as others are told it.

    Source: C2SP signed-note, "Verifier keys".
    """
    kind = b"\x01" + public_key
    key_hash = hashlib.sha256(origin.encode() + b"\n" + kind).digest()[:4]
    return f"{origin}+{key_hash.hex()}+{base64.b64encode(kind).decode()}"
