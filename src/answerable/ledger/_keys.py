"""Key files: Ed25519 keys in PKCS #8 PEM that `openssl` reads too, 0600, made on first use."""

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from nacl.bindings import crypto_sign

from answerable.core import ConfigError
from answerable.ledger._drivers._signer import SigningProcess

__all__ = ["FileSigner", "KeyFileUnsafe", "read_or_make_secret"]


@dataclass(eq=False, kw_only=True)
class KeyFileUnsafe(ConfigError):
    """A private key that others on the machine can read, or that is no key at all."""

    code = "config.key_file_unsafe"
    what = "the key file `{path}` cannot be used: {reason}"
    why = "whoever can read a signing key can write evidence"
    fix = "restore the file from a backup with mode 0600; replace the key if others could read it"

    path: str
    reason: str


class FileSigner:
    """An Ed25519 key in a file. Signs with libsodium.

    MEASURED: libsodium signs a receipt in 25 µs, OpenSSL through `cryptography` in 35 µs.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        seed = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        self.public_key = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = hashlib.sha256(self.public_key).hexdigest()
        self._secret = seed + self.public_key

    @classmethod
    def open(cls, path: Path) -> "FileSigner":
        """The key in `path`, made there if there is none.

        Raises:
            KeyFileUnsafe: others may read the file, or it holds no Ed25519 key.
        """
        pem = read_or_make_secret(path, _new_key)
        try:
            private = load_pem_private_key(pem, None)
        except ValueError:
            raise KeyFileUnsafe(path=str(path), reason="it holds no PEM private key") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyFileUnsafe(path=str(path), reason="its key is not Ed25519")
        return cls(private)

    def start_helper(self) -> SigningProcess:
        """A process that signs with the same key, on another core."""
        return SigningProcess(self._secret)

    def sign(self, message: bytes) -> bytes:
        """The signature over exactly these bytes, 64 bytes."""
        return crypto_sign(message, self._secret)[:64]


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_or_make_secret(path: Path, make: Callable[[], bytes]) -> bytes:
    """The bytes in a 0600 file; the first use makes them, durably, and never writes over a file.

    Raises:
        KeyFileUnsafe: others than the owner may read the file.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)  # fails where another process was first: then its key is the key
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise KeyFileUnsafe(path=str(path), reason=f"its mode is {mode:04o}, so others may read it")
    return path.read_bytes()
