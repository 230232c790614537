"""The collector's pace is the gate's while a gate is open, and nobody's business after."""

import gc
from collections.abc import Iterator

import pytest

from answerable.app._collecting import fewer_collections


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_garbage_is_looked_for_less_often_while_a_gate_is_open_and_as_before_afterwards() -> None:
    with fewer_collections():
        assert gc.get_threshold() == (20_000, 10, 10)

    assert gc.get_threshold() == (700, 10, 10)


def test_a_gate_that_fails_leaves_the_collector_as_it_was() -> None:
    with pytest.raises(OSError, match="full"), fewer_collections():
        raise OSError("full")

    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("chosen", [(0, 10, 10), (50_000, 5, 5)])
def test_a_process_that_has_chosen_its_own_pace_keeps_it(chosen: tuple[int, int, int]) -> None:
    gc.set_threshold(*chosen)

    with fewer_collections():
        assert gc.get_threshold() == chosen

    assert gc.get_threshold() == chosen
