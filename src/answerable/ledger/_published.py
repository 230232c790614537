"""A log as a folder of files that any web server can serve: tiles, entry bundles, checkpoint.

The folder follows from the record and can be made again from it, all but the signatures that others
gave: those are kept in `checkpoints/`. Layout: `docs/formats/log.md`.
"""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from answerable.core import EvidenceError, TenantId
from answerable.ledger._checkpoint import Head, read_head
from answerable.ledger._keys import read_or_make_secret
from answerable.ledger._merkle import leaf_hash, root_hash
from answerable.ledger._reader import Reader
from answerable.ledger._tiles import WIDTH, Tree, entry_bundle, split_tile, tile_path

__all__ = [
    "LogContradicted",
    "LogFolder",
    "RecordTiles",
    "log_folder",
    "monitor_secret",
    "put_away",
    "receipt_lines",
]

_RECENT = 500  # checkpoints that others signed, before they are thinned out
_FEW = 16 * WIDTH  # entries: for more, one sync of everything is cheaper than one a file


@dataclass(eq=False, kw_only=True)
class LogContradicted(EvidenceError):
    """The record no longer holds what was published of it."""

    code = "evidence.log_contradicted"
    what = "the record's log `{origin}` of {size} entries contradicts the {published} entries published"
    why = "an older copy of the record was restored, or its history was changed"
    fix = "stop the gate; compare the record with a backup and with what witnesses saw; nothing more is published"

    origin: str
    size: int
    published: int


class RecordTiles:
    """Tiles computed from the record; as far as a folder holds them under its checkpoint, they are read there."""

    def __init__(self, reader: Reader, tenant: TenantId, folder: "LogFolder | None" = None) -> None:
        self._reader = reader
        self._tenant = tenant
        self._folder = folder
        # Files beyond the checkpoint may be what a crash left half written.
        self._covered = read_head(folder.checkpoint).size if folder and folder.checkpoint else 0

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of a tile."""
        covered = min(WIDTH, max(0, (self._covered >> (8 * level)) - index * WIDTH))
        known = self._folder.tile(level, index, covered)[: width * 32] if self._folder and covered else b""
        have = len(known) // 32
        if have == width:
            return known
        if level == 0:
            return known + b"".join(leaf_hash(entry) for entry in self.entries(index, width)[have:])
        below = (self.tile(level - 1, index * WIDTH + number, WIDTH) for number in range(have, width))
        return known + b"".join(root_hash(split_tile(tile)) for tile in below)

    def entries(self, index: int, width: int) -> list[bytes]:
        """The entries of a bundle."""
        return self._reader.entries(self._tenant, index * WIDTH + width, start=index * WIDTH)


class LogFolder:
    """One log's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoint(self) -> str:
        """The checkpoint published last; empty before the first."""
        path = self.path / "checkpoint"
        return path.read_text("utf-8") if path.exists() else ""

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The hashes of a tile of this width, if it is there and whole; nothing where it is not."""
        try:
            found = (self.path / tile_path(level, index, width)).read_bytes()
        except OSError:
            return b""
        return found if len(found) == width * 32 else b""

    def publish(self, reader: Reader, tenant: TenantId) -> Head | None:
        """Bring the folder up to the record's latest checkpoint; None where there is no log yet.

        INVARIANT: the checkpoint comes last. What it stands for is on disk before it can be read.

        Raises:
            LogContradicted: the record does not continue what the folder shows.
        """
        with self._alone():
            return self._publish(reader, tenant)

    def show(self, note: str) -> None:
        """Put a checkpoint that others signed by now in the place of the plain one, unless a later one is there."""
        with self._alone():
            if self.checkpoint and read_head(self.checkpoint) == read_head(note):
                self.put("checkpoint", note.encode())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder against other processes that publish: what it shows must never go back."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _publish(self, reader: Reader, tenant: TenantId) -> Head | None:
        note = reader.checkpoint(tenant)
        if not note:
            return None
        head = read_head(note)
        shown = read_head(self.checkpoint) if self.checkpoint else Head(origin=head.origin, size=0, root=root_hash([]))
        tiles = RecordTiles(reader, tenant, self)
        tree = Tree(tiles, head.size)
        # The folder's tiles must lead to the record's root as well as to the one that was published.
        if shown.size > head.size or tree.range_hash(0, shown.size) != shown.root or tree.root() != head.root:
            raise LogContradicted(origin=head.origin, size=head.size, published=shown.size)
        if shown.size == head.size and self.checkpoint:
            return head
        self._write(_grown(tiles, shown.size, head.size), are_many=head.size - shown.size > _FEW)
        self.put("checkpoint", note.encode())
        return head

    def put(self, name: str, content: bytes) -> None:
        """Write one file, durably and at once."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def best(self, size: int) -> str:
        """The kept checkpoint of at least `size` entries that most others signed; empty where none is kept."""
        found = [(path, int(path.name)) for path in self._kept() if int(path.name) >= size]
        notes = [(path.read_text("utf-8"), number) for path, number in found]
        ranked = sorted(notes, key=lambda each: (each[0].count("\n\N{EM DASH} "), bool(self.stamps(each[1])), each[1]))
        return ranked[-1][0] if ranked else ""

    def stamps(self, size: int) -> list[bytes]:
        """The timestamps of a kept checkpoint, DER."""
        return [path.read_bytes() for path in sorted((self.path / "checkpoints").glob(f"{size}.*.tsr"))]

    def thin(self) -> None:
        """Of old checkpoints keep the first of each day, so that the folder does not grow with every second."""
        kept = sorted(self._kept(), key=lambda path: int(path.name))[:-_RECENT]
        days = set[int]()
        for path in kept:
            day = int(path.stat().st_mtime) // 86_400
            if day in days:
                for stamp in (self.path / "checkpoints").glob(f"{path.name}.*.tsr"):
                    stamp.unlink()
                path.unlink()
            days.add(day)

    def _kept(self) -> list[Path]:
        folder = self.path / "checkpoints"
        return [path for path in folder.iterdir() if path.name.isdecimal()] if folder.is_dir() else []

    def _write(self, files: Iterator[tuple[str, bytes]], *, are_many: bool) -> None:
        # No file counts before the checkpoint does, so those left by a crash are simply written again.
        for name, content in files:
            if not are_many:
                self.put(name, content)
                continue
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if are_many:
            os.sync()


def _grown(tiles: RecordTiles, old: int, new: int) -> Iterator[tuple[str, bytes]]:
    """The tiles and bundles, by path, that a tree of `new` entries has and one of `old` had not."""
    level, old_width, new_width = 0, old, new
    while new_width != old_width:
        for index in range(old_width // WIDTH, -(-new_width // WIDTH)):
            width = min(WIDTH, new_width - index * WIDTH)
            if level == 0:
                entries = tiles.entries(index, width)
                yield tile_path("entries", index, width), entry_bundle(entries)
                yield tile_path(0, index, width), b"".join(leaf_hash(entry) for entry in entries)
            else:
                yield tile_path(level, index, width), tiles.tile(level, index, width)
        level, old_width, new_width = level + 1, old_width // WIDTH, new_width // WIDTH


def log_folder(directory: Path, tenant: TenantId) -> LogFolder:
    """Where the gate of a data directory publishes a tenant's log."""
    return LogFolder(directory / "log" / tenant)


def put_away(directory: Path, origins: Set[str], *, at: str) -> None:
    """Keep what others signed for logs of other origins, apart from what they sign for these."""
    folder = directory / "log"
    notes = [path.read_text("utf-8") for path in folder.glob("*/checkpoints/[0-9]*") if path.suffix != ".tsr"]
    notes += [path.read_text("utf-8") for path in folder.glob("*/checkpoint")]
    if any(read_head(note).origin not in origins for note in notes):
        folder.rename(directory / f"log.before-{at[:19].replace(':', '')}Z")


def monitor_secret(directory: Path) -> str:
    """What a monitor shows to read receipts; made on first use, and replaced by removing its file."""
    return read_or_make_secret(
        directory / "keys" / "monitor.secret", lambda: secrets.token_urlsafe(32).encode()
    ).decode()


def receipt_lines(reader: Reader, tenant: TenantId, index: int, width: int) -> bytes:
    """The receipts behind one entry bundle: their envelopes, one a line, in its order."""
    return b"".join(receipt.envelope + b"\n" for receipt in reader.receipts_at(tenant, index * WIDTH, width))
