"""Reads a bundle from a ZIP that anybody may have made, within fixed bounds.

Not with `zipfile`: it takes archives that other readers take for something else (bytes between members, names that
differ between directory and member), and a fifth of a large verification would be spent in it.

Format: `docs/formats/bundle.md`, "Container"; PKWARE APPNOTE 6.3.
"""

import hashlib
import itertools
import os
import re
import sys
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from struct import Struct
from typing import BinaryIO, NamedTuple, overload

__all__ = ["BadContainer", "Container", "Entry", "Numbered", "numbered", "read_at", "read_container", "read_entries"]

_MIB = 1024**2
_PIECE = 64 * 1024
_LARGEST_FILE_BYTES = 1024 * _MIB
_LARGEST_DIRECTORY_BYTES = 64 * _MIB
_MOST_MEMBERS = 250_000
_LARGEST_MEMBER_BYTES = 64 * _MIB
_LARGEST_TOTAL_BYTES = 1024 * _MIB
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,7}")
_LONGEST_NAME = 200
_SYMLINK = 0o120000
_STORED, _DEFLATED = 0, 8

_END = Struct("<4s4H2LH")  # 4.3.16, end of central directory
_LOCATOR = Struct("<4sLQL")  # 4.3.15, its ZIP64 locator
_END64 = Struct("<4sQ2H2L4Q")  # 4.3.14, its ZIP64 form
_ENTRY = Struct("<4s4B4HL2L5H2L")  # 4.3.12, a directory entry
_LOCAL = Struct("<4s5H3L2H")  # 4.3.7, what stands before a member
_LOCAL_MARK = b"PK\x03\x04"
_NAMED = 26  # where what stands before a member gives the length of its name
_PLAIN_NAME = Struct("<2H")  # of the name, and of what else may follow it
_ROW = Struct("<QLLHL")  # an `Entry` without its name
_TAIL = _LOCATOR.size + _END64.size + _END.size + 65535  # how far from the end the records may begin


class BadContainer(ValueError):
    """A file that is not a bundle, or breaks off, or is made to do harm.

    Args:
        member: the member at fault, empty where it is the file as a whole.
    """

    def __init__(self, what: str, member: str = "") -> None:
        super().__init__(what)
        self.member = member


class Entry(NamedTuple):
    """A member as the directory describes it.

    Args:
        start: where what stands before it begins in the file.
        packed, size: its length in the file, and unpacked.
    """

    name: str
    start: int
    packed: int
    size: int
    method: int
    crc: int


class Numbered(Sequence[str]):
    """The names of receipts that follow one another, `receipts/000001.json` and so on: kept as two numbers."""

    def __init__(self, begin: int, end: int) -> None:
        self._numbers = range(begin, end)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        if isinstance(at, slice):
            numbers = self._numbers[at]
            if numbers.step == 1:
                return Numbered(numbers.start, max(numbers.start, numbers.stop))
            return [f"receipts/{number:06d}.json" for number in numbers]
        return f"receipts/{self._numbers[at]:06d}.json"

    def __iter__(self) -> Iterator[str]:
        return (f"receipts/{number:06d}.json" for number in self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def place(self, name: object) -> int:
        """Where the name is among them; -1 where it is not."""
        number = _number(name) if isinstance(name, str) else -1
        return number - self._numbers.start if number in self._numbers else -1

    @property
    def begin(self) -> int:
        """The number of the first."""
        return self._numbers.start


def numbered(names: Sequence[str]) -> Sequence[str]:
    """The same names, kept as two numbers if they follow one another."""
    begin = _number(names[0]) if names else -1
    if begin < 0 or _number(names[-1]) != begin + len(names) - 1:
        return names
    found = Numbered(begin, begin + len(names))
    return found if all(map(str.__eq__, found, names)) else names


def _number(name: str) -> int:
    """The number in a receipt's name of six digits; below 0 where it is another name."""
    try:
        number = int(name[9:15])
    except ValueError:
        return -1
    return number if name == f"receipts/{number:06d}.json" else -1


class Container(Mapping[str, bytes]):
    """The members of a bundle, each read from the file when it is asked for: none is kept.

    Args:
        file: open for as long as members are read.

    Raises:
        BadContainer: not a ZIP, truncated, too large, or with names that are doubled or unsafe. So is asking for a
            member that is damaged.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.descriptor = file.fileno()
        size = file.seek(0, 2)
        if size > _LARGEST_FILE_BYTES:
            raise BadContainer(f"the file is {size} bytes long, more than {_LARGEST_FILE_BYTES}")
        # Packed: as objects, what is known of many members would take more room than all else.
        self._packed = bytearray()
        self._others: dict[str, int] = {}
        self._first = -1  # the row of the first of those receipts whose names follow one another
        begin = end = total = 0
        for row, (name, start, packed, unpacked, method, crc) in enumerate(_directory(self.descriptor, size)):
            number = _number(name)
            if number >= 0 and self._first < 0:
                self._first, begin, end = row, number, number + 1
            elif number == end and row == self._first + end - begin:
                end += 1
            elif begin <= number < end or name in self._others:
                raise BadContainer(f"the member `{name}` is there twice", name)
            else:
                self._others[name] = row
            self._packed += _ROW.pack(start, packed, unpacked, method, crc)
            total += unpacked
        self.receipts = Numbered(begin, end)
        if total > _LARGEST_TOTAL_BYTES:
            raise BadContainer(f"the members are larger than {_LARGEST_TOTAL_BYTES} bytes together")

    def entry(self, name: str) -> Entry:
        """What the directory says of a member."""
        row = self._others.get(name, -1)
        if row < 0:
            place = self.receipts.place(name)
            if place < 0:
                raise KeyError(name)
            row = self._first + place
        return Entry(name, *_ROW.unpack_from(self._packed, row * _ROW.size))

    def entries(self, names: Sequence[str]) -> list[Entry]:
        """What the directory says of some members."""
        if not isinstance(names, Numbered) or not names or (place := self.receipts.place(names[0])) < 0:
            return [self.entry(name) for name in names]
        at = (self._first + place) * _ROW.size
        rows = _ROW.iter_unpack(self._packed[at : at + min(len(names), len(self.receipts) - place) * _ROW.size])
        return [Entry._make((name, *row)) for name, row in zip(names, rows, strict=True)]

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Name and content of some members, in less time than one by one where they lie behind one another."""
        return read_entries(self.descriptor, self.entries(names))

    def digest(self, name: str) -> bytes:
        """SHA-256 of a member, which is never in memory as a whole."""
        found = hashlib.sha256()
        for piece in self.pieces(name):
            found.update(piece)
        return found.digest()

    def pieces(self, name: str) -> Iterator[bytes]:
        """A member, 64 KiB or so at a time; that it is whole is known at the end."""
        return _pieces(self.descriptor, self.entry(name))

    def __getitem__(self, name: str) -> bytes:
        ((_, content),) = read_entries(self.descriptor, (self.entry(name),), ahead=0)
        return content

    def __contains__(self, name: object) -> bool:
        return name in self._others or self.receipts.place(name) >= 0

    def __iter__(self) -> Iterator[str]:
        before = [name for name, row in self._others.items() if row < self._first]
        yield from before
        yield from self.receipts
        yield from itertools.islice(self._others, len(before), None)

    def __len__(self) -> int:
        return len(self._others) + len(self.receipts)

    @property
    def others(self) -> Collection[str]:
        """The members beside `receipts`, in the order of the file."""
        return self._others.keys()


def read_container(path: os.PathLike[str] | str) -> dict[str, bytes]:
    """All members, by name.

    Raises:
        BadContainer: not a ZIP, truncated, too large, or with names that are doubled or unsafe.
        OSError: the file cannot be opened.
    """
    with open(path, "rb") as file:
        return dict(Container(file))


def _directory(file: int, whole: int) -> Iterator[tuple[str, int, int, int, int, int]]:
    """What the central directory says, entry by entry, each like an `Entry`."""
    count, length, start, end = _outline(file, whole)
    if length > min(whole, _LARGEST_DIRECTORY_BYTES):
        raise BadContainer("the file's directory is larger than the file or than 64 MiB")
    if count > _MOST_MEMBERS:
        raise BadContainer(f"{count} members, more than {_MOST_MEMBERS}")
    before = end - length - start  # bytes that stand before the archive
    if before < 0:
        raise BadContainer("the file is damaged or breaks off: its directory is not where it says")
    raw, at, place_of_next, left = b"", 0, end - length, length

    def has(wanted: int) -> bool:
        """Whether so many bytes are there from `at` on; what is before is let go."""
        nonlocal raw, at, place_of_next, left
        while len(raw) - at < wanted and left:
            piece = read_at(file, min(left, _PIECE), place_of_next)
            if not piece:
                break
            raw, at = raw[at:] + piece, 0
            place_of_next, left = place_of_next + len(piece), left - len(piece)
        return len(raw) - at >= wanted

    for _ in range(count):
        if at + _ENTRY.size > len(raw) and not has(_ENTRY.size):
            raise BadContainer("the file is damaged or breaks off: its directory ends too soon")
        mark, _, _, _, _, flags, method, _, _, crc, packed, size, named, extra, noted, _, _, attributes, place = (
            _ENTRY.unpack_from(raw, at)
        )
        long = _ENTRY.size + named + extra + noted
        is_whole = at + long <= len(raw) or has(long)
        name = _name(raw[at + _ENTRY.size : at + _ENTRY.size + named])
        at += long
        if mark != b"PK\x01\x02" or not is_whole:
            raise BadContainer("the file is damaged or breaks off: its directory is not one")
        if attributes >> 16 & 0o170000 == _SYMLINK:
            raise BadContainer(f"the member `{name}` is a symbolic link", name)
        if flags & 1 or method not in (_STORED, _DEFLATED):
            raise BadContainer(f"the member `{name}` is encrypted or packed in an unknown way", name)
        if size > _LARGEST_MEMBER_BYTES:
            raise BadContainer(f"the member `{name}` is larger than {_LARGEST_MEMBER_BYTES} bytes", name)
        if before + place + _LOCAL.size + packed > whole:
            raise BadContainer(f"the member `{name}` is damaged or breaks off: it lies outside the file", name)
        yield name, before + place, packed, size, method, crc
    if at != len(raw) or left:
        raise BadContainer("the file is damaged: its directory holds more than it counts")


def _outline(file: int, size: int) -> tuple[int, int, int, int]:
    """How many members there are, and size, stated start and real end of their directory."""
    tail = read_at(file, _TAIL, max(size - _TAIL, 0))
    found = tail.rfind(b"PK\x05\x06", max(len(tail) - _END.size - 65535, 0))
    if found < 0 or len(tail) - found < _END.size:
        raise BadContainer("the file is not a ZIP, or it breaks off: it has no end record")
    _, _, _, _, count, length, start, _ = _END.unpack_from(tail, found)
    end = found
    if end >= _LOCATOR.size and tail[end - _LOCATOR.size :][:4] == b"PK\x06\x07":
        end -= _LOCATOR.size + _END64.size
        if end < 0 or tail[end : end + 4] != b"PK\x06\x06":
            raise BadContainer("the file is damaged: its ZIP64 record is missing")
        *_, count, length, start = _END64.unpack_from(tail, end)
    return count, length, start, size - len(tail) + end


def read_at(file: int, length: int, start: int) -> bytes:
    """So many bytes of an open file from there on; fewer where it ends."""
    if sys.platform == "win32":  # which has no pread
        os.lseek(file, start, os.SEEK_SET)
        return os.read(file, length)
    return os.pread(file, length, start)


def _name(raw: bytes) -> str:
    name = raw.decode("latin-1")
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise BadContainer(f"the member name `{name[:80]}` is not allowed", name[:80])
    return name


def read_entries(file: int, entries: Iterable[Entry], *, ahead: int = _PIECE) -> Iterator[tuple[str, bytes]]:
    """Name and content of members of an open file.

    Args:
        ahead: how many bytes to read at once, for members that lie behind one another.

    Raises:
        BadContainer: one is not what the directory says, or breaks off.
    """
    window, begin = b"", 0
    for entry in entries:
        name, start, packed, size, method, crc = entry
        if method == _STORED and packed == size <= _PIECE:  # as receipts are; all else is read piece by piece
            head = _PLAIN_NAME.pack(len(name), 0) + name.encode("ascii")
            length = _NAMED + len(head) + size
            at = start - begin
            if at < 0 or at + length > len(window):
                window, begin, at = read_at(file, max(length, ahead), start), start, 0
            content = window[at + _NAMED + len(head) : at + length]
            is_plain = window.startswith(_LOCAL_MARK, at) and window.startswith(head, at + _NAMED)
            if is_plain and len(content) == size and zlib.crc32(content) == crc:
                yield name, content
                continue
        yield name, b"".join(_pieces(file, entry))


def _pieces(file: int, entry: Entry) -> Iterator[bytes]:
    """The content of a member, 64 KiB or so at a time; that it is whole is known at the end."""

    def damaged(what: str) -> BadContainer:
        return BadContainer(f"the member `{entry.name}` is damaged or breaks off: {what}", entry.name)

    start = _LOCAL.size + len(entry.name)
    raw = read_at(file, start + min(entry.packed, _PIECE), entry.start)
    if len(raw) < _LOCAL.size:
        raise damaged("it lies outside the file")
    mark, *_, named, extra = _LOCAL.unpack_from(raw)
    if mark != _LOCAL_MARK:
        raise damaged("it lies outside the file")
    if named != len(entry.name) or raw[_LOCAL.size : start] != entry.name.encode("ascii"):
        raise damaged("it has another name than in the directory")
    packed = raw[start:] if not extra else b""
    at, left = entry.start + start + extra + len(packed), entry.packed - len(packed)
    unpacker = zlib.decompressobj(-15) if entry.method == _DEFLATED else None
    size = crc = 0
    while True:
        try:
            piece = unpacker.decompress(packed, _PIECE) if unpacker else packed
        except zlib.error as error:
            raise damaged(str(error)) from None
        size, crc = size + len(piece), zlib.crc32(piece, crc)
        if size > entry.size:
            raise damaged("it is not as long as the directory says")
        yield piece
        if packed := unpacker.unconsumed_tail if unpacker else b"":
            continue
        if not left:
            break
        if unpacker and unpacker.eof:
            raise damaged("it is not as long as the directory says")
        packed = read_at(file, min(left, _PIECE), at)
        if not packed:
            raise damaged("it lies outside the file")
        at, left = at + len(packed), left - len(packed)
    if unpacker and (piece := unpacker.flush()):
        size, crc = size + len(piece), zlib.crc32(piece, crc)
        yield piece
    if size != entry.size or (unpacker and (not unpacker.eof or unpacker.unused_data)):
        raise damaged("it is not as long as the directory says")
    if crc != entry.crc:
        raise damaged("its checksum is another")
