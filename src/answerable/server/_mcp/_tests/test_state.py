from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answerable.server._mcp._ports import RpcFailed
from answerable.server._mcp._state import StateSeal

SEAL = StateSeal(b"k" * 32, audience="shop")
ASKED: dict[str, Any] = {"agent": "desk", "method": "tools/call", "params": {"name": "pay", "arguments": {"order": 1}}}


def test_what_was_sealed_is_had_again_for_the_same_request() -> None:
    token = SEAL.seal({"session": "run_1"}, **ASKED)

    again = {**ASKED, "params": {**ASKED["params"], "requestState": token, "inputResponses": {}, "_meta": {"a": 1}}}

    assert SEAL.unseal(token, **again) == {"session": "run_1"}


def test_a_client_that_sends_none_has_none() -> None:
    assert SEAL.unseal(None, **ASKED) == {}


@pytest.mark.requirement("TL-4")
@pytest.mark.parametrize(
    ("seal", "asked"),
    [
        (StateSeal(b"x" * 32, audience="shop"), ASKED),
        (StateSeal(b"k" * 32, audience="other"), ASKED),
        (SEAL, {**ASKED, "agent": "other"}),
        (SEAL, {**ASKED, "method": "prompts/get"}),
        (SEAL, {**ASKED, "params": {"name": "pay", "arguments": {"order": 2}}}),
        (SEAL, {**ASKED, "params": {"name": "ban", "arguments": {"order": 1}}}),
    ],
)
def test_a_state_of_another_key_endpoint_agent_or_request_is_refused(seal: StateSeal, asked: dict[str, Any]) -> None:
    token = SEAL.seal({"session": "run_1"}, **ASKED)

    with pytest.raises(RpcFailed, match="requestState"):
        seal.unseal(token, **asked)


@given(at=st.integers(0, 400), by=st.sampled_from("Aa0_-=. é"))
def test_a_state_with_any_character_changed_or_added_is_refused(at: int, by: str) -> None:
    token = SEAL.seal({"session": "run_1"}, **ASKED)
    at %= len(token)
    changed = token[:at] + by + token[at + 1 :]

    for said in (token + by, *([changed] if changed != token else [])):
        with pytest.raises(RpcFailed, match="requestState"):
            SEAL.unseal(said, **ASKED)


def test_a_state_does_not_live_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    token = SEAL.seal({"session": "run_1"}, **ASKED)
    monkeypatch.setattr("answerable.server._mcp._state.time.time", lambda: 4e9)

    with pytest.raises(RpcFailed, match="too long ago"):
        SEAL.unseal(token, **ASKED)
