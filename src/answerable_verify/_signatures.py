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
# MEASURED: without the package's own imports a helper is ready in a third of the time.
_PROGRAM = """
import json, sys, types
folder, *sys.path[:] = json.loads(sys.argv[1])
package = sys.modules["answerable_verify"] = types.ModuleType("answerable_verify")
package.__path__ = [folder]
from answerable_verify._signatures import serve
serve()
"""


class Signatures:
    """Signatures that are put in one by one, and all checked when they are taken.

    Args:
        expected: how many there will be.
        helpers: processes to start; by default as many as there are other cores, if that is worth while.
    """

    def __init__(self, expected: int, *, helpers: int | None = None) -> None:
        self._last: list[Item] = []  # the chunk that is not full yet
        self._chunks: dict[int, list[Item]] = {}  # those that were not checked yet
        self._open: deque[int] = deque()  # those that nobody has taken up, by number
        self._found: dict[int, bytes] = {}
        self._count = 0
        self._is_complete = False
        if helpers is None:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            helpers = min(cores - 1, _MOST_HELPERS) if expected >= _WORTH_HELP else 0
        self._helpers = [helper for _ in range(helpers) if (helper := _start())]
        self._threads: list[Thread] = []

    def put(self, key: bytes, signature: bytes, message: bytes) -> None:
        """Add a signature; helpers may begin with it. Where they do not keep up, the caller checks some here."""
        self._last.append((key, signature, message))
        if len(self._last) == _CHUNK:
            self._close_chunk()
            if len(self._threads) < len(self._helpers):
                self._threads.append(
                    Thread(target=self._hand_out, args=[self._helpers[len(self._threads)]], daemon=True)
                )
                self._threads[-1].start()
            # So that no more wait in memory than helpers take up next, however many there are.
            while len(self._open) > 2 * len(self._helpers):
                self._check_one()

    def take(self) -> list[bool]:
        """Whether each holds, in the order in which they were put."""
        if self._last:
            self._close_chunk()
        self._is_complete = True
        while self._open:
            self._check_one()
        for thread in self._threads:
            thread.join()
        for helper in self._helpers:
            _stop(helper)
        for number in sorted(self._chunks):  # taken up by a helper that failed
            self._check(number)
        return [holds == 1 for number in range(self._count) for holds in self._found[number]]

    def _close_chunk(self) -> None:
        self._chunks[self._count] = self._last
        self._open.append(self._count)
        self._last = []
        self._count += 1

    def _check_one(self) -> None:
        try:
            number = self._open.popleft()
        except IndexError:  # a helper was faster
            return
        self._check(number)

    def _check(self, number: int) -> None:
        self._found[number] = _checked(self._chunks[number])
        del self._chunks[number]

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
            items = self._chunks[number]
            try:
                helper.stdin.write(_framed(items))
                helper.stdin.flush()
                answer = helper.stdout.read(len(items))
            except (OSError, ValueError):
                return
            if len(answer) != len(items) or answer.strip(b"\x00\x01"):
                return
            self._found[number] = answer
            del self._chunks[number]


def _checked(items: Sequence[Item]) -> bytes:
    """A byte a signature: 1 where it holds."""
    return bytes(is_signed(message, signature, key) for key, signature, message in items)


def serve() -> None:
    """What a helper does: read chunks from standard input, answer with a byte a signature."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(4):
        items = [_read_item(source) for _ in range(int.from_bytes(head, "big"))]
        sink.write(_checked(items))
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
    path = [str(Path(__file__).parent), *sys.path]
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
