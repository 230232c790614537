"""Signs what comes in on standard input: run as a script, it imports nothing of ours.

First the Ed25519 secret key (64 bytes) comes in; one byte goes out when it is ready. Then messages come in,
some at a time: how many, the length of each (4 bytes each, big-endian), and they themselves. Their signatures
(64 bytes each) go out, in order. Ends when its input does, so it never outlives the gate.
"""

import os
import struct

from nacl.bindings import crypto_sign

_CHUNK_BYTES = 1 << 16


def serve() -> None:
    """Sign until the input ends."""
    with open(0, "rb", buffering=_CHUNK_BYTES) as incoming:
        secret = incoming.read(64)
        os.write(1, b"\0")
        while len(head := incoming.read(4)) == 4:
            (count,) = struct.unpack(">I", head)
            sizes = struct.unpack(f">{count}I", incoming.read(4 * count))
            signatures = b"".join([crypto_sign(incoming.read(size), secret)[:64] for size in sizes])
            while signatures:
                signatures = signatures[os.write(1, signatures) :]


if __name__ == "__main__":
    serve()
