"""What every signer of the record must hold: its signatures verify under its one key, whatever the message."""

import hashlib
from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from answerable.ledger import Signer

__all__ = ["check_signer"]

_MESSAGES = (b"", b"a", b"DSSEv1 28 application/vnd.in-toto+json 2 {}", b"\x00" * 70_000, "é 🙏".encode())


def check_signer(make: Callable[[], Signer]) -> None:
    """Run the suite over a signer; `make` gives the same key each time."""
    signer, again = make(), make()
    assert len(signer.public_key) == 32
    assert signer.key_id == hashlib.sha256(signer.public_key).hexdigest()
    assert again.public_key == signer.public_key
    public = Ed25519PublicKey.from_public_bytes(signer.public_key)
    for message in _MESSAGES:
        signature = signer.sign(message)
        assert len(signature) == 64
        public.verify(signature, message)
        assert signature == again.sign(message), "Ed25519 has one signature (RFC 8032 §5.1.6)"
        with pytest.raises(InvalidSignature):
            public.verify(signature, message + b".")
    # Many, one after the other, as a loaded gate asks for them.
    for number in range(50):
        message = str(number).encode() * 40
        public.verify(signer.sign(message), message)
