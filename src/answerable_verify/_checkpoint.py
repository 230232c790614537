"""Checkpoints: signed tree heads in the C2SP signed-note form.

Source: https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint; `docs/formats/log.md`.
"""

import hashlib
from dataclasses import dataclass

from answerable_verify._json import NotCanonical, read_base64
from answerable_verify._keys import is_signed

__all__ = ["BadCheckpoint", "Checkpoint", "NoteSignature", "note_key_hash", "read_checkpoint"]

_ED25519 = b"\x01"
_LONGEST = 64 * 1024
_MOST_SIGNATURES = 100


class BadCheckpoint(ValueError):
    """Text that is not a checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line: whose, with which key, and the signature."""

    name: str
    key_hash: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A log's size and root hash at one moment, and who signed it.

    Args:
        signed: exactly the bytes that signatures cover, with the final newline.
    """

    origin: str
    size: int
    root: bytes
    signed: bytes
    signatures: tuple[NoteSignature, ...]

    def is_signed_by(self, public_key: bytes) -> bool:
        """Whether the log's own signature, under this raw Ed25519 key and the origin's name, is there and holds."""
        wanted = note_key_hash(self.origin, public_key)
        return any(
            is_signed(self.signed, line.signature, public_key)
            for line in self.signatures
            if line.name == self.origin and line.key_hash == wanted
        )


def note_key_hash(name: str, public_key: bytes) -> bytes:
    """The four bytes that a signature line names its key by."""
    return hashlib.sha256(name.encode("utf-8") + b"\n" + _ED25519 + public_key).digest()[:4]


def read_checkpoint(note: bytes) -> Checkpoint:
    """The checkpoint that a note says. Its signatures are not checked here.

    Raises:
        BadCheckpoint: not a signed note, or its text is not a checkpoint.
    """
    if len(note) > _LONGEST:
        raise BadCheckpoint("too long")
    try:
        text = note.decode("utf-8")
    except UnicodeDecodeError:
        raise BadCheckpoint("not UTF-8") from None
    body, separator, tail = text.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise BadCheckpoint("not a signed note: no blank line before the signatures, or no final newline")
    if any(ord(character) < 0x20 and character != "\n" for character in text):
        raise BadCheckpoint("holds a control character")
    lines = body.split("\n")
    if len(lines) < 3 or not lines[0] or any(not line for line in lines):
        raise BadCheckpoint("states no origin, size and root")
    if not lines[1].isascii() or not lines[1].isdigit() or (lines[1] != "0" and lines[1].startswith("0")):
        raise BadCheckpoint("the tree size is not a decimal number")
    if len(lines[1]) > 20:
        raise BadCheckpoint("the tree size is too large")
    try:
        root = read_base64(lines[2])
    except NotCanonical as error:
        raise BadCheckpoint(f"root hash: {error}") from None
    if len(root) != 32:
        raise BadCheckpoint("the root hash is not 32 bytes")
    signature_lines = tail[:-1].split("\n")
    if len(signature_lines) > _MOST_SIGNATURES:
        raise BadCheckpoint("too many signatures")
    return Checkpoint(
        origin=lines[0],
        size=int(lines[1]),
        root=root,
        signed=(body + "\n").encode("utf-8"),
        signatures=tuple(_signature(line) for line in signature_lines),
    )


def _signature(line: str) -> NoteSignature:
    dash, space, rest = line.partition(" ")
    name, space_too, encoded = rest.partition(" ")
    if dash != "\u2014" or not space or not space_too or not name or "+" in name:
        raise BadCheckpoint("a signature line is malformed")
    try:
        raw = read_base64(encoded)
    except NotCanonical as error:
        raise BadCheckpoint(f"a signature: {error}") from None
    if len(raw) < 5:
        raise BadCheckpoint("a signature is too short")
    return NoteSignature(name=name, key_hash=raw[:4], signature=raw[4:])
