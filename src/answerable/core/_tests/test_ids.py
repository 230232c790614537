"""Identifiers: their shape, and their order."""

import re
import time

from answerable.core import new_run_id


def test_a_run_id_begins_with_the_second_it_was_made_in_and_nobody_guesses_the_rest() -> None:
    before = int(time.time())
    runs = [new_run_id() for _ in range(1000)]
    after = int(time.time())

    assert all(re.fullmatch("run_[0-9a-f]{24}", run) for run in runs)
    assert all(before <= int(run[4:12], 16) <= after for run in runs)
    assert len({run[12:] for run in runs}) == 1000
