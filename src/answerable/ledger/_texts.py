"""Texts as they are sealed and committed to."""

import hashlib
import struct

from answerable.ledger._receipt import Draft
from answerable.ledger._vault import Keyset, commitment

__all__ = ["commitments", "join_texts", "object_salt", "split_texts"]

_LENGTHS = struct.Struct(">ii")


def commitments(keyset: Keyset, draft: Draft, receipt_id: str) -> dict[str, str]:
    """Commitments to a draft's texts, by the step they belong to, or by receipt outside a step."""
    context = draft.step or receipt_id
    found = {}
    if draft.input is not None:
        found["input"] = commitment(keyset.salt(draft.run, context, "input"), draft.input)
    if draft.output is not None:
        found["output"] = commitment(keyset.salt(draft.run, context, "output"), draft.output)
    return found


def object_salt(keyset: Keyset, text: bytes) -> bytes:
    """The salt of a text that is kept once: derives from the tenant's key and the text itself."""
    return keyset.salt("", hashlib.sha256(text).hexdigest(), "object")


def join_texts(first: bytes | None, second: bytes | None) -> bytes:
    """Input and output as one text to seal; absent and empty stay apart."""
    head = _LENGTHS.pack(-1 if first is None else len(first), -1 if second is None else len(second))
    return head + (first or b"") + (second or b"")


def split_texts(joined: bytes) -> tuple[bytes | None, bytes | None]:
    """What `join_texts` joined."""
    first, second = _LENGTHS.unpack_from(joined)
    middle = _LENGTHS.size + max(first, 0)
    return (
        None if first < 0 else joined[_LENGTHS.size : middle],
        None if second < 0 else joined[middle : middle + second],
    )
