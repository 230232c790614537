"""Signed notes: text, and lines that sign it, each under a key's name and hash.

Source: C2SP signed-note; C2SP tlog-cosignature, "Ed25519 signed message".
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from answerable.core import ConfigError, EvidenceError
from answerable.ledger import Head, Signer

__all__ = [
    "Note",
    "NoteLine",
    "NoteMalformed",
    "VerifierKey",
    "VerifierKeyMalformed",
    "cosign",
    "cosigned_at",
    "parse_head",
    "parse_note",
    "parse_vkey",
    "vkey_of",
]

LOG, COSIGNER = 0x01, 0x04
_MOST_BYTES = 64 * 1024
_MOST_LINES = 100
_NAME = re.compile(r"[^\s+]{1,512}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(eq=False, kw_only=True)
class NoteMalformed(EvidenceError):
    """Text that is no signed note, or no checkpoint."""

    code = "evidence.note_malformed"
    what = "this is not a checkpoint: {problem}"
    why = "a checkpoint is a signed note in the form that C2SP signed-note and tlog-checkpoint give"
    fix = "ask whoever sent it; nothing was signed or kept"

    problem: str


@dataclass(eq=False, kw_only=True)
class VerifierKeyMalformed(ConfigError):
    """Text that is no verifier key of the kind that is wanted."""

    code = "config.verifier_key_malformed"
    what = "`{text}` is no verifier key of a {role}: {problem}"
    why = "a verifier key is `name+hash+key`, as C2SP signed-note writes it"
    fix = "copy it anew: `answerable log show` prints a log's, `answerable witness show` a witness's"

    text: str
    role: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A public key and the name that its signatures stand under.

    Args:
        kind: 1 for a log's signature on a checkpoint, 4 for a cosignature.
        public: raw Ed25519 key, 32 bytes.
    """

    name: str
    kind: int
    public: bytes

    @property
    def key_hash(self) -> bytes:
        """What signature lines name the key by, 4 bytes."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def __str__(self) -> str:
        body = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_hash.hex()}+{body}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteLine:
    """One signature line."""

    name: str
    key_hash: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"\N{EM DASH} {self.name} {base64.b64encode(self.key_hash + self.signature).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A note and its signatures, none of them checked.

    Args:
        text: what is signed, with its final newline.
    """

    text: str
    lines: tuple[NoteLine, ...]

    def by(self, key: VerifierKey) -> tuple[NoteLine, ...]:
        """The lines under this key's name and hash."""
        return tuple(line for line in self.lines if (line.name, line.key_hash) == (key.name, key.key_hash))

    def is_signed_by(self, key: VerifierKey) -> bool:
        """Whether the log's signature is there and holds; one that is there and does not hold counts against it."""
        lines = self.by(key)
        return bool(lines) and all(_holds(key, line.signature, self.text.encode()) for line in lines)

    def joined(self, lines: Iterable[NoteLine]) -> "Note":
        """The note with further lines; the newest of each key stays."""
        kept = {(line.name, line.key_hash): line for line in (*self.lines, *lines)}
        return Note(text=self.text, lines=tuple(kept.values()))

    def __str__(self) -> str:
        return self.text + "\n" + "".join(f"{line}\n" for line in self.lines)


def parse_note(raw: bytes) -> Note:
    """The note in some bytes.

    Raises:
        NoteMalformed: they are none.
    """
    try:
        said = raw.decode("utf-8") if len(raw) <= _MOST_BYTES else ""
    except UnicodeDecodeError:
        said = ""
    body, gap, tail = said.rpartition("\n\n")
    if not gap or not tail.endswith("\n"):
        raise NoteMalformed(problem="it is too long, not UTF-8, or has no signatures behind an empty line")
    if any(ord(character) < 0x20 and character != "\n" for character in said):
        raise NoteMalformed(problem="it holds a control character")
    return Note(text=body + "\n", lines=parse_lines(tail))


def parse_lines(tail: str) -> tuple[NoteLine, ...]:
    """Signature lines, as they stand at the end of a note or in a witness's answer."""
    lines = tail[:-1].split("\n") if tail.endswith("\n") else []
    if not 0 < len(lines) <= _MOST_LINES:
        raise NoteMalformed(problem="it has no signature lines, or too many")
    return tuple(_line(line) for line in lines)


def parse_head(note: Note) -> Head:
    """What a note states as a checkpoint.

    Raises:
        NoteMalformed: its text is no checkpoint.
    """
    lines = note.text[:-1].split("\n")
    if len(lines) < 3 or not all(lines) or not _SIZE.fullmatch(lines[1]):
        raise NoteMalformed(problem="it states no origin, size and root hash")
    root = _decoded(lines[2])
    if root is None or len(root) != 32:
        raise NoteMalformed(problem="the root hash is not 32 bytes in base64")
    return Head(origin=lines[0], size=int(lines[1]), root=root)


def parse_vkey(text: str, *, role: Literal["log", "witness"]) -> VerifierKey:
    """A verifier key of a log or a witness.

    Raises:
        VerifierKeyMalformed: it is none, its hash is not its own, or it is of the other kind.
    """

    def bad(problem: str) -> VerifierKeyMalformed:
        return VerifierKeyMalformed(text=text[:200], role=role, problem=problem)

    name, hash_, encoded = (*text.split("+", 2), "", "")[:3]
    raw = _decoded(encoded)
    if not _NAME.fullmatch(name) or raw is None or len(raw) != 33:
        raise bad("it has not a name, a hash and an Ed25519 key between two `+`")
    key = VerifierKey(name=name, kind=raw[0], public=raw[1:])
    if key.key_hash.hex() != hash_:
        raise bad("its hash is not that of its name and key")
    if key.kind != (LOG if role == "log" else COSIGNER):
        raise bad("its key signs something else")
    return key


def vkey_of(signer: Signer, name: str, *, role: Literal["log", "witness"]) -> VerifierKey:
    """The verifier key of a signer of ours."""
    return VerifierKey(name=name, kind=LOG if role == "log" else COSIGNER, public=signer.public_key)


def cosign(signer: Signer, name: str, text: str, at_s: int) -> NoteLine:
    """A cosignature/v1: that at this time the cosigner knew of no larger, and no other, tree of this log.

    Args:
        at_s: seconds since 1970.
    """
    key = vkey_of(signer, name, role="witness")
    return NoteLine(
        name=name, key_hash=key.key_hash, signature=at_s.to_bytes(8, "big") + signer.sign(_said(text, at_s))
    )


def cosigned_at(key: VerifierKey, text: str, line: NoteLine) -> int | None:
    """When the cosigner signed, in seconds since 1970; None where the line is not its cosignature, or does not hold."""
    if (line.name, line.key_hash) != (key.name, key.key_hash) or len(line.signature) != 72:
        return None
    at_s = int.from_bytes(line.signature[:8], "big")
    return at_s if 0 < at_s < 1 << 63 and _holds(key, line.signature[8:], _said(text, at_s)) else None


def _said(text: str, at_s: int) -> bytes:
    return f"cosignature/v1\ntime {at_s}\n{text}".encode()


def _holds(key: VerifierKey, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _line(line: str) -> NoteLine:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    raw = _decoded(encoded)
    if dash != "\N{EM DASH}" or not _NAME.fullmatch(name) or raw is None or len(raw) < 5:
        raise NoteMalformed(problem="a signature line is malformed")
    return NoteLine(name=name, key_hash=raw[:4], signature=raw[4:])


def _decoded(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    return raw if base64.b64encode(raw).decode() == text else None
