"""Checkpoints: signed tree heads as C2SP signed notes.

Source: C2SP tlog-checkpoint, signed-note; `docs/formats/log.md`.
"""

import base64
import hashlib

from answerable.ledger._ports import Signer

__all__ = ["origin_of", "sign_checkpoint"]


def origin_of(log: Signer, tenant: str) -> str:
    """The log's origin, which is also the name of its key."""
    return f"answerable.local/{log.key_id[:16]}/{tenant}"


def sign_checkpoint(log: Signer, origin: str, size: int, root: bytes) -> str:
    """The checkpoint of a tree, a signed note."""
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    key_hash = hashlib.sha256(origin.encode() + b"\n\x01" + log.public_key).digest()[:4]
    signature = base64.b64encode(key_hash + log.sign(text.encode())).decode()
    return f"{text}\n\N{EM DASH} {origin} {signature}\n"
