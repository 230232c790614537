"""Signs what comes in on standard input: run as a script, it imports nothing of ours.

First the Ed25519 secret key (64 bytes) comes in; one byte goes out when it is ready. Then for each
message its length (4 bytes, big-endian) and itself come in, and its signature (64 bytes) goes out,
in order. Ends when its input does, so it never outlives the gate.
"""

import os
import sys

from nacl.bindings import crypto_sign

_CHUNK_BYTES = 1 << 16


def serve() -> None:
    """Sign until the input ends."""
    pending = bytearray()
    while len(pending) < 64:
        pending += _more()
    secret = bytes(pending[:64])
    del pending[:64]
    os.write(1, b"\0")
    while True:
        at, signatures = 0, bytearray()
        while len(pending) - at >= 4:
            end = at + 4 + int.from_bytes(pending[at : at + 4])
            if len(pending) < end:
                break
            signatures += crypto_sign(bytes(pending[at + 4 : end]), secret)[:64]
            at = end
        del pending[:at]
        while signatures:
            del signatures[: os.write(1, signatures)]
        pending += _more()


def _more() -> bytes:
    read = os.read(0, _CHUNK_BYTES)
    if not read:
        sys.exit()
    return read


if __name__ == "__main__":
    serve()
