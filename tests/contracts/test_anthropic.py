"""The driver `anthropic` against a real HTTP server: what it sends, and how it tells failures apart."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from answerable.core import AnswerableError
from answerable.models import (
    AnthropicConfig,
    AnthropicProvider,
    Message,
    ModelKeyMissing,
    ModelLost,
    ModelRejected,
    ModelReply,
    ModelReplyInvalid,
    ModelRequest,
    ModelUnavailable,
    parse_anthropic_config,
)
from tests.integration.upstream import HANG, ScriptedUpstream, messages_whole, serving

HELLO: tuple[Message, ...] = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"})
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def through(
    answer: tuple[int, Any], story: Callable[[ScriptedUpstream, AnthropicProvider], Coroutine[Any, Any, None]]
) -> None:
    async def run() -> None:
        async with asyncio.timeout(20), serving(ScriptedUpstream(answers=[answer])) as upstream:
            base_url = upstream.url.removesuffix("/v1")
            config = AnthropicConfig(key="sk-a", base_url=base_url, timeout=timedelta(milliseconds=1500))
            provider = AnthropicProvider(config)
            try:
                await story(upstream, provider)
            finally:
                await provider.close()

    asyncio.run(run())


def asked(provider: AnthropicProvider, schema: Any = None) -> Coroutine[Any, Any, ModelReply]:
    return provider.complete(ModelRequest(model="claude", messages=HELLO, max_tokens=9, schema=schema))


@pytest.mark.requirement("MD-1")
def test_a_reply_is_metered_and_the_system_message_stands_apart() -> None:
    async def story(upstream: ScriptedUpstream, provider: AnthropicProvider) -> None:
        reply = await asked(provider)

        assert (reply.text, reply.model, reply.finish, reply.is_metered) == ("Hello.", "tiny-1", "stop", True)
        assert (reply.input_tokens, reply.output_tokens) == (11, 7)
        assert upstream.asked[0]["system"] == "Be brief."
        assert [message["role"] for message in upstream.asked[0]["messages"]] == ["user"]
        assert upstream.headers[0]["x-api-key"] == "sk-a"

    through((200, messages_whole("Hello.")), story)


def test_a_reply_that_must_fit_a_schema_is_asked_for_as_a_call() -> None:
    async def story(upstream: ScriptedUpstream, provider: AnthropicProvider) -> None:
        reply = await asked(provider, SCHEMA)

        assert json.loads(reply.text) == {"n": 3}
        assert upstream.asked[0]["tool_choice"] == {"type": "tool", "name": "reply"}

    through((200, messages_whole("Here.", ("reply", '{"n":3}'))), story)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((429, b'{"error":{"type":"rate_limit_error"}}'), ModelUnavailable),
        ((529, b'{"error":{"type":"overloaded_error"}}'), ModelUnavailable),
        ((400, b'{"error":{"type":"invalid_request_error"}}'), ModelRejected),
        ((200, b'{"content":[]}'), ModelReplyInvalid),
        ((200, b"<html>"), ModelReplyInvalid),
        ((200, [HANG]), ModelLost),
    ],
)
def test_failures_are_told_apart(answer: tuple[int, Any], error: type[AnswerableError]) -> None:
    async def story(upstream: ScriptedUpstream, provider: AnthropicProvider) -> None:
        with pytest.raises(error):
            await asked(provider)

    through(answer, story)


def test_without_a_key_anthropics_own_models_are_not_configured() -> None:
    with pytest.raises(ModelKeyMissing, match="ANTHROPIC_API_KEY"):
        parse_anthropic_config({})
    assert parse_anthropic_config({"ANTHROPIC_BASE_URL": "http://localhost:1"}).key == ""
