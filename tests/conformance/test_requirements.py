"""The manifest of requirements and the tests say the same, in both directions."""

import re
from pathlib import Path

import pytest

from tests.conformance.manifest import MANIFEST, Requirement, marked_tests, read_manifest, regenerated, write_manifest

_ROWS = read_manifest()


def test_every_test_named_in_the_manifest_exists_and_carries_the_mark() -> None:
    marked = marked_tests()

    stray = {name: sorted(set(row.tests) - marked.get(name, set())) for name, row in _ROWS.items()}

    assert {name: tests for name, tests in stray.items() if tests} == {}, "run `make regenerate`"


def test_every_marked_test_is_in_the_manifest() -> None:
    listed = {(name, test) for name, row in _ROWS.items() for test in row.tests}

    missing = {(name, test) for name, tests in marked_tests().items() for test in tests} - listed

    assert missing == set(), "run `make regenerate`"


@pytest.mark.parametrize("row", _ROWS.values(), ids=_ROWS)
def test_a_requirement_says_what_shows_it_or_why_nothing_does(row: Requirement) -> None:
    assert re.fullmatch(r"[A-Z]{2}-[1-9][0-9]?", row.id)
    assert row.need
    assert row.status in ("open", "partial", "shown")
    assert bool(row.tests) == (row.status != "open")
    assert bool(row.reason) == (row.status != "shown")


def test_writing_what_was_read_changes_nothing(tmp_path: Path) -> None:
    write_manifest(_ROWS, tmp_path / "again.toml")

    assert (tmp_path / "again.toml").read_text() == MANIFEST.read_text()


def test_an_open_requirement_that_gains_a_test_becomes_partial_and_keeps_its_reason() -> None:
    before = {"RT-1": Requirement(id="RT-1", need="runs survive", status="open", reason="one machine only")}

    after = regenerated(before, {"RT-1": {"tests/test_a.py::test_b"}})["RT-1"]

    assert (after.status, after.reason) == ("partial", "one machine only")
    assert after.tests == ("tests/test_a.py::test_b",)
