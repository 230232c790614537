"""Sources and sinks are read whole, or the gate stays shut."""

from pathlib import Path
from typing import Any

import pytest

from answerable.policy import LabelsInvalid, Sink, Source, UserSpeech, read_labels
from answerable.policy._labels._rules import LabelRules, PersonalRule, values_at

ALL = """
[tools."mail.send"]
critical = { recipients = "address", "attachments.file_id" = "file" }
content = ["subject", "body"]

[tools."calendar.find"]
records = "result"
names = ["title"]
named = { id = "event", participants = "address" }

[tools."contacts.find"]
trusted = true
values = { email = "address" }

[models."openai:*"]
personal = "tokenise"
kinds = ["card", "iban"]

[agents.desk]
messages = true
"""


def test_what_stands_in_the_file_is_declared(tmp_path: Path) -> None:
    (tmp_path / "labels.toml").write_text(ALL)

    rules = read_labels(tmp_path / "labels.toml")

    assert rules == LabelRules(
        sources={
            "calendar.find": Source(
                records="result", names=("title",), named={"id": "event", "participants": "address"}
            ),
            "contacts.find": Source(trusted=True, values={"email": "address"}),
        },
        sinks={
            "mail.send": Sink(
                critical={"recipients": "address", "attachments.file_id": "file"}, content=("subject", "body")
            )
        },
        speech={"desk": UserSpeech(messages=True)},
        personal={"model:openai:*": PersonalRule(mode="tokenise", kinds=frozenset({"card", "iban"}))},
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[tools", "cannot be read"),
        ("[tool.x]", "says `tool`"),
        ("[tools.x]\ncritcal = {}", "says `critcal`"),
        ("[tools.x]\ncritical = ['to']", "is no table"),
        ("[tools.x]\ncritical = { to = 3 }", "is no text"),
        ("[tools.x]\nkeeps = 'yes'", "neither true nor false"),
        ("[tools.x]\nnamed = { id = 'file' }", "no `names`"),
        ("[tools.x]\npersonal = 'hide'", "none of"),
        ("[tools.x]\npersonal = 'block'\nkinds = ['names']", "no kind"),
        ("[tools.x]\nkinds = ['card']", "none of"),
        ("[agents.x]\nrequest = 'input'", "says `request`"),
    ],
)
def test_what_has_no_meaning_is_refused_with_where_it_stands(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "labels.toml").write_text(text)

    with pytest.raises(LabelsInvalid, match=problem):
        read_labels(tmp_path / "labels.toml")


def test_what_names_no_tool_argument_or_agent_is_told() -> None:
    tools: dict[str, Any] = {"mail.send": {"properties": {"to": {}, "body": {}}}}

    def misfit(**declared: object) -> str:
        return LabelRules(**declared).misfit(tools, agents=["desk"])  # type: ignore[arg-type]

    assert misfit(sinks={"mail.send": Sink(critical={"to": "address"})}, speech={"desk": UserSpeech()}) == ""
    assert misfit(sinks={"mail.sent": Sink()}) == "there is no tool `mail.sent`"
    assert misfit(sources={"mail.find": Source()}) == "there is no tool `mail.find`"
    assert misfit(sinks={"mail.send": Sink(content=("text",))}) == "`mail.send` has no argument `text`"
    assert misfit(speech={"clerk": UserSpeech()}) == "there is no agent `clerk`"


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("a", [1, 2]),
        ("b.c", [3, 4]),
        ("b.d", [5]),
        ("x", []),
        ("a.x", []),
    ],
)
def test_a_path_goes_through_lists(path: str, values: list[object]) -> None:
    said = {"a": [1, 2], "b": [{"c": 3}, {"c": 4, "d": 5}]}

    found = list(values_at(said, path))

    assert found == values


def test_a_dot_is_the_value_itself() -> None:
    assert list(values_at("DE89", ".")) == ["DE89"]
    assert list(values_at([{"a": 1}, {"a": 2}], "")) == [{"a": 1}, {"a": 2}]
