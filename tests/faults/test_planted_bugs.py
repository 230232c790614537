"""Bugs planted in a copy of the source are caught: the suite is worth something.

A few, drawn by their names, on every change; all of them in `make soak`.
"""

import hashlib

import pytest

from tests.faults.planted_bugs import BUGS, ROOT, Bug, is_caught
from tests.soak import IS_SOAK

DRAWN = sorted(BUGS, key=lambda bug: hashlib.sha256(bug.name.encode()).digest())


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("bug", BUGS if IS_SOAK else DRAWN[:4], ids=lambda bug: bug.name)
def test_a_planted_bug_is_caught(bug: Bug) -> None:
    assert is_caught(bug), f"no test fails although {bug.name}"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_source_still_has_the_place_for_every_bug(bug: Bug) -> None:
    assert (ROOT / "src" / bug.file).read_text().count(bug.right) == 1


def test_every_bug_has_a_name_of_its_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 10
