"""Reads a bundle from a ZIP that anybody may have made, within fixed bounds.

Not with `zipfile`: it takes archives that other readers take for something else (bytes between members, names that
differ between directory and member), and a fifth of a large verification would be spent in it.

Format: `docs/formats/bundle.md`, "Container"; PKWARE APPNOTE 6.3.
"""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple

__all__ = ["BadContainer", "read_container"]

_MIB = 1024**2
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


class BadContainer(ValueError):
    """A file that is not a bundle, or breaks off, or is made to do harm.

    Args:
        member: the member at fault, empty where it is the file as a whole.
    """

    def __init__(self, what: str, member: str = "") -> None:
        super().__init__(what)
        self.member = member


class _Entry(NamedTuple):
    name: str
    start: int
    packed: int
    size: int
    method: int
    crc: int


def read_container(path: Path | str) -> dict[str, bytes]:
    """All members, by name.

    Raises:
        BadContainer: not a ZIP, truncated, too large, or with names that are doubled or unsafe.
        OSError: the file cannot be opened.
    """
    with Path(path).open("rb") as file:
        size = file.seek(0, 2)
        if size > _LARGEST_FILE_BYTES:
            raise BadContainer(f"the file is {size} bytes long, more than {_LARGEST_FILE_BYTES}")
        file.seek(0)
        raw = memoryview(file.read())
    entries = list(_directory(raw))
    if sum(entry.size for entry in entries) > _LARGEST_TOTAL_BYTES:
        raise BadContainer(f"the members are larger than {_LARGEST_TOTAL_BYTES} bytes together")
    members: dict[str, bytes] = {}
    for entry in entries:
        if entry.name in members:
            raise BadContainer(f"the member `{entry.name}` is there twice", entry.name)
        members[entry.name] = _content(raw, entry)
    return members


def _directory(raw: memoryview) -> Iterator[_Entry]:
    """What the central directory says, entry by entry."""
    count, size, start, end = _outline(raw)
    if size > min(len(raw), _LARGEST_DIRECTORY_BYTES):
        raise BadContainer("the file's directory is larger than the file or than 64 MiB")
    if count > _MOST_MEMBERS:
        raise BadContainer(f"{count} members, more than {_MOST_MEMBERS}")
    before = end - size - start  # bytes that stand before the archive
    if before < 0:
        raise BadContainer("the file is damaged or breaks off: its directory is not where it says")
    at = end - size
    for _ in range(count):
        if at + _ENTRY.size > end:
            raise BadContainer("the file is damaged or breaks off: its directory ends too soon")
        mark, _, _, _, _, flags, method, _, _, crc, packed, size, named, extra, noted, _, _, attributes, place = (
            _ENTRY.unpack_from(raw, at)
        )
        name = _name(bytes(raw[at + _ENTRY.size : at + _ENTRY.size + named]))
        at += _ENTRY.size + named + extra + noted
        if mark != b"PK\x01\x02" or at > end:
            raise BadContainer("the file is damaged or breaks off: its directory is not one")
        if attributes >> 16 & 0o170000 == _SYMLINK:
            raise BadContainer(f"the member `{name}` is a symbolic link", name)
        if flags & 1 or method not in (_STORED, _DEFLATED):
            raise BadContainer(f"the member `{name}` is encrypted or packed in an unknown way", name)
        if size > _LARGEST_MEMBER_BYTES:
            raise BadContainer(f"the member `{name}` is larger than {_LARGEST_MEMBER_BYTES} bytes", name)
        yield _Entry(name, before + place, packed, size, method, crc)
    if at != end:
        raise BadContainer("the file is damaged: its directory holds more than it counts")


def _outline(raw: memoryview) -> tuple[int, int, int, int]:
    """How many members there are, and size, stated start and real end of their directory."""
    tail = bytes(raw[-(_END.size + 65535) :])
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        raise BadContainer("the file is not a ZIP, or it breaks off: it has no end record")
    end = len(raw) - len(tail) + found
    _, _, _, _, count, size, start, _ = _END.unpack_from(raw, end)
    if end >= _LOCATOR.size and bytes(raw[end - _LOCATOR.size :][:4]) == b"PK\x06\x07":
        end -= _LOCATOR.size + _END64.size
        if end < 0 or bytes(raw[end : end + 4]) != b"PK\x06\x06":
            raise BadContainer("the file is damaged: its ZIP64 record is missing")
        *_, count, size, start = _END64.unpack_from(raw, end)
    return count, size, start, end


def _name(raw: bytes) -> str:
    name = raw.decode("latin-1")
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise BadContainer(f"the member name `{name[:80]}` is not allowed", name[:80])
    return name


def _content(raw: memoryview, entry: _Entry) -> bytes:
    def damaged(what: str) -> BadContainer:
        return BadContainer(f"the member `{entry.name}` is damaged or breaks off: {what}", entry.name)

    start = entry.start + _LOCAL.size
    if start > len(raw):
        raise damaged("it lies outside the file")
    mark, *_, named, extra = _LOCAL.unpack_from(raw, entry.start)
    end = start + named + extra + entry.packed
    if mark != b"PK\x03\x04" or end > len(raw):
        raise damaged("it lies outside the file")
    if raw[start : start + named] != entry.name.encode("ascii"):
        raise damaged("it has another name than in the directory")
    packed = raw[start + named + extra : end]
    if entry.method == _STORED:
        body = bytes(packed)
    else:
        unpacker = zlib.decompressobj(-15)
        try:
            body = unpacker.decompress(packed, entry.size + 1)
        except zlib.error as error:
            raise damaged(str(error)) from None
        if not unpacker.eof or unpacker.unused_data:
            raise damaged("it is not as long as the directory says")
    if len(body) != entry.size:
        raise damaged("it is not as long as the directory says")
    if zlib.crc32(body) != entry.crc:
        raise damaged("its checksum is another")
    return body
