"""Merkle trees as in RFC 6962 §2.1: grown at the right edge, proved from the leaves.

Source: RFC 6962 §2.1; names follow it (`D[n]` is `leaves`, `MTH` the root hash).
"""

import hashlib
from collections.abc import Sequence

__all__ = ["Frontier", "inclusion_path", "leaf_hash", "root_hash"]


# MEASURED: a copy of a hash that has begun costs three quarters of a new one, which looks its algorithm up.
_LEAF = hashlib.sha256(b"\x00")
_NODE = hashlib.sha256(b"\x01")


def leaf_hash(entry: bytes) -> bytes:
    """`SHA-256(0x00 || entry)`."""
    digest = _LEAF.copy()
    digest.update(entry)
    return digest.digest()


def _node(left: bytes, right: bytes) -> bytes:
    digest = _NODE.copy()
    digest.update(left + right)
    return digest.digest()


class Frontier:
    """The right edge of a tree: enough to append a leaf and to know the root.

    Holds one hash for each set bit of `size`, the largest subtree first.
    """

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)

    @classmethod
    def of(cls, entries: Sequence[bytes]) -> "Frontier":
        """The frontier after these entries."""
        frontier = cls()
        for entry in entries:
            frontier.append(entry)
        return frontier

    def copy(self) -> "Frontier":
        """A frontier to grow on trial: the original is untouched if a commit fails."""
        return Frontier(self.size, self.peaks)

    def append(self, entry: bytes) -> int:
        """Add a leaf; its index comes back."""
        index = unmerged = self.size
        node = leaf_hash(entry)
        while unmerged & 1:
            node = _node(self.peaks.pop(), node)
            unmerged >>= 1
        self.peaks.append(node)
        self.size = index + 1
        return index

    def root(self) -> bytes:
        """The root hash, 32 bytes; of the empty tree, SHA-256 of nothing."""
        if not self.peaks:
            return hashlib.sha256(b"").digest()
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = _node(peak, node)
        return node


def root_hash(leaves: Sequence[bytes]) -> bytes:
    """`MTH` over leaf hashes, level by level."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """`PATH(index, D[n])`: the sibling hashes from the leaf to the root.

    Args:
        leaves: leaf hashes of the whole tree, [n] of 32 bytes.
        index: 0 to n-1.
    """
    path, level = [], list(leaves)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        level = _parents(level)
        index >>= 1
    return path


def _parents(level: list[bytes]) -> list[bytes]:
    # A node without a sibling moves up unchanged: the same tree as RFC 6962's split at powers of two.
    pairs = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return pairs + level[-1:] if len(level) % 2 else pairs
