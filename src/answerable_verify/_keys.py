"""Ed25519 keys (RFC 8032): how they are named, read and used."""

import hashlib
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["BadKey", "is_signed", "key_id", "read_pem"]


class BadKey(ValueError):
    """Text that is not an Ed25519 public key in PEM."""


def key_id(public_key: bytes) -> str:
    """SHA-256 of the raw public key, 64 hexadecimal digits."""
    return hashlib.sha256(public_key).hexdigest()


def is_signed(message: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether the signature over exactly these bytes holds under this raw key."""
    try:
        _key(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=256)
def _key(public_key: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public_key)


def read_pem(text: str) -> bytes:
    """The raw public key, 32 bytes.

    Raises:
        BadKey: not PEM, or another kind of key.
    """
    # Here, because it is half of what a helper process would import, and helpers read no PEM.
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

    try:
        key = load_pem_public_key(text.encode("utf-8"))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadKey("not a public key in PEM") from None
    if not isinstance(key, Ed25519PublicKey):
        raise BadKey("not an Ed25519 key")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
