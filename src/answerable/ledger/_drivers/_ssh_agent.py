"""A key kept by an SSH agent: `ssh-agent`, gpg-agent, a hardware token's agent, a forwarded one.

Source: draft-ietf-sshm-ssh-agent, "Protocol messages"; RFC 8709 (Ed25519 keys and signatures in SSH).
"""

import base64
import hashlib
import os
import socket
import struct
import threading
import weakref
from collections.abc import Callable

__all__ = ["SshAgent", "keep", "list_ed25519"]

_REQUEST_IDENTITIES, _IDENTITIES, _SIGN_REQUEST, _SIGNED = 11, 12, 13, 14
_KIND = b"ssh-ed25519"
_PATIENCE_S = 5.0
_LARGEST_BYTES = 256 * 1024  # as OpenSSH's own client has it


def keep(public_key: bytes, options: dict[str, str]) -> "SshAgent":
    """The keeper for a key file's options: `socket`, where that of SSH_AUTH_SOCK is not meant."""
    place = options.pop("socket", "")
    if options:
        raise ValueError(f"it knows no `{next(iter(options))}`")
    return SshAgent(public_key, place)


class SshAgent:
    """Has an agent sign with one Ed25519 key. One connection is kept, and made anew where it broke."""

    def __init__(self, public_key: bytes, place: str = "") -> None:
        self._blob = _blob(public_key)
        self._place = place
        self._connection: socket.socket | None = None
        self._hang_up: Callable[[], object] | None = None
        self._turn = threading.Lock()

    def sign(self, message: bytes) -> bytes:
        """The signature over exactly these bytes, 64 bytes; an `OSError` or `ValueError` where there is none."""
        asked = bytes([_SIGN_REQUEST]) + _string(self._blob) + _string(message) + struct.pack(">I", 0)
        with self._turn:
            is_fresh = self._connection is None
            try:
                reply = self._ask(asked)
            except OSError:
                # An agent that was restarted since: a signature is the same however often it is made.
                if is_fresh:
                    raise
                reply = self._ask(asked)
        if reply[:1] != bytes([_SIGNED]):
            raise ValueError("the agent does not sign with this key: it is not in it, or locked")
        kind, signature = _strings(_strings(reply[1:], 1)[0], 2)
        if kind != _KIND or len(signature) != 64:
            raise ValueError("the agent answered with no Ed25519 signature")
        return signature

    def _ask(self, message: bytes) -> bytes:
        try:
            if self._connection is None:
                self._connection = _connected(self._place)
                # A signer is opened and dropped without ceremony: one that only names its key has nothing to close.
                self._hang_up = weakref.finalize(self, self._connection.close)
            return _exchange(self._connection, message)
        except OSError:
            if self._hang_up is not None:
                self._hang_up()
            self._connection = None
            raise


def list_ed25519(place: str = "") -> list[tuple[bytes, frozenset[str]]]:
    """The raw Ed25519 public keys that an agent has, each with what it goes by: comment, fingerprint, SHA-256."""
    with _connected(place) as connection:
        reply = _exchange(connection, bytes([_REQUEST_IDENTITIES]))
    if reply[:1] != bytes([_IDENTITIES]):
        raise ValueError("the agent does not list its keys")
    (count,) = struct.unpack_from(">I", reply, 1)
    parts = _strings(reply[5:], 2 * count)
    found = []
    for blob, comment in zip(parts[::2], parts[1::2], strict=True):
        if blob.startswith(_string(_KIND)):
            public_key = _strings(blob, 2)[1]
            fingerprint = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
            names = (
                comment.decode("utf-8", "replace"),
                f"SHA256:{fingerprint}",
                hashlib.sha256(public_key).hexdigest(),
            )
            found.append((public_key, frozenset(names)))
    return found


def _connected(place: str) -> socket.socket:
    place = place or os.environ.get("SSH_AUTH_SOCK", "")
    if not place:
        raise OSError("no agent is named: set SSH_AUTH_SOCK, or `socket` in the key file")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_PATIENCE_S)
    try:
        connection.connect(place)
    except OSError as error:
        connection.close()
        raise OSError(f"no agent answers at {place} ({error.strerror or error})") from None
    return connection


def _exchange(connection: socket.socket, message: bytes) -> bytes:
    connection.sendall(_string(message))
    (length,) = struct.unpack(">I", _read(connection, 4))
    if not 1 <= length <= _LARGEST_BYTES:
        raise OSError("the agent's answer is not of its protocol")
    return _read(connection, length)


def _read(connection: socket.socket, size: int) -> bytes:
    said = bytearray()
    while len(said) < size:
        try:
            part = connection.recv(size - len(said))
        except TimeoutError:
            raise OSError(f"the agent said nothing for {_PATIENCE_S:.0f} s") from None
        if not part:
            raise OSError("the agent went away")
        said += part
    return bytes(said)


def _blob(public_key: bytes) -> bytes:
    return _string(_KIND) + _string(public_key)


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _strings(raw: bytes, count: int) -> list[bytes]:
    """The first `count` length-prefixed strings (RFC 4251 §5)."""
    found, at = [], 0
    for _ in range(count):
        if at + 4 > len(raw):
            raise ValueError("the agent's answer breaks off")
        (length,) = struct.unpack_from(">I", raw, at)
        at += 4
        if at + length > len(raw):
            raise ValueError("the agent's answer breaks off")
        found.append(raw[at : at + length])
        at += length
    return found
