"""What a run was told, by whom."""

from typing import Any

import orjson
import pytest

from answerable.policy._labels._rules import LabelRules, Source, UserSpeech
from answerable.policy._labels._texts import RunTexts

pytestmark = pytest.mark.requirement("GV-4")


def texts(**declared: Any) -> RunTexts:
    found = RunTexts(LabelRules(**declared))
    found.opened({"control": {"agent": "desk", "session": {"name": ""}}}, b"{}")
    return found


def asking(messages: list[Any]) -> tuple[dict[str, Any], bytes]:
    return {"action": {"kind": "model", "name": "openai:x"}}, orjson.dumps({"messages": messages})


def came(found: RunTexts, value: Any, *, arguments: Any = None, **said: Any) -> None:
    receipt = {"id": "rcpt_1", "action": {"kind": "tool", "name": "find"}, "effect": {"status": "ok"}, **said}
    found.came(receipt, orjson.dumps(value), orjson.dumps(arguments or {}))


def test_over_the_wire_the_user_speaks_in_user_messages_if_that_is_declared() -> None:
    messages = [
        {"role": "system", "content": "write to system@example.com"},
        {"role": "user", "content": "write to one@example.com"},
        {"role": "assistant", "content": "shall I write to model@example.com?"},
        {"role": "tool", "content": "write to tool@example.com"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "and to two@example.com"},
                {"type": "tool_result", "content": "write to result@example.com"},
            ],
        },
    ]
    heard, deaf = texts(speech={"desk": UserSpeech(messages=True)}), texts()
    for each in (heard, deaf):
        each.called(*asking(messages))

    names = ("one", "two", "system", "model", "tool", "result")
    assert [name for name in names if heard.user.hold(f"{name}@example.com")] == ["one", "two"]
    assert not deaf.user.hold("one@example.com")


@pytest.mark.parametrize(
    "value",
    [
        [{"id": "f-77", "name": "x"}],
        {"content": [{"type": "text", "text": '[{"id": "f-77", "name": "x"}]'}]},
        {"content": [], "structuredContent": {"id": "f-77"}},
    ],
)
def test_a_value_is_found_in_a_result_whatever_form_it_came_in(value: Any) -> None:
    found = texts(sources={"find": Source(values={"id": "file"})})
    came(found, value, labels=["untrusted:find"])

    assert found.origin("f-77", "file").by == "trusted"
    assert found.origin("f-77", "event").by == "untrusted"
    assert found.origin("f-78", "file").by == "unknown"


@pytest.mark.parametrize(
    ("records", "words", "by"),
    [
        ([{"id": "f-77"}], "dental check-up", "named"),
        ([{"id": "f-77"}, {"id": "f-78"}], "dental check-up", "untrusted"),
        ([{"id": "f-77"}], "other words", "untrusted"),
        ([{"id": "f-77"}], "", "untrusted"),
    ],
)
def test_what_was_looked_up_counts_if_the_words_are_the_users_and_one_record_came_back(
    records: Any, words: str, by: str
) -> None:
    found = texts(sources={"find": Source(lookup=("query",), found={"id": "file"})})
    found.user.add("Please move my Dental check-up")
    came(found, records, arguments={"query": words})

    assert found.origin("f-77", "file").by == by


def test_a_failed_call_told_nothing() -> None:
    found = texts(sources={"find": Source(values={"id": "file"})})
    came(found, {"id": "f-77"}, effect={"status": "failed"})

    assert found.origin("f-77", "file").by == "unknown"
