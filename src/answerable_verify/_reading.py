"""Receipts read one by one, on all cores: what verifying a large bundle mostly is.

The receipts of a large bundle are read in chunks, by helper processes and by the caller, whoever is free: unpacked,
hashed, parsed, and their signatures checked. What comes back is as much as later checks ask for. A helper that does
not answer costs time and nothing else: its chunk is read again here.
"""

import hashlib
import json
import marshal
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from operator import attrgetter
from pathlib import Path
from threading import Condition, Thread
from typing import IO, Any, NamedTuple

from answerable_verify._container import Container, Entry, read_entry
from answerable_verify._keys import is_signed
from answerable_verify._receipt import BadReceipt, Receipt, Signed, pae, read_envelope, read_statement

__all__ = ["Read", "read_all", "read_envelopes", "serve"]

_CHUNK = 128
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
_FIELDS = attrgetter(*Receipt.__slots__)
_Row = tuple[bytes, tuple[Any, ...] | None, bool | None, tuple[str, str, str] | None]
"""A `Read` as it goes from process to process."""


class Read(NamedTuple):
    """What became of one member.

    Args:
        digest: SHA-256 of the member.
        receipt: None where it cannot be read.
        holds: whether its signature holds; None where the key that it names is not there.
        fault: why it cannot be read: the check that says so, what is wrong, and the id that it claims.
    """

    digest: bytes
    receipt: Receipt | None = None
    holds: bool | None = None
    fault: tuple[str, str, str] | None = None


def read_envelopes(envelopes: Iterable[tuple[str, bytes]], keys: Mapping[str, bytes]) -> list[Read]:
    """These receipts, by member, and whether one of these keys (raw, by id) signed each.

    MEASURED: the signatures of some hundred after one another take a seventh less than each between its receipt and
    the next one.
    """
    reads: list[Read] = []
    signed: list[Signed | None] = []
    for member, envelope in envelopes:
        digest = hashlib.sha256(envelope).digest()
        try:
            said = read_envelope(envelope)
            reads.append(Read(digest, read_statement(said, digest, member)))
            signed.append(said)
        except BadReceipt as error:
            reads.append(Read(digest, fault=(error.check, str(error), error.receipt)))
            signed.append(None)
    for number, each in enumerate(signed):
        if each and (public := keys.get(each.key_id)):
            reads[number] = reads[number]._replace(holds=is_signed(pae(each.body), each.signature, public))
    return reads


def read_all(
    members: Mapping[str, bytes], names: Sequence[str], keys: Mapping[str, bytes], *, helpers: int | None = None
) -> Iterator[Read]:
    """What became of these members, in their order.

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
            yield from read_envelopes(((name, members[name]) for name in names[start : start + _CHUNK]), keys)
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
        self._changed = Condition()
        self._helpers = [helper for _ in range(helpers) if (helper := _start(members.descriptor))]
        self._threads = [Thread(target=self._hand_out, args=[helper], daemon=True) for helper in self._helpers]
        for thread in self._threads:
            thread.start()

    def take(self) -> Iterator[Read]:
        """What became of every member, in order."""
        for number in range(self._count):
            while number not in self._found:
                if (mine := self._next()) is not None:
                    mine_is = ((name, self._members[name]) for name in self._chunk(mine))
                    self._found[mine] = read_envelopes(mine_is, self._keys)
                    continue
                with self._changed:
                    self._changed.wait_for(lambda: number in self._found or self._open)  # noqa: B023 - waited for here
            yield from self._found.pop(number)

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

    def _next(self) -> int | None:
        try:
            return self._open.popleft()
        except IndexError:
            return None

    def _hand_out(self, helper: "subprocess.Popen[bytes]") -> None:
        """Have one helper read chunk after chunk, for as long as there are any."""
        assert helper.stdin is not None
        assert helper.stdout is not None
        number = None
        try:
            _send(helper.stdin, (self._members.descriptor, dict(self._keys)))
            while (number := self._next()) is not None:
                names = self._chunk(number)
                _send(helper.stdin, [tuple(self._members.entry(name)) for name in names])
                found = [_read(row) for row in _receive(helper.stdout)]
                if len(found) != len(names):
                    break
                with self._changed:
                    self._found[number] = found
                    self._changed.notify()
                number = None
        except (OSError, ValueError, EOFError, TypeError):
            pass  # whatever became of it, its chunk is read again
        if number is not None:
            with self._changed:
                self._open.appendleft(number)
                self._changed.notify()


def serve() -> None:
    """What a helper does: take chunks from standard input, answer on standard output what became of each member."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    file, keys = _receive(source)
    while True:
        try:
            entries = [Entry(*said) for said in _receive(source)]
        except EOFError:
            return
        envelopes = ((entry.name, read_entry(file, entry)) for entry in entries)
        _send(sink, [_row(read) for read in read_envelopes(envelopes, keys)])


def _row(read: Read) -> _Row:
    return read.digest, _FIELDS(read.receipt) if read.receipt else None, read.holds, read.fault


def _read(row: _Row) -> Read:
    digest, fields, holds, fault = row
    return Read(digest, Receipt(*fields) if fields else None, holds, fault)


def _send(sink: IO[bytes], said: Any) -> None:
    body = marshal.dumps(said)
    sink.write(len(body).to_bytes(8, "big") + body)
    sink.flush()


def _receive(source: IO[bytes]) -> Any:
    """What the other side sent. SECURITY: it is this program again, started by itself, and nobody else's pipe."""
    head = source.read(8)
    body = source.read(int.from_bytes(head, "big"))
    if len(head) < 8 or len(body) < int.from_bytes(head, "big"):
        raise EOFError
    return marshal.loads(body)  # noqa: S302


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
