"""Receipts that were read, put aside until checks ask for them: once they are many, in a file without a name.

So that verifying takes no more memory for a large bundle than for a small one, beside a few bytes a receipt and the
receipts of the longest run.
"""

import marshal
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import attrgetter
from struct import Struct
from typing import IO, Any

from answerable_verify._container import read_at
from answerable_verify._reading import Read
from answerable_verify._receipt import Receipt

__all__ = ["NO_GATE", "Filed"]

_HELD = 256 * 1024  # bytes that are worth no file
_PIECE = 64 * 1024
_LINE = Struct("<32sIqQI")
NO_GATE = 0xFFFFFFFF  # of what could not be read
_SAID = attrgetter(*Receipt.__slots__[1:])  # all but the member, which is counted
_NOWHERE = (0, 0)
_WITHOUT_REFERENCES = 2  # the format of `marshal` that is quicker to write
_SHORT = 256  # receipts of a run that need not share what they say alike
_KEPT_APART = frozenset({"approval", "erasure"})


class _Spool:
    """Bytes put aside: the first in memory, then in a temporary file.

    SECURITY: the file has no name, and nobody but this user opens it; it ends with the process. Where there is no room
    for it, memory is used.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._held = bytearray()
        self._start = 0  # where what is held begins
        self._most = _HELD
        self._window = (0, b"")

    def pieces(self, width: int) -> Iterator[bytes]:
        """All of it, some rows of this width at a time."""
        step = _PIECE // width * width
        for at in range(0, self._start, step):
            yield self.read(at, min(step, self._start - at), ahead=True)
        yield bytes(self._held)

    def add(self, row: bytes) -> int:
        """Where the row is."""
        if len(self._held) >= self._most:
            self._spill()
        at = self._start + len(self._held)
        self._held += row
        return at

    def read(self, at: int, length: int, *, ahead: bool = False) -> bytes:
        """A row again; `ahead` where the ones behind it come next."""
        if at >= self._start:
            return bytes(self._held[at - self._start : at - self._start + length])
        assert self._file is not None
        if not ahead:
            return read_at(self._file.fileno(), length, at)
        start, window = self._window
        if not start <= at <= at + length <= start + len(window):
            start, window = at, read_at(self._file.fileno(), min(max(length, _PIECE), self._start - at), at)
            self._window = start, window
        return window[at - start : at - start + length]

    def close(self) -> None:
        """Let go of the file, and so of what is in it."""
        if self._file:
            self._file.close()

    def _spill(self) -> None:
        import tempfile  # which takes longer to import than all there is to do for a small bundle

        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with this object
            self._file.seek(self._start)
            left = memoryview(self._held)
            while left:
                left = left[self._file.write(left) :]
        except OSError:
            self._most = 1 << 62
            return
        self._start += len(self._held)
        self._held = bytearray()


class _Distinct:
    """Counts how many of many are distinct, at eight bytes each."""

    def __init__(self) -> None:
        self._hashes = [array("q") for _ in range(64)]

    def add(self, words: Iterable[str] | Iterable[bytes]) -> None:
        hashes = self._hashes
        # SECURITY: keyed anew in each process, so nobody can look for two words of one hash.
        for found in map(hash, words):
            hashes[found & 63].append(found)

    def count(self) -> int:
        """How many there are; two of one hash, of which there are none among millions, count as one."""
        return sum(len(set(hashes)) for hashes in self._hashes)

    def doubled(self) -> set[int]:
        """Hashes that came more than once."""
        return {
            found
            for hashes in self._hashes
            if len(set(hashes)) < len(hashes)
            for found, count in Counter(hashes).items()
            if count > 1
        }


class Filed:
    """The receipts of a bundle, by place in it and by run.

    Args:
        names: of the members that should be receipts, in order; each is added, in this order.
        texts: digests of the texts that the bundle has.
    """

    def __init__(self, names: Sequence[str], texts: Collection[bytes] = frozenset()) -> None:
        self.names = names
        self.tenants: set[str] = set()
        self.isolations: set[str] = set()
        self.first_at = self.last_at = ""  # the earliest and the latest time that a receipt states
        self.committed: set[bytes] = set()
        self._texts = texts
        self._count = self.met = 0
        self._rows, self._lines = _Spool(), _Spool()
        self._runs: dict[str, tuple[int, int]] = {}
        self._gates: dict[tuple[str, str], int] = {}
        self._gate, self._number = ("", "", ""), 0  # of the receipt before
        self._apart = {phase: array("L") for phase in _KEPT_APART}
        self._ids, self._commitments = _Distinct(), _Distinct()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Receipt]:
        """All of them, in order."""
        for *_, place, length in self.lines():
            if length:
                yield self._receipt(place, length, ahead=True)[0]

    def add(self, reads: Sequence[Read]) -> None:
        """Put receipts aside, and what is known of members that hold none."""
        rows, runs, lines = self._rows, self._runs, []
        receipts = [read.receipt for read in reads if read.receipt]
        for digest, receipt, _, _ in reads:
            if receipt is None:
                lines.append(_LINE.pack(digest, NO_GATE, 0, 0, 0))
                self.met += 1
                continue
            if receipt.gate != self._gate or receipt.tenant not in self.tenants:
                self._gate = gate = receipt.gate
                self._number = self._gates.setdefault(gate[:2], len(self._gates))
                self.tenants.add(receipt.tenant)
                self.isolations.add(gate[2])
            run = receipt.run
            row = marshal.dumps((self.met, *runs.get(run, _NOWHERE), *_SAID(receipt)), _WITHOUT_REFERENCES)
            place = rows.add(row)
            runs[run] = place, len(row)
            lines.append(_LINE.pack(digest, self._number, receipt.n, place, len(row)))
            if receipt.phase in _KEPT_APART:
                self._apart[receipt.phase].append(self.met)
            self.met += 1
        self._lines.add(b"".join(lines))
        self._count += len(receipts)
        self._ids.add([receipt.id for receipt in receipts])
        times = [receipt.at for receipt in receipts]
        self.last_at = max(self.last_at, *times) if times else self.last_at
        self.first_at = min(self.first_at or times[0], *times) if times else self.first_at
        for receipt in receipts:
            if receipt.texts or receipt.kept:
                committed = list(receipt.commitments())
                self._commitments.add(committed)
                self.committed.update(digest for digest in committed if digest in self._texts)

    def close(self) -> None:
        """Let go of all that was put aside."""
        self._rows.close()
        self._lines.close()

    def at(self, number: int) -> Receipt:
        """The receipt in a member, counted from 0, which could be read."""
        *_, place, length = _LINE.unpack(self._lines.read(number * _LINE.size, _LINE.size))
        return self._receipt(place, length)[0]

    def lines(self) -> Iterator[tuple[bytes, int, int, int, int]]:
        """Of each member, in order: digest, a number for the gate and boot that wrote it, its number there, its row.

        The first gate and boot that was met is 0.
        """
        for piece in self._lines.pieces(_LINE.size):
            yield from _LINE.iter_unpack(piece)

    def of_phase(self, phase: str) -> Iterator[Receipt]:
        """The approvals or the erasures, in order."""
        for number in self._apart[phase]:
            yield self.at(number)

    def boots(self) -> Iterator[tuple[int, int]]:
        """Of each boot, how many receipts there are and the number of the last."""
        counts, last = [0] * len(self._gates), [(0, 0)] * len(self._gates)
        for met, (_, gate, n, _, _) in enumerate(self.lines()):
            if gate != NO_GATE:
                counts[gate] += 1
                last[gate] = met, n
        boots: dict[str, list[int]] = {}
        for gate, (_, boot) in enumerate(self._gates):
            boots.setdefault(boot, []).append(gate)
        return ((sum(counts[gate] for gate in gates), max(last[gate] for gate in gates)[1]) for gates in boots.values())

    @property
    def runs(self) -> Collection[str]:
        """In the order in which they are met."""
        return self._runs.keys()

    def run(self, name: str) -> list[Receipt]:
        """The receipts of one run, in order."""
        found: list[Receipt] = []
        same: dict[Any, Any] = {}
        place, length = self._runs[name]
        while length:
            receipt, (place, length) = self._receipt(place, length)
            if len(found) > _SHORT:
                if found[-1].prev == receipt.digest:
                    found[-1].prev = receipt.digest
                receipt.run = name
                receipt.tenant = same.setdefault(receipt.tenant, receipt.tenant)
                receipt.key_id = same.setdefault(receipt.key_id, receipt.key_id)
                receipt.phase = same.setdefault(receipt.phase, receipt.phase)
                receipt.gate = same.setdefault(receipt.gate, receipt.gate)
            found.append(receipt)
        found.reverse()
        return found

    def doubled(self) -> Iterator[tuple[Receipt, str]]:
        """Receipts whose id another had before them, and the member which that is in."""
        if not (hashes := self._ids.doubled()):
            return
        first: dict[str, str] = {}
        for receipt in self:
            if hash(receipt.id) in hashes:
                if receipt.id in first:
                    yield receipt, first[receipt.id]
                else:
                    first[receipt.id] = receipt.member

    def commitments(self) -> int:
        """How many texts they commit to."""
        return self._commitments.count()

    def _receipt(self, place: int, length: int, *, ahead: bool = False) -> tuple[Receipt, tuple[int, int]]:
        # SECURITY: this process wrote it, to a file that nobody else can find.
        number, place, length, *said = marshal.loads(self._rows.read(place, length, ahead=ahead))  # noqa: S302
        return Receipt(self.names[number], *said), (place, length)
