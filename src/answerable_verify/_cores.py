"""Receipts read on all cores: what verifying a large bundle mostly is.

The receipts of a file are read in chunks, by helper processes and by the caller, whoever is free. A helper that does
not answer costs time and nothing else: its chunk is read again here.
"""

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from threading import Thread

from answerable_verify._container import Container
from answerable_verify._reading import Read, of_row, read_envelopes, receive, send

__all__ = ["read_all"]

_CHUNK = 64
_WORTH_HELP = 2_000
"""MEASURED: from about this many receipts on, helpers save more than the 0.1 s they take to start."""
_MOST_HELPERS = 16
# MEASURED: without the package's own imports a helper is ready in a third of the time.
_PROGRAM = """
import json, sys, types
folder, *sys.path[:] = json.loads(sys.argv[1])
package = sys.modules["answerable_verify"] = types.ModuleType("answerable_verify")
package.__path__ = [folder]
from answerable_verify._reading import serve
serve()
"""


def read_all(
    members: Mapping[str, bytes], names: Sequence[str], keys: Mapping[str, bytes], *, helpers: int | None = None
) -> Iterator[list[Read]]:
    """What became of these members, in their order, some at a time.

    Args:
        helpers: processes to start where the members are a file's; by default as many as there are other cores,
            if that is worth while.

    Raises:
        BadContainer: a member is damaged.
    """
    if helpers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        helpers = min(cores - 1, _MOST_HELPERS) if len(names) >= _WORTH_HELP else 0
    if not helpers or not isinstance(members, Container) or sys.platform == "win32":
        for start in range(0, len(names), _CHUNK):
            some = names[start : start + _CHUNK]
            alike = members.read(some) if isinstance(members, Container) else ((name, members[name]) for name in some)
            yield read_envelopes(alike, keys)
        return
    with closing(_Shared(members, names, keys, helpers)) as shared:
        yield from shared.take()


class _Shared:
    """The chunks of one file, among helpers and the caller."""

    def __init__(self, members: Container, names: Sequence[str], keys: Mapping[str, bytes], helpers: int) -> None:
        self._members = members
        self._names = names
        self._keys = keys
        self._count = -(-len(names) // _CHUNK)
        self._open = deque(range(self._count))  # those that nobody has taken up
        self._found: dict[int, list[Read]] = {}
        self._helpers = [helper for _ in range(helpers) if (helper := _start(members.descriptor))]
        self._threads = [Thread(target=self._hand_out, args=[helper], daemon=True) for helper in self._helpers]
        for thread in self._threads:
            thread.start()

    def take(self) -> Iterator[list[Read]]:
        """What became of every member, in order."""
        for number in range(self._count):
            while number not in self._found:
                # When none is left it is with a helper, which may never answer.
                mine = self._next(number)
                self._found[mine] = read_envelopes(self._members.read(self._chunk(mine)), self._keys)
            yield self._found.pop(number)

    def close(self) -> None:
        """End the helpers, whatever they are doing."""
        self._open.clear()
        for helper in self._helpers:
            helper.kill()
            helper.wait()
        for thread in self._threads:
            thread.join()
        for helper in self._helpers:
            for pipe in (helper.stdin, helper.stdout):
                try:
                    pipe.close()  # type: ignore[union-attr]
                except OSError:
                    continue  # what was not read any more

    def _chunk(self, number: int) -> Sequence[str]:
        return self._names[number * _CHUNK : (number + 1) * _CHUNK]

    def _next(self, otherwise: int) -> int:
        """A chunk that nobody has taken up."""
        try:
            return self._open.popleft()
        except IndexError:
            return otherwise

    def _hand_out(self, helper: "subprocess.Popen[bytes]") -> None:
        """Have one helper read chunk after chunk, for as long as there are any and it answers."""
        assert helper.stdin is not None
        assert helper.stdout is not None
        try:
            send(helper.stdin, (self._members.descriptor, dict(self._keys)))
            while (number := self._next(-1)) >= 0:
                names = self._chunk(number)
                send(helper.stdin, [tuple(entry) for entry in self._members.entries(names)])
                self._found[number] = [of_row(row) for row in receive(helper.stdout, len(names))]
        except (OSError, ValueError, EOFError, TypeError):
            return  # its chunk is read again


def _start(file: int) -> "subprocess.Popen[bytes] | None":
    path = [str(Path(__file__).parent), *sys.path]
    words = [sys.executable, "-I", "-c", _PROGRAM, json.dumps(path)]
    try:
        # SECURITY: ourselves again, with our own search path and nothing from the environment or the working directory.
        return subprocess.Popen(  # noqa: S603
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=(file,)
        )
    except OSError:
        return None
