"""Proofs over a tree of tiles: that an entry is in it, and that an older tree is its beginning.

Source: RFC 6962 §2.1.1, §2.1.2; C2SP tlog-proof; `docs/formats/log.md`.
"""

import base64
from collections.abc import Iterable, Sequence

from answerable.ledger._merkle import root_hash
from answerable.ledger._tiles import Tree

__all__ = ["consistency_proof", "inclusion_proof", "is_consistent", "shared_proof", "tlog_proof"]


def inclusion_proof(tree: Tree, index: int) -> list[bytes]:
    """`PATH(index, D[n])`: the sibling hashes from the leaf to the root."""
    path, level = [], 0
    while 1 << level < tree.size:
        sibling = index ^ 1
        if sibling << level < tree.size:
            path.append(tree.node(level, sibling))
        index, level = index >> 1, level + 1
    return path


def consistency_proof(tree: Tree, old: int) -> list[bytes]:
    """`PROOF(old, D[n])`: what leads from the root of the first `old` leaves to the root of all.

    Args:
        tree: of `n` leaves.
        old: 0 to `n`; from 0 and to itself there is nothing to prove.
    """
    if old in (0, tree.size):
        return []
    return _subproof(tree, old, 0, tree.size, is_whole=True)


def _subproof(tree: Tree, m: int, start: int, end: int, *, is_whole: bool) -> list[bytes]:
    """`SUBPROOF(m, D[start:end], b)`, with `b` as `is_whole`."""
    n = end - start
    if m == n:
        return [] if is_whole else [tree.range_hash(start, end)]
    k = 1 << (n - 1).bit_length() - 1
    if m <= k:
        return [*_subproof(tree, m, start, start + k, is_whole=is_whole), tree.range_hash(start + k, end)]
    return [*_subproof(tree, m - k, start + k, end, is_whole=False), tree.range_hash(start, start + k)]


def is_consistent(*, old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the tree of `old` leaves is the beginning of the tree of `new` leaves.

    Source: RFC 9162 §2.1.4.2, whose names it keeps (`fn`, `sn`, `fr`, `sr`).
    """
    if not 0 <= old <= new:
        return False
    if old in (0, new):
        return not proof and (old_root == new_root if old else old_root == root_hash([]))
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = root_hash([c, fr]), root_hash([c, sr])
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = root_hash([sr, c])
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and fr == old_root and sr == new_root


def shared_proof(tree: Tree, leaves: Iterable[int]) -> dict[str, dict[str, str]]:
    """The nodes that lead from all these leaves to the root and do not follow from them, by level and index."""
    known, level = set(leaves), 0
    proof: dict[str, dict[str, str]] = {}
    while 1 << level < tree.size:
        missing = sorted({index ^ 1 for index in known if (index ^ 1) << level < tree.size} - known)
        if missing:
            proof[str(level)] = {str(index): tree.node(level, index).hex() for index in missing}
        known, level = {index >> 1 for index in known}, level + 1
    return proof


def tlog_proof(tree: Tree, index: int, checkpoint: str, *, extra: bytes = b"") -> str:
    """A C2SP tlog-proof, whole and to be checked offline.

    Args:
        tree: of the checkpoint's size.
        index: of the entry.
        extra: what the entry is made from; not authenticated by the proof's own format.
    """
    lines = ["c2sp.org/tlog-proof@v1"]
    if extra:
        lines.append(f"extra {base64.b64encode(extra).decode()}")
    lines.append(f"index {index}")
    lines += [base64.b64encode(node).decode() for node in inclusion_proof(tree, index)]
    return "\n".join(lines) + "\n\n" + checkpoint
