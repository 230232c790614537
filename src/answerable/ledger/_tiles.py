"""The log's tree in tiles: where each lies, what it holds, and the hash of any subtree from a few of them.

Source: C2SP tlog-tiles, "Merkle Tree" and "Log entries"; RFC 6962 §2.1.
"""

import functools
from collections.abc import Sequence
from typing import Protocol

from answerable.ledger._merkle import root_hash

__all__ = ["WIDTH", "TileSource", "Tree", "entry_bundle", "split_tile", "tile_path"]

WIDTH = 256
"""Hashes in a full tile, and entries in a full bundle."""
_HEIGHT = 8
_HASH_BYTES = 32


class TileSource(Protocol):
    """Where tiles come from: files, the record, or a log elsewhere."""

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first `width` hashes of a tile, 32 bytes each."""


def tile_path(level: int | str, index: int, width: int = WIDTH) -> str:
    """Where a tile lies below the log's prefix; the level is `entries` for an entry bundle.

    >>> tile_path(0, 1234067)
    'tile/0/x001/x234/067'
    >>> tile_path("entries", 273, 112)
    'tile/entries/273.p/112'
    """
    parts = [f"{index % 1000:03d}"]
    while index := index // 1000:
        parts.insert(0, f"x{index % 1000:03d}")
    return f"tile/{level}/{'/'.join(parts)}" + (f".p/{width}" if width < WIDTH else "")


def entry_bundle(entries: Sequence[bytes]) -> bytes:
    """Entries, each behind its length as a big-endian uint16."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def split_tile(tile: bytes) -> list[bytes]:
    """The hashes of a tile."""
    return [tile[start : start + _HASH_BYTES] for start in range(0, len(tile), _HASH_BYTES)]


class Tree:
    """The tree of one size, read through its tiles: a proof costs a few tiles, however long the log."""

    def __init__(self, source: TileSource, size: int) -> None:
        self.size = size
        self._source = source
        self._hashes = functools.lru_cache(maxsize=256)(self._read)

    def root(self) -> bytes:
        """The root hash, 32 bytes."""
        return self.range_hash(0, self.size)

    def range_hash(self, start: int, end: int) -> bytes:
        """`MTH(D[start:end])`, for a range that the tree of `end` leaves splits off as one subtree."""
        if start == end:
            return root_hash([])
        level = (end - start - 1).bit_length()
        return self.node(level, start >> level, end)

    def node(self, level: int, index: int, size: int | None = None) -> bytes:
        """Node `index` of `level`, 0 being the leaves, in the tree of the first `size` leaves.

        A node without a sibling moves up unchanged, as in `docs/formats/bundle.md`.
        """
        end = self.size if size is None else size
        if (index + 1) << level <= end:
            return self._whole(level, index)
        left, middle = self.node(level - 1, 2 * index, end), (2 * index + 1) << (level - 1)
        return root_hash([left, self.node(level - 1, 2 * index + 1, end)]) if middle < end else left

    def _whole(self, level: int, index: int) -> bytes:
        tier, rest = divmod(level, _HEIGHT)
        tile, offset = divmod(index << rest, WIDTH)
        return root_hash(self._hashes(tier, tile)[offset : offset + (1 << rest)])

    def _read(self, tier: int, tile: int) -> list[bytes]:
        width = min(WIDTH, (self.size >> (_HEIGHT * tier)) - tile * WIDTH)
        return split_tile(self._source.tile(tier, tile, width))
