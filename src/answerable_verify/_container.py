"""Reads a bundle from a ZIP that anybody may have made, within fixed bounds.

Format: `docs/formats/bundle.md`, "Container".
"""

import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

__all__ = ["BadContainer", "read_container"]

_LARGEST_FILE_BYTES = 1024**3
_LARGEST_DIRECTORY_BYTES = 64 * 1024**2
_MOST_MEMBERS = 250_000
_LARGEST_MEMBER_BYTES = 64 * 1024**2
_LARGEST_TOTAL_BYTES = 1024**3
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,7}")
_END = b"PK\x05\x06"
_END64_LOCATOR = b"PK\x06\x07"
_END64 = b"PK\x06\x06"
_SYMLINK = 0o120000


class BadContainer(ValueError):
    """A file that is not a bundle, or breaks off, or is made to do harm.

    Args:
        member: the member at fault, empty where it is the file as a whole.
    """

    def __init__(self, what: str, member: str = "") -> None:
        super().__init__(what)
        self.member = member


def read_container(path: Path | str) -> dict[str, bytes]:
    """All members, by name.

    Raises:
        BadContainer: not a ZIP, truncated, too large, or with names that are doubled or unsafe.
        OSError: the file cannot be opened.
    """
    with Path(path).open("rb") as file:
        _check_outline(file)
        try:
            with zipfile.ZipFile(file) as archive:
                return _read_members(archive)
        except (zipfile.BadZipFile, struct.error, EOFError, UnicodeDecodeError) as error:
            raise BadContainer(f"the file is damaged or breaks off: {error}") from None


def _check_outline(file: BinaryIO) -> None:
    """Bound the central directory before `zipfile` reads all of it into memory."""
    size = file.seek(0, 2)
    if size > _LARGEST_FILE_BYTES:
        raise BadContainer(f"the file is {size} bytes long, more than {_LARGEST_FILE_BYTES}")
    file.seek(max(0, size - 22 - 65535))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < 22:
        raise BadContainer("the file is not a ZIP, or it breaks off: it has no end record")
    directory_bytes = struct.unpack_from("<L", tail, at + 12)[0]
    locator = tail[at - 20 : at] if at >= 20 else b""
    if locator.startswith(_END64_LOCATOR):
        file.seek(min(struct.unpack_from("<Q", locator, 8)[0], size))
        end64 = file.read(56)
        if len(end64) == 56 and end64.startswith(_END64):
            directory_bytes = max(struct.unpack_from("<Q", end64, 40)[0], 0)
    if directory_bytes > min(size, _LARGEST_DIRECTORY_BYTES):
        raise BadContainer("the file's directory is larger than the file or than 64 MiB")
    file.seek(0)


def _read_members(archive: zipfile.ZipFile) -> dict[str, bytes]:
    entries = archive.infolist()
    if len(entries) > _MOST_MEMBERS:
        raise BadContainer(f"{len(entries)} members, more than {_MOST_MEMBERS}")
    if sum(entry.file_size for entry in entries) > _LARGEST_TOTAL_BYTES:
        raise BadContainer(f"the members are larger than {_LARGEST_TOTAL_BYTES} bytes together")
    members: dict[str, bytes] = {}
    for entry in entries:
        name = entry.filename
        shown = name[:80]
        if not _NAME.fullmatch(name) or len(name) > 200:
            raise BadContainer(f"the member name `{shown}` is not allowed", shown)
        if name in members:
            raise BadContainer(f"the member `{name}` is there twice", name)
        if entry.external_attr >> 16 & 0o170000 == _SYMLINK:
            raise BadContainer(f"the member `{name}` is a symbolic link", name)
        if entry.flag_bits & 0x1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadContainer(f"the member `{name}` is encrypted or packed in an unknown way", name)
        if entry.file_size > _LARGEST_MEMBER_BYTES:
            raise BadContainer(f"the member `{name}` is larger than {_LARGEST_MEMBER_BYTES} bytes", name)
        try:
            with archive.open(entry) as stream:
                body = stream.read(entry.file_size + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, struct.error, NotImplementedError) as error:
            raise BadContainer(f"the member `{name}` is damaged or breaks off: {error}", name) from None
        if len(body) != entry.file_size:
            raise BadContainer(f"the member `{name}` is not as long as the directory says", name)
        members[name] = body
    return members
