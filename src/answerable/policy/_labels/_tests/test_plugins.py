"""Recognisers beside ours are found, or the gate stays shut."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from answerable.policy import Cloak, PersonalRule, Recogniser, load_recognisers, read_labels
from answerable.policy._labels._plugins import RecogniserUnusable
from answerable.policy._labels._recognise import Found

pytestmark = pytest.mark.requirement("GV-5")


def of_people(*names: str) -> Recogniser:
    def find(text: str) -> Iterator[Found]:
        for match in re.finditer("|".join(names), text):
            yield Found(match.start(), match.end(), "person", match[0])

    return find


def test_what_a_recogniser_of_others_finds_is_hidden_and_put_back() -> None:
    cloak = Cloak(rule=PersonalRule(mode="tokenise"), name=lambda said: said.ljust(32), further=[of_people("Dana Lee")])

    hidden = cloak.hide("Dana Lee, dana@example.com")

    assert re.fullmatch(r"\[person#[0-9a-f]{8}\], \[email#[0-9a-f]{8}\]", hidden)
    assert cloak.reveal(hidden) == "Dana Lee, dana@example.com"


def test_kinds_of_others_can_be_named_where_recognisers_are(tmp_path: Path) -> None:
    (tmp_path / "labels.toml").write_text(
        'recognisers = ["presidio"]\n[tools.x]\npersonal = "redact"\nkinds = ["person"]'
    )
    rule = read_labels(tmp_path / "labels.toml").personal["x"]

    cloak = Cloak(rule=rule, name=bytes, further=[of_people("Dana")])

    assert cloak.hide("Dana, dana@example.com") == "[person], dana@example.com"


def test_a_recogniser_that_nobody_brings_is_an_error_that_says_so() -> None:
    with pytest.raises(RecogniserUnusable, match="nothing installed brings it"):
        load_recognisers(["nobody"])
