"""Personal data is hidden on the way out and put back on the way in, wherever a stream is cut."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answerable.policy import Cloak, PersonalDataBlocked, PersonalRule

pytestmark = pytest.mark.requirement("GV-5")
CARD, MAIL = "4111 1111 1111 1111", "dana@example.com"


def a_cloak(mode: Any = "tokenise", *kinds: str) -> Cloak:
    rule = PersonalRule(mode=mode, kinds=frozenset(kinds))
    return Cloak(rule=rule, name=lambda value: hashlib.sha256(value).digest())


def test_what_is_redacted_is_gone_and_the_rest_stays() -> None:
    said = {"to": [MAIL], "text": f"pay with {CARD}, please", "n": 3, "ok": True}

    assert a_cloak("redact").hide(said) == {"to": ["[email]"], "text": "pay with [card], please", "n": 3, "ok": True}
    assert a_cloak("redact", "card").hide(said) == {**said, "text": "pay with [card], please"}


def test_a_token_stands_for_the_same_value_everywhere_and_is_put_back() -> None:
    cloak = a_cloak()

    first, second, other = cloak.hide([f"it is {CARD}", CARD, MAIL])

    assert CARD not in first
    assert first == f"it is {second}" != other
    assert cloak.reveal({"said": [f"charge {second} and tell {other}"]}) == {"said": [f"charge {CARD} and tell {MAIL}"]}
    assert cloak.reveal("charge [card#00000000]") == "charge [card#00000000]"
    assert a_cloak().reveal(second) == second


def test_what_must_not_leave_is_refused_by_kind_without_the_value() -> None:
    with pytest.raises(PersonalDataBlocked) as refused:
        a_cloak("block").check("mail.send", {"text": f"{MAIL} {CARD}"})

    assert "card, email" in refused.value.message
    assert CARD not in json.dumps(refused.value.to_json())
    a_cloak("block", "iban").check("mail.send", {"text": CARD})


def test_a_value_in_the_arguments_of_a_tool_call_is_put_back_as_json() -> None:
    cloak = a_cloak()
    key = "-----BEGIN PRIVATE KEY-----\nMIIabc\n"
    token = cloak.hide(key)

    answer = {"function": {"arguments": json.dumps({"key": token})}, "text": token}
    said = json.loads(cloak.reveal_body(json.dumps(answer).encode()))

    assert json.loads(said["function"]["arguments"]) == {"key": key}
    assert said["text"] == key


def chat(piece: str) -> bytes:
    return _event({"id": "c", "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})


def chat_call(piece: str) -> bytes:
    call = {"index": 0, "function": {"arguments": piece}}
    return _event({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]})


def message(piece: str) -> bytes:
    delta = {"type": "text_delta", "text": piece}
    return b"event: content_block_delta\n" + _event({"type": "content_block_delta", "index": 1, "delta": delta})


def _event(said: Any) -> bytes:
    return b"data: " + json.dumps(said).encode() + b"\n\n"


def texts_of(stream: bytes) -> str:
    told = ""
    lines = [line for line in stream.split(b"\n") if line.startswith(b"data:") and line != b"data: [DONE]"]
    for each in map(json.loads, (line[5:] for line in lines)):
        for choice in each.get("choices", ()):
            told += choice["delta"].get("content", "")
            told += "".join(call["function"]["arguments"] for call in choice["delta"].get("tool_calls", ()))
        told += each.get("delta", {}).get("text", "")
    return told


@pytest.mark.parametrize("event", [chat, chat_call, message])
@given(cuts=st.lists(st.integers(0, 120), max_size=8))
def test_a_token_is_put_back_wherever_the_stream_is_cut(event: Callable[[str], bytes], cuts: list[int]) -> None:
    cloak = a_cloak()
    text = f'["x", [] charge {cloak.hide(CARD)} [not one] and {cloak.hide(MAIL)}[ca'
    ends = sorted({min(cut, len(text)) for cut in cuts})
    pieces = [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]

    out = b"".join(cloak.reveal_events(event(piece)) for piece in pieces)
    out += cloak.reveal_events(b"data: [DONE]\n\n")

    assert texts_of(out) == f'["x", [] charge {CARD} [not one] and {MAIL}[ca'
    assert out.endswith(b"data: [DONE]\n\n")


def test_a_stream_without_tokens_passes_byte_for_byte() -> None:
    cloak = a_cloak()
    cloak.hide(CARD)
    stream = chat("no token") + b": a comment\n\n" + message("nor here") + b"data: [DONE]\n\n"

    assert cloak.reveal_events(stream) == stream
    assert a_cloak("redact").reveal_events(chat("[card]")) == chat("[card]")
