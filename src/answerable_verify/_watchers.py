"""Those who watched the log: cosignatures of witnesses and monitors on a checkpoint.

Source: C2SP tlog-cosignature, signed-note; `docs/formats/trust.md`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from answerable_verify._checkpoint import Checkpoint
from answerable_verify._json import NotCanonical, read_base64
from answerable_verify._keys import is_signed

__all__ = ["BadVerifierKey", "Cosigner", "cosigned", "read_cosigner"]

_COSIGNATURE = 0x04
_END_OF_TIME_S = 253_402_300_799  # the last that a calendar of four digits can say


class BadVerifierKey(ValueError):
    """Text that is no cosigner's verifier key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigner:
    """A witness or a monitor.

    Args:
        public_key: raw Ed25519 key, 32 bytes.
    """

    name: str
    public_key: bytes

    @property
    def key_hash(self) -> bytes:
        """What its signature lines name its key by."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([_COSIGNATURE]) + self.public_key).digest()[:4]


def read_cosigner(vkey: str) -> Cosigner:
    """The cosigner that a verifier key names.

    Raises:
        BadVerifierKey: it is none, or its hash is not its own.
    """
    name, plus, rest = vkey.partition("+")
    hash_, plus_too, encoded = rest.partition("+")
    try:
        raw = read_base64(encoded)
    except NotCanonical:
        raw = b""
    if not plus or not plus_too or not name or any(c.isspace() for c in name) or len(raw) != 33:
        raise BadVerifierKey("not `name+hash+key`")
    cosigner = Cosigner(name=name, public_key=raw[1:])
    if raw[0] != _COSIGNATURE:
        raise BadVerifierKey("not a key for cosignatures")
    if cosigner.key_hash.hex() != hash_:
        raise BadVerifierKey("its hash is not that of its name and key")
    return cosigner


def cosigned(checkpoint: Checkpoint, by: Sequence[Cosigner]) -> tuple[dict[Cosigner, int], list[Cosigner]]:
    """Who of these cosigned, and when, in seconds since 1970; and those whose signature is there and is false."""
    times: dict[Cosigner, int] = {}
    false: list[Cosigner] = []
    for cosigner in by:
        for line in checkpoint.signatures:
            if (line.name, line.key_hash) != (cosigner.name, cosigner.key_hash):
                continue
            at_s = int.from_bytes(line.signature[:8], "big")
            said, signature = f"cosignature/v1\ntime {at_s}\n".encode() + checkpoint.signed, line.signature[8:]
            if len(signature) == 64 and 0 < at_s < _END_OF_TIME_S and is_signed(said, signature, cosigner.public_key):
                times[cosigner] = at_s
            else:
                false.append(cosigner)
    return times, false
