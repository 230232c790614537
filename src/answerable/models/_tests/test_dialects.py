"""Dialects: bytes pass as they came, however they were cut; what is refused never gets through in part."""

import asyncio
import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answerable.models._chat import ChatDialect
from answerable.models._dialects import Answer, Dialect, NotGoverned
from answerable.models._messages import MessagesDialect
from answerable.models._sse import SseReader

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


async def permit(name: str, arguments: bytes) -> str | None:
    return None


async def refuse(name: str, arguments: bytes) -> str | None:
    return f"[refused {name}]"


def passed(dialect: Dialect, stream: bytes, cuts: list[int], check: Any = permit) -> tuple[bytes, Answer]:
    answer = dialect.answer(check, dialect.asked(BODY, model="m", most_output=10))
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    reader, out = SseReader(), b""

    async def run() -> None:
        nonlocal out
        for start, end in itertools.pairwise(edges):
            for item in reader.feed(stream[start:end]):
                out += await answer.event(item)

    asyncio.run(run())
    return out, answer


def chat(*deltas: dict[str, Any], ends: str = "stop", done: bool = True, line: bytes = b"\n") -> bytes:
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": ends}]})
    raw = [b"data: " + json.dumps(chunk).encode() + line * 2 for chunk in chunks]
    return b"".join([b": a comment" + line * 2, *raw, b"data: [DONE]" + line * 2 if done else b""])


def call(index: int, name: str, arguments: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "id": "c", "function": {"name": name, "arguments": arguments}}]}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(max_size=8), max_size=5),
    st.lists(st.integers(0, 4000), max_size=12),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_a_chat_stream_passes_byte_for_byte_however_it_is_cut(texts: list[str], cuts: list[int], line: bytes) -> None:
    stream = chat(*({"content": text} for text in texts), call(0, "look", "{}"), ends="tool_calls", line=line)

    out, answer = passed(ChatDialect(), stream, cuts)

    assert out == stream
    assert answer.is_whole


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4000), max_size=12))
def test_not_a_byte_of_a_refused_call_gets_through_however_it_is_cut(cuts: list[int]) -> None:
    stream = chat({"content": "Hm. "}, call(0, "pay_out", ""), call(0, "", '{"to":"mallory"}'), ends="tool_calls")

    out, answer = passed(ChatDialect(), stream, cuts, refuse)

    assert b"mallory" not in out
    assert b"[refused pay_out]" in out
    assert b'"finish_reason":"stop"' in out
    assert answer.is_whole


def test_calls_of_a_stream_that_ends_without_a_finish_are_never_passed_on() -> None:
    stream = chat({"content": "Hm. "}, call(0, "pay_out", "{}"), ends="", done=True)

    out, answer = passed(ChatDialect(), stream, [])

    assert b"pay_out" not in out
    assert not answer.is_whole


def test_a_finish_in_the_same_chunk_as_its_call_is_held_with_it() -> None:
    chunk = {"choices": [{"index": 0, "delta": call(0, "pay_out", "{}"), "finish_reason": "tool_calls"}]}
    stream = b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n"

    allowed, _ = passed(ChatDialect(), stream, [])
    refused, _ = passed(ChatDialect(), stream, [], refuse)

    assert allowed == stream
    assert b"[refused pay_out]" in refused
    assert b"tool_calls" not in refused


def test_choices_are_held_apart() -> None:
    def chunk(index: int, delta: dict[str, Any], ends: str | None = None) -> bytes:
        said = {"choices": [{"index": index, "delta": delta, "finish_reason": ends}]}
        return b"data: " + json.dumps(said).encode() + b"\n\n"

    stream = b"".join(
        [
            chunk(0, call(0, "pay_out", "{}")),
            chunk(1, {"content": "free"}),
            chunk(1, {}, "stop"),
            chunk(0, {}, "tool_calls"),
            b"data: [DONE]\n\n",
        ]
    )

    out, answer = passed(ChatDialect(), stream, [], refuse)

    assert out.index(b"free") < out.index(b"[refused pay_out]")
    assert answer.is_whole


def test_a_message_block_that_never_stops_is_never_passed_on() -> None:
    block = {"type": "tool_use", "id": "t", "name": "pay_out", "input": {}}
    said: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "message_stop"},
    ]
    stream = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in said)

    out, answer = passed(MessagesDialect(), stream, [])

    assert b"pay_out" not in out
    assert not answer.is_whole


@pytest.mark.parametrize(
    "more",
    [{"functions": []}, {"tools": [{"type": "web_search"}]}, {"n": 0}, {"max_tokens": "many"}, {"messages": "hi"}],
)
def test_a_chat_request_that_cannot_be_governed_is_not_sent(more: dict[str, Any]) -> None:
    with pytest.raises(NotGoverned):
        ChatDialect().asked({**BODY, **more}, model="m", most_output=10)


@pytest.mark.parametrize("kind", ["bash_20250124", "custom", "text_editor_20250728"])
def test_tools_that_the_agent_runs_may_be_offered(kind: str) -> None:
    asked = MessagesDialect().asked({**BODY, "tools": [{"type": kind, "name": "x"}]}, model="m", most_output=10)

    assert asked.most_output == 10
