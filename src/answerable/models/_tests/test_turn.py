"""What a model that was never taught tools is asked, and how its words become a dialect's answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answerable.models._chat_turn import ChatAnswer, chat_turn
from answerable.models._messages_turn import MessagesAnswer, messages_turn
from answerable.models._reply import check_schema, parse_reply
from answerable.models._sse import SseReader
from answerable.models._turn import Call, Heard, Line, Offer, Turn, Unaskable

LOOK = Offer(
    name="shop.look",
    description="Look up an order\nand more",
    schema={
        "type": "object",
        "properties": {"note": {"type": "string"}, "order": {"$ref": "#/$defs/Order"}},
        "required": ["order"],
        "$defs": {"Order": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}},
    },
)
BAN = Offer(name="shop.ban", description="", schema={"type": "object", "properties": {}})
ASKED = Line(role="user", text="What of order 1001?")
CALLED = Line.of_call("shop.look", {"order": {"id": "1001"}})
RESULT = Line.of_result("shop.look", "it is fine")


def turn(*lines: Line, **more: Any) -> Turn:
    return Turn(lines=lines or (ASKED,), max_tokens=50, **more)


def schema_of(asked: Turn) -> Any:
    return asked.question()["response_format"]["json_schema"]["schema"]


def test_tools_are_offered_as_a_schema_of_the_reply_with_each_tools_own_arguments() -> None:
    schema = schema_of(turn(tools=(LOOK, BAN)))

    check_schema(schema)
    for fits in (
        '{"tool": "shop.look", "arguments": {"order": {"id": "1"}}}',
        '{"tool": "shop.ban", "arguments": {}}',
        '{"answer": "fine"}',
    ):
        assert parse_reply(fits, schema) == json.loads(fits)
    for misfit in (
        '{"tool": "shop.look", "arguments": {"order": "1"}}',
        '{"tool": "shop.look", "arguments": {"order": {"id": "1", "made": "up"}}}',
        '{"tool": "shop.drop", "arguments": {}}',
        '{"tool": "shop.ban", "arguments": {"made": "up"}}',
        '{"answer": 3}',
    ):
        with pytest.raises(ValueError):
            parse_reply(misfit, schema)


def test_properties_are_asked_for_in_the_order_of_what_is_required_however_the_schema_was_sorted() -> None:
    plan = {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "required": ["c", "a"]}

    assert list(schema_of(turn(schema=plan))["properties"]) == ["c", "a", "b"]


def test_the_model_is_told_its_tools_in_one_system_message_after_the_agents_own() -> None:
    system = Line(role="system", text="You work in a shop.")

    messages = turn(system, ASKED, tools=(LOOK,)).question()["messages"]

    assert [message["role"] for message in messages] == ["system", "user"]
    assert messages[0]["content"].startswith("You work in a shop.\n\nYou have these tools:\n- shop.look(")
    assert "and more" not in messages[0]["content"]


def test_a_tool_is_offered_once_for_a_question() -> None:
    called = turn(ASKED, CALLED, RESULT, tools=(LOOK, BAN))
    asked_again = turn(ASKED, CALLED, RESULT, Line(role="assistant", text="Fine."), ASKED, tools=(LOOK, BAN))

    assert [tool.name for tool in called.offered] == ["shop.ban"]
    assert [tool.name for tool in asked_again.offered] == ["shop.look", "shop.ban"]


def test_when_every_tool_was_called_the_model_answers_unless_it_must_call() -> None:
    lines = (ASKED, CALLED, RESULT)

    free, bound = turn(*lines, tools=(LOOK,)), turn(*lines, tools=(LOOK,), may_answer=False)

    assert "response_format" not in free.question()
    assert [tool.name for tool in bound.offered] == ["shop.look"]


def cut(text: str, cuts: list[int]) -> list[str]:
    places = sorted({each % (len(text) + 1) for each in cuts})
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.lists(st.integers(0, 400), max_size=12))
def test_an_answer_inside_json_comes_out_as_it_was_however_its_words_are_cut(answer: str, cuts: list[int]) -> None:
    heard = Heard(turn(tools=(LOOK,)))

    parts = [heard.feed(part) for part in cut(json.dumps({"answer": answer}), cuts)]

    assert "".join([*parts, heard.end()]) == answer == heard.text
    assert heard.call is None


@given(st.lists(st.integers(0, 400), max_size=12))
def test_a_call_is_heard_when_it_is_whole_and_nothing_of_it_before(cuts: list[int]) -> None:
    heard = Heard(turn(tools=(LOOK,)))

    parts = [heard.feed(part) for part in cut(CALLED.text, cuts)]

    assert "".join([*parts, heard.end()]) == ""
    assert heard.call == Call(name="shop.look", arguments={"order": {"id": "1001"}})


@pytest.mark.parametrize("words", ["", "{", '{"tool": "shop.look"', '{"tool": "shop.look", "arguments": {"order": {'])
def test_a_call_that_was_cut_off_is_no_call(words: str) -> None:
    heard = Heard(turn(tools=(LOOK,)))

    assert heard.feed(words) + heard.end() == ""
    assert heard.call is None


def test_an_answer_that_was_cut_off_is_as_much_as_there_was() -> None:
    heard = Heard(turn(tools=(LOOK,)))

    assert heard.feed('{"answer": "It is fi') + heard.end() == "It is fi"


CHAT = {
    "model": "m",
    "max_tokens": 9,
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What of it?"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "fine"},
    ],
    "tools": [{"type": "function", "function": {"name": "look"}}, {"type": "function", "function": {"name": "ban"}}],
}
MESSAGES = {
    "model": "m",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": "What of it?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {"a": 1}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "fine"}]}],
        },
    ],
    "tools": [
        {"name": "look", "input_schema": {"type": "object", "properties": {}}},
        {"name": "ban", "input_schema": {}},
    ],
}


def test_both_dialects_ask_the_same_of_the_model() -> None:
    chat, messages = chat_turn(CHAT), messages_turn(MESSAGES)

    assert chat.lines == messages.lines
    assert [line.role for line in chat.lines] == ["system", "user", "assistant", "user"]
    assert chat.lines[3] == Line.of_result("look", "fine")
    assert [tool.name for tool in chat.offered] == [tool.name for tool in messages.offered] == ["ban"]


@pytest.mark.parametrize(
    ("choice", "offered", "may_answer"),
    [
        ("none", [], True),
        ("auto", ["ban"], True),
        ("required", ["ban"], False),
        ({"type": "function", "function": {"name": "look"}}, ["look"], False),
    ],
)
def test_a_tool_choice_is_kept(choice: Any, offered: list[str], may_answer: bool) -> None:
    theirs = {"none": "none", "auto": "auto", "required": "any"}
    other = {"type": theirs[choice]} if isinstance(choice, str) else {"type": "tool", "name": "look"}

    for asked in (chat_turn({**CHAT, "tool_choice": choice}), messages_turn({**MESSAGES, "tool_choice": other})):
        assert [tool.name for tool in asked.offered] == offered
        assert asked.may_answer == may_answer


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"tool_choice": {"type": "function", "function": {"name": "unknown"}}},
        {"messages": [{"role": "oracle", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]},
        {"messages": [{"content": "x"}]},
        {"messages": [3]},
        {"tools": [{"type": "custom", "custom": {"name": "x"}}]},
        {"response_format": {"type": "json_schema"}},
    ],
)
def test_what_the_model_does_not_do_in_chat_completions_is_said(more: dict[str, Any]) -> None:
    with pytest.raises(Unaskable):
        chat_turn({**CHAT, **more})


@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": {"type": "tool", "name": "unknown"}},
        {"messages": [{"role": "oracle", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
        {"messages": [{"role": "user"}]},
        {"system": [{"type": "image"}]},
        {"tools": [{"type": "bash_20250124", "name": "bash"}]},
    ],
)
def test_what_the_model_does_not_do_in_messages_is_said(more: dict[str, Any]) -> None:
    with pytest.raises(Unaskable):
        messages_turn({**MESSAGES, **more})


def heard_of(words: str) -> Heard:
    heard = Heard(turn(tools=(LOOK,)))
    heard.feed(words)
    heard.end()
    return heard


def test_a_whole_answer_and_a_stream_carry_the_same_call_and_the_same_counts() -> None:
    heard = heard_of(CALLED.text)
    chat, message = ChatAnswer("id", model="m", at=0), MessagesAnswer("id", model="m", at=0)
    counts: dict[str, Any] = {"finish": "stop", "read": 11, "written": 7}

    choice = json.loads(chat.whole(heard, **counts))["choices"][0]
    events = [event.json() for event in SseReader().feed(chat.ends(heard, **counts)) if event.data != b"[DONE]"]
    block = json.loads(message.whole(heard, **counts))["content"][0]
    parts = [event.json() for event in SseReader().feed(message.ends(heard, **counts))]

    assert choice["finish_reason"] == events[1]["choices"][0]["finish_reason"] == "tool_calls"
    [call] = events[0]["choices"][0]["delta"]["tool_calls"]
    assert {key: call[key] for key in call if key != "index"} == choice["message"]["tool_calls"][0]
    assert events[2]["usage"] == {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    assert block == {"type": "tool_use", "id": "toolu_id", "name": "shop.look", "input": {"order": {"id": "1001"}}}
    assert json.loads(parts[1]["delta"]["partial_json"]) == block["input"]
    assert parts[3]["delta"]["stop_reason"] == "tool_use"
    assert parts[3]["usage"] == {"input_tokens": 11, "output_tokens": 7}


def test_an_answer_that_ran_out_of_tokens_says_so_in_each_dialect() -> None:
    heard = heard_of('{"answer": "It is fi')
    counts: dict[str, Any] = {"finish": "length", "read": 11, "written": 7}

    chat = json.loads(ChatAnswer("id", model="m", at=0).whole(heard, **counts))
    message = json.loads(MessagesAnswer("id", model="m", at=0).whole(heard, **counts))

    assert (chat["choices"][0]["message"]["content"], chat["choices"][0]["finish_reason"]) == ("It is fi", "length")
    assert (message["content"], message["stop_reason"]) == ([{"type": "text", "text": "It is fi"}], "max_tokens")
