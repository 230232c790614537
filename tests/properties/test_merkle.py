"""Merkle trees grown at the edge are the trees of RFC 6962, and every leaf can be proved."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answerable.ledger import inclusion_path, leaf_hash, root_hash
from answerable.ledger._merkle import Frontier

entries = st.lists(st.binary(max_size=8), max_size=70)


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, word for word: split at the largest power of two below n."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def climb(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """RFC 9162 §2.1.3.2: the root that a path leads to."""
    fn, sn, r = index, size - 1, leaf
    for p in path:
        assert sn != 0
        if fn & 1 or fn == sn:
            r = hashlib.sha256(b"\x01" + p + r).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = hashlib.sha256(b"\x01" + r + p).digest()
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0
    return r


@pytest.mark.requirement("EV-1")
@given(entries)
def test_the_frontier_the_levels_and_the_standard_agree_on_the_root(data: list[bytes]) -> None:
    leaves = [leaf_hash(each) for each in data]

    assert Frontier.of(data).root() == root_hash(leaves) == mth(data)


@pytest.mark.requirement("EV-3")
@given(entries.filter(bool), st.data())
def test_every_leaf_has_a_path_to_the_root_and_no_other_leaf_fits_it(data: list[bytes], draw: st.DataObject) -> None:
    leaves = [leaf_hash(each) for each in data]
    index = draw.draw(st.integers(0, len(data) - 1))

    path = inclusion_path(leaves, index)

    assert climb(leaves[index], index, len(leaves), path) == mth(data)
    assert climb(leaf_hash(b"something else"), index, len(leaves), path) != mth(data)


@given(entries)
def test_a_copy_grows_without_the_original(data: list[bytes]) -> None:
    frontier = Frontier.of(data)
    before = (frontier.size, frontier.root())

    frontier.copy().append(b"more")

    assert (frontier.size, frontier.root()) == before
