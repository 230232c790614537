"""Trees read through tiles give the same roots and proofs as trees held whole, and the proofs hold."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answerable.ledger import (
    WIDTH,
    Tree,
    consistency_proof,
    inclusion_path,
    inclusion_proof,
    is_consistent,
    leaf_hash,
    root_hash,
    tile_path,
    tlog_proof,
)
from answerable.ledger._proofs import shared_proof
from answerable_verify import _tree

ENTRIES = [number.to_bytes(32, "big") for number in range(70_000)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
SIZES = [1, 2, 3, 5, 8, 13, 31, 64, 100, 255, 256, 257, 511, 513, 1000]


class Held:
    """Tiles of a log that is all in memory; it counts those that are asked for."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.levels = [list(leaves)]
        while len(below := self.levels[-1]) >= WIDTH:
            full = range(0, len(below) - WIDTH + 1, WIDTH)
            self.levels.append([root_hash(below[start : start + WIDTH]) for start in full])
        self.asked = 0

    def tile(self, level: int, index: int, width: int) -> bytes:
        self.asked += 1
        return b"".join(self.levels[level][index * WIDTH : index * WIDTH + width])


HELD = Held(LEAVES)


@pytest.mark.parametrize(
    ("index", "width", "path"),
    [
        (0, WIDTH, "tile/0/000"),
        (999, WIDTH, "tile/0/999"),
        (1000, WIDTH, "tile/0/x001/000"),
        (1234067, WIDTH, "tile/0/x001/x234/067"),
        (273, 112, "tile/0/273.p/112"),
    ],
)
def test_a_tile_lies_where_the_standard_says(index: int, width: int, path: str) -> None:
    assert tile_path(0, index, width) == path


@pytest.mark.parametrize("size", [*SIZES, 65536, 65537, 70_000])
def test_the_root_through_tiles_is_that_of_the_leaves(size: int) -> None:
    assert Tree(HELD, size).root() == root_hash(LEAVES[:size])


@given(st.integers(1, 70_000).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))))
def test_an_inclusion_proof_through_tiles_is_the_path_of_the_whole_tree(case: tuple[int, int]) -> None:
    size, index = case

    proof = inclusion_proof(Tree(HELD, size), index)

    assert proof == inclusion_path(LEAVES[:size], index)


def test_a_proof_in_a_long_log_reads_a_tile_a_level_of_tiles() -> None:
    held = Held(LEAVES)

    inclusion_proof(Tree(held, 70_000), 12_345)

    assert held.asked <= 6  # three levels of tiles, on the way of the leaf and at the right edge


@pytest.mark.requirement("EV-2")
@given(st.integers(0, 2000).flatmap(lambda size: st.tuples(st.integers(0, size), st.just(size))))
def test_a_consistency_proof_holds_for_its_two_trees_by_both_implementations(case: tuple[int, int]) -> None:
    old, new = case
    roots = {"old_root": root_hash(LEAVES[:old]), "new_root": root_hash(LEAVES[:new])}

    proof = consistency_proof(Tree(HELD, new), old)

    assert is_consistent(old=old, new=new, proof=proof, **roots)
    _tree.check_consistency(old=old, new=new, proof=proof, **roots)


@pytest.mark.requirement("EV-2")
@given(st.integers(2, 600).flatmap(lambda size: st.tuples(st.integers(1, size - 1), st.just(size))), st.data())
def test_a_consistency_proof_of_another_history_is_refused_by_both_implementations(
    case: tuple[int, int], data: st.DataObject
) -> None:
    old, new = case
    changed: int = data.draw(st.integers(0, old - 1))
    rewritten = [leaf_hash(b"x") if index == changed else leaf for index, leaf in enumerate(LEAVES[:new])]
    proof = consistency_proof(Tree(Held(rewritten), new), old)
    roots = {"old_root": root_hash(LEAVES[:old]), "new_root": root_hash(rewritten)}

    assert not is_consistent(old=old, new=new, proof=proof, **roots)
    with pytest.raises(_tree.BadProof):
        _tree.check_consistency(old=old, new=new, proof=proof, **roots)


@given(st.integers(2, 300).flatmap(lambda size: st.tuples(st.integers(1, size), st.just(size))), st.data())
def test_a_consistency_proof_cut_lengthened_or_altered_is_refused_by_both(
    case: tuple[int, int], data: st.DataObject
) -> None:
    old, new = case
    roots = {"old_root": root_hash(LEAVES[:old]), "new_root": root_hash(LEAVES[:new])}
    proof = consistency_proof(Tree(HELD, new), old)
    altered = [*proof, LEAVES[0]]
    if proof and data.draw(st.sampled_from([True, False])):
        place = data.draw(st.integers(0, len(proof) - 1))
        altered = proof[:place] + data.draw(st.sampled_from([[], [LEAVES[-1]]])) + proof[place + 1 :]

    assert not is_consistent(old=old, new=new, proof=altered, **roots)
    with pytest.raises(_tree.BadProof):
        _tree.check_consistency(old=old, new=new, proof=altered, **roots)


@pytest.mark.parametrize("size", SIZES)
def test_the_shared_proof_leads_every_choice_of_leaves_to_the_root_and_holds_no_more(size: int) -> None:
    root = root_hash(LEAVES[:size])

    for chosen in ({0}, {size - 1}, set(range(size)), set(range(0, size, 3)), {size // 2, size - 1}):
        proof = shared_proof(Tree(HELD, size), chosen)
        nodes = {(int(level), int(i)): bytes.fromhex(node) for level, row in proof.items() for i, node in row.items()}
        leaves = [(index, LEAVES[index]) for index in sorted(chosen)]

        assert _tree.shared_root(leaves, size=size, nodes=nodes) == root
        if size <= 100:
            paths = {node for index in chosen for node in inclusion_path(LEAVES[:size], index)}
            assert set(nodes.values()) <= paths
        for one in list(nodes)[:20]:
            with pytest.raises(_tree.BadProof):
                _tree.shared_root(leaves, size=size, nodes={key: node for key, node in nodes.items() if key != one})
        with pytest.raises(_tree.BadProof):
            _tree.shared_root(leaves, size=size, nodes={**nodes, (40, 7): bytes(32)})


def test_a_tlog_proof_is_written_as_the_standard_writes_it() -> None:
    note = "example.com/log\n3\nx\n\n— example.com/log y\n"

    text = tlog_proof(Tree(HELD, 3), 0, note, extra=b"e")

    head, _, checkpoint = text.partition("\n\n")
    assert head.split("\n")[:3] == ["c2sp.org/tlog-proof@v1", "extra ZQ==", "index 0"]
    assert len(head.split("\n")) == 3 + len(inclusion_path(LEAVES[:3], 0))
    assert checkpoint == note
