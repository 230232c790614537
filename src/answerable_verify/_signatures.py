"""Many signatures at once, on all cores: what verifying a large bundle mostly is.

The receipts of a large bundle are checked in chunks, by helper processes and by the caller, whoever is free. A
helper that does not answer costs time and nothing else: its chunk is checked again here.
"""

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import IO

from answerable_verify._keys import is_signed

__all__ = ["Signatures", "serve"]

Item = tuple[bytes, bytes, bytes]
"""Public key, signature, message."""

_CHUNK = 128
_WORTH_HELP = 2_000
"""MEASURED: from about this many signatures on, helpers save more than the 0.1 s they take to start."""
_MOST_HELPERS = 16
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from answerable_verify._signatures import serve; serve()"
)


class Signatures:
    """Signatures that are put in one by one, and all checked when they are taken.

    Args:
        expected: how many there will be.
        helpers: processes to start; by default as many as there are other cores, if that is worth while.
    """

    def __init__(self, expected: int, *, helpers: int | None = None) -> None:
        self._items: list[Item] = []
        self._open: deque[int] = deque()  # chunks that nobody has taken up, by number
        self._found: dict[int, Sequence[bool]] = {}
        self._is_complete = False
        if helpers is None:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            helpers = min(cores - 1, _MOST_HELPERS) if expected >= _WORTH_HELP else 0
        self._helpers = [helper for _ in range(helpers) if (helper := _start())]
        self._threads: list[Thread] = []

    def put(self, key: bytes, signature: bytes, message: bytes) -> None:
        """Add a signature; helpers may begin with it."""
        self._items.append((key, signature, message))
        if len(self._items) % _CHUNK == 0:
            self._open.append(len(self._items) // _CHUNK - 1)
            if len(self._threads) < len(self._helpers):
                self._threads.append(
                    Thread(target=self._hand_out, args=[self._helpers[len(self._threads)]], daemon=True)
                )
                self._threads[-1].start()

    def take(self) -> list[bool]:
        """Whether each holds, in the order in which they were put."""
        if len(self._items) % _CHUNK:
            self._open.append(len(self._items) // _CHUNK)
        self._is_complete = True
        while self._open:
            try:
                number = self._open.popleft()
            except IndexError:  # a helper was faster
                break
            self._found[number] = [is_signed(message, sig, key) for key, sig, message in self._chunk(number)]
        for thread in self._threads:
            thread.join()
        for helper in self._helpers:
            _stop(helper)
        chunks = range(-(-len(self._items) // _CHUNK))
        for number in chunks:
            if number not in self._found:  # taken up by a helper that failed
                self._found[number] = [is_signed(message, sig, key) for key, sig, message in self._chunk(number)]
        return [holds for number in chunks for holds in self._found[number]]

    def _chunk(self, number: int) -> list[Item]:
        return self._items[number * _CHUNK : (number + 1) * _CHUNK]

    def _hand_out(self, helper: "subprocess.Popen[bytes]") -> None:
        """Have one helper check chunk after chunk, for as long as there are any."""
        assert helper.stdin is not None
        assert helper.stdout is not None
        while True:
            try:
                number = self._open.popleft()
            except IndexError:
                if self._is_complete:
                    return
                time.sleep(0.001)  # the caller is still reading receipts
                continue
            items = self._chunk(number)
            try:
                helper.stdin.write(_framed(items))
                helper.stdin.flush()
                answer = helper.stdout.read(len(items))
            except (OSError, ValueError):
                return
            if len(answer) != len(items) or answer.strip(b"\x00\x01"):
                return
            self._found[number] = [byte == 1 for byte in answer]


def serve() -> None:
    """What a helper does: read chunks from standard input, answer with a byte a signature."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(4):
        items = [_read_item(source) for _ in range(int.from_bytes(head, "big"))]
        sink.write(bytes(is_signed(message, signature, key) for key, signature, message in items))
        sink.flush()


def _framed(items: Sequence[Item]) -> bytes:
    parts = [len(items).to_bytes(4, "big")]
    for item in items:
        for part in item:
            parts += [len(part).to_bytes(4, "big"), part]
    return b"".join(parts)


def _read_item(source: IO[bytes]) -> Item:
    key, signature, message = (source.read(int.from_bytes(source.read(4), "big")) for _ in range(3))
    return key, signature, message


def _start() -> "subprocess.Popen[bytes] | None":
    path = [str(Path(__file__).parents[1]), *sys.path]
    words = [sys.executable, "-I", "-c", _PROGRAM, json.dumps(path)]
    try:
        # SECURITY: ourselves again, with our own search path and nothing from the environment or the working directory.
        return subprocess.Popen(  # noqa: S603
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError:
        return None


def _stop(helper: "subprocess.Popen[bytes]") -> None:
    assert helper.stdin is not None
    assert helper.stdout is not None
    helper.kill()
    helper.wait()
    for pipe in (helper.stdin, helper.stdout):
        try:
            pipe.close()
        except OSError:
            continue  # what was not read any more
