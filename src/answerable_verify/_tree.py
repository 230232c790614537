"""Merkle trees as in RFC 6962 §2.1, and the shared proof that a bundle carries.

Written from the RFC alone: the log that is checked here uses other code.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "BadProof",
    "check_consistency",
    "leaf_hash",
    "node_hash",
    "path_root",
    "prefix_root",
    "shared_root",
    "tree_root",
]

_DEEPEST = 64


class BadProof(ValueError):
    """A proof that does not fit its tree."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree_root(entries: Sequence[bytes]) -> bytes:
    """MTH(D[n]).

    Source: RFC 6962 §2.1.
    """
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return leaf_hash(entries[0])
    k = 1 << (len(entries) - 1).bit_length() - 1  # the largest power of two smaller than n
    return node_hash(tree_root(entries[:k]), tree_root(entries[k:]))


def path_root(leaf: bytes, *, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that an audit path leads to from a leaf hash.

    Raises:
        BadProof: the index is outside the tree, or the path is too short or too long.

    Source: RFC 6962 §2.1.1.
    """
    if not 0 <= index < size:
        raise BadProof(f"leaf {index} is outside a tree of {size}")
    nodes = iter(path)
    node = leaf
    while size > 1:
        if index ^ 1 < size:
            sibling = next(nodes, None)
            if sibling is None:
                raise BadProof("the path is too short")
            node = node_hash(sibling, node) if index & 1 else node_hash(node, sibling)
        index, size = index >> 1, (size + 1) >> 1
    if next(nodes, None) is not None:
        raise BadProof("the path is too long")
    return node


def shared_root(leaves: Iterable[tuple[int, bytes]], *, size: int, nodes: Mapping[tuple[int, int], bytes]) -> bytes:
    """The root that all leaves lead to together.

    INVARIANT: every leaf goes into the root: a given node never replaces a computed one, and one
    that is not needed is refused. Level 0 holds the leaf hashes; node `i` of level `l + 1` is the
    hash of nodes `2i` and `2i + 1` of level `l`, or node `2i` itself where it is the last of an odd
    level. That is RFC 6962's tree, read from below.

    Args:
        leaves: index and leaf hash, the lowest index first, none twice.
        size: the tree size that the checkpoint states.
        nodes: what cannot be computed from the leaves, by (level, index).

    Raises:
        BadProof: no leaf, one outside the tree, a node missing, or one that is not needed.
    """
    if size >= 1 << _DEEPEST:
        raise BadProof(f"a tree of {size} is too large")
    used, faults = 0, dict[int, str]()  # by level: the first of the lowest is told

    def given(level: int, index: int) -> bytes:
        nonlocal used
        used += 1
        if (node := nodes.get((level, index))) is None:
            faults.setdefault(level, f"node {index} of level {level} is missing")
        return node or b""

    def above(row: Iterator[tuple[int, bytes]], level: int, size: int) -> Iterator[tuple[int, bytes]]:
        here = next(row, None)
        while here:
            index, node = here
            if not 0 <= index < size:
                faults.setdefault(level, f"leaf {index} is outside a tree of {size}")
            here = next(row, None)
            if index & 1:
                node = node_hash(given(level, index - 1), node)
            elif here and here[0] == index + 1:
                node, here = node_hash(node, here[1]), next(row, None)
            elif index + 1 < size:
                node = node_hash(node, given(level, index + 1))
            yield index >> 1, node

    # Each level takes from the one below as it goes, so that of none more than two nodes are in memory.
    row = above(iter(leaves), 0, size)
    for level in range(1, max(size - 1, 0).bit_length()):
        row = above(row, level, -(-size >> level))
    roots = [node for _, node in row]
    if faults:
        raise BadProof(faults[min(faults)])
    if not roots:
        raise BadProof("no leaf")
    if used != len(nodes):
        raise BadProof("the proof holds nodes that are not needed")
    return roots[0]


def prefix_root(size: int, nodes: Mapping[tuple[int, int], bytes]) -> bytes:
    """The root of the first `size` leaves, from a shared proof of all leaves after them.

    What such a proof is given on the left is exactly the largest whole subtrees of those first leaves.

    Raises:
        BadProof: one of them is missing.
    """
    root = b""
    for level in range(size.bit_length()):
        if not size >> level & 1:
            continue
        peak = nodes.get((level, (size >> level) - 1))
        if peak is None:
            raise BadProof(f"node {(size >> level) - 1} of level {level} is missing")
        root = node_hash(peak, root) if root else peak
    return root


def check_consistency(*, old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `old` leaves is the beginning of the tree of `new` leaves.

    Takes SUBPROOF apart from its end, as the RFC builds it: each hash is given back to the two
    subtrees that it belongs to.

    Raises:
        BadProof: it is not, or the proof does not fit.

    Source: RFC 6962 §2.1.2.
    """
    if not 0 <= old <= new or new >= 1 << _DEEPEST:
        raise BadProof(f"a tree of {old} cannot grow to one of {new}")
    if old in (0, new):
        if proof:
            raise BadProof("there is nothing to prove, and a proof")
        if old_root != (new_root if old else tree_root([])):
            raise BadProof("two root hashes for one size")
        return
    nodes = list(proof)

    def take() -> bytes:
        if not nodes:
            raise BadProof("the proof is too short")
        return nodes.pop()

    def roots(m: int, n: int, *, is_whole: bool) -> tuple[bytes, bytes]:
        if m == n:
            node = old_root if is_whole else take()
            return node, node
        k = 1 << (n - 1).bit_length() - 1
        other = take()
        if m <= k:
            before, after = roots(m, k, is_whole=is_whole)
            return before, node_hash(after, other)
        before, after = roots(m - k, n - k, is_whole=False)
        return node_hash(other, before), node_hash(other, after)

    found = roots(old, new, is_whole=True)
    if nodes:
        raise BadProof("the proof is too long")
    if found != (old_root, new_root):
        raise BadProof("the older tree is not the beginning of the newer one")
