"""A second process that signs, so that a second core does it.

MEASURED: signing is an eighth of what a step costs. A thread would not help: each signature lets go
of the interpreter lock and has to win it back.
"""

import os
import select
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["SigningProcess"]

_SCRIPT = Path(__file__).with_name("_signing_process.py")


class SigningProcess:
    """Signs messages with one Ed25519 key, in order. Whatever goes wrong is an `OSError`.

    Args:
        secret: seed and public key, 64 bytes; reaches the process through a pipe, never by its arguments.
    """

    def __init__(self, secret: bytes) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt from the terminal is for the gate, which then ends it
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in = self._process.stdin.fileno()
        self._out = self._process.stdout.fileno()
        self._is_ready = False
        os.write(self._in, secret)

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_ready(self) -> bool:
        """Whether it has started; never waits."""
        if not self._is_ready and select.select([self._out], [], [], 0)[0]:
            self._is_ready = self._read(1) == b"\0"
        return self._is_ready

    def send(self, messages: Sequence[bytes]) -> None:
        """Have it sign these messages."""
        # One write for all: each may wake the process, which costs as much as half a signature.
        sizes = struct.pack(f">{len(messages) + 1}I", len(messages), *map(len, messages))
        framed = memoryview(b"".join((sizes, *messages)))
        while framed:
            framed = framed[os.write(self._in, framed) :]

    def receive(self, count: int) -> list[bytes]:
        """The signatures of the next `count` messages, 64 bytes each; waits for them."""
        said = self._read(64 * count)
        return [said[at : at + 64] for at in range(0, len(said), 64)]

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()

    def _read(self, size: int) -> bytes:
        said = bytearray()
        while len(said) < size:
            part = os.read(self._out, size - len(said))
            if not part:
                raise BrokenPipeError("the signing process has ended")
            said += part
        return bytes(said)
