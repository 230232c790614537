"""Agents that only changed their URLs, through the vendors' own SDKs, against a provider on real HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from answerable import Answerable, Gate, Limits, Upstream
from answerable.core import RunId
from answerable.server import serve_gate
from tests.integration.upstream import (
    HANG,
    PAUSE,
    ScriptedUpstream,
    chat_stream,
    chat_whole,
    messages_stream,
    messages_whole,
    serving,
)

POLICY = Path(__file__).parent / "wire_policy"
ASKED: list[Any] = [{"role": "user", "content": "What of order 1001?"}]
LOOK = ("shop_look", '{"order":"1001"}')
BAN = ("shop_ban", '{"order":"1001"}')


@dataclass
class Wire:
    gate: Gate
    url: str
    key: str
    first: ScriptedUpstream
    second: ScriptedUpstream

    @property
    def openai(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.url + "/v1", api_key=self.key)

    @property
    def anthropic(self) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(base_url=self.url, api_key=self.key)

    async def chat(self, **more: Any) -> Any:
        async with self.openai.with_options(max_retries=0) as client:
            return await client.chat.completions.create(**{"model": "tiny", "messages": ASKED, **more})

    async def chat_parts(self, **more: Any) -> list[Any]:
        async with self.openai as client:
            asked = {"model": "tiny", "messages": ASKED, "stream": True, **more}
            return [part async for part in await client.chat.completions.create(**asked)]

    async def message(self, **more: Any) -> Any:
        async with self.anthropic as client:
            return await client.messages.create(**{"model": "claude", "max_tokens": 50, "messages": ASKED, **more})

    async def session(self) -> RunId:
        return (await self.gate.sessions.get("desk")).run

    async def phases(self) -> list[str]:
        return [receipt.phase for receipt in self.gate.reader.receipts(run=await self.session())]

    async def settled(self) -> None:
        while (await self.phases())[-1] != "outcome":  # noqa: ASYNC110 - the record has no event for it
            await asyncio.sleep(0.005)

    async def last(self) -> dict[str, Any]:
        return self.gate.reader.receipts(run=await self.session())[-1].predicate


@contextlib.asynccontextmanager
async def wire(directory: Path, **upstream: Any) -> AsyncIterator[Wire]:
    app = Answerable(data=directory / "data", policy=POLICY)
    app.tool(shop_look, effect="read")
    app.tool(shop_pay, effect="write")
    app.tool(shop_ban, effect="irreversible")
    async with serving(ScriptedUpstream()) as first, serving(ScriptedUpstream()) as second:
        app.upstream(Upstream(name="first", dialect="chat", base_url=first.url, key="sk-first", **upstream))
        app.upstream(Upstream(name="second", dialect="chat", base_url=second.url, **upstream))
        app.upstream(Upstream(name="third", dialect="messages", base_url=first.url, key="sk-third", **upstream))
        app.route("tiny", "first:tiny", "second:tiny")
        app.route("secret", "first:secret")
        app.wired("desk", own_tools=["calculator"], limits=Limits(identical_calls=None))
        app.wired("poor", limits=Limits(tokens=100))
        async with app.gate() as gate:
            key = (await gate.desk.key(do="new", named="desk"))["key"]
            listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            server = asyncio.create_task(serve_gate(gate, host="127.0.0.1", port=0, on_listening=listening.set_result))
            try:
                yield Wire(gate, await listening, key, first, second)
            finally:
                server.cancel()
                await asyncio.wait([server])


def shop_look(order: str) -> str:
    return f"order {order} is fine"


def shop_pay(order: str) -> str:
    return f"order {order} is paid"


def shop_ban(order: str) -> str:
    raise AssertionError("nobody may")


def through(directory: Path, story: Callable[[Wire], Coroutine[Any, Any, None]], **upstream: Any) -> None:
    async def run() -> None:
        async with asyncio.timeout(30), wire(directory, **upstream) as there:
            await story(there)

    asyncio.run(run())


@pytest.mark.requirement("FW-1", "MD-1", "MD-3")
def test_an_openai_client_that_changed_its_url_is_governed_metered_and_told_its_receipt(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(200, chat_whole("It is fine."))]
        async with there.openai as client:
            raw = await client.chat.completions.with_raw_response.create(model="tiny", messages=ASKED)

        assert raw.parse().choices[0].message.content == "It is fine."
        assert raw.headers["answerable-session"] == await there.session()
        receipt = there.gate.reader.find(raw.headers["answerable-receipt"])
        assert receipt is not None
        assert receipt.predicate["usage"]["inputTokens"] == 11
        assert receipt.predicate["usage"]["outputTokens"] == 7
        assert await there.phases() == ["run.open", "intent", "outcome"]
        assert there.first.headers[0]["authorization"] == "Bearer sk-first"
        assert there.first.asked[0]["max_tokens"] == 4096

    through(tmp_path, story)


def test_a_whole_answer_passes_byte_for_byte(tmp_path: Path) -> None:
    body = chat_whole("Es geht \u00fcber 3 \u20ac \U0001f600.", LOOK)

    async def story(there: Wire) -> None:
        there.first.answers = [(200, body)]
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(
                there.url + "/v1/chat/completions",
                json={"model": "tiny", "messages": ASKED},
                headers={"authorization": f"Bearer {there.key}"},
            )
        assert answer.content == body

    through(tmp_path, story)


def test_a_stream_passes_byte_for_byte_and_hides_usage_that_was_not_asked_for(tmp_path: Path) -> None:
    parts = chat_stream("It ", "is ", "fine.", calls=(LOOK,))

    async def story(there: Wire) -> None:
        there.first.answers = [(200, parts)]
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(
                there.url + "/v1/chat/completions",
                json={"model": "tiny", "messages": ASKED, "stream": True},
                headers={"authorization": f"Bearer {there.key}"},
            )
        assert answer.content == b"".join([*parts[:-2], parts[-1]])
        assert there.first.asked[0]["stream_options"] == {"include_usage": True}
        assert (await there.last())["usage"]["outputTokens"] == 7
        assert await there.phases() == ["run.open", "intent", "outcome"]

    through(tmp_path, story)


def test_the_first_text_reaches_the_agent_before_the_provider_has_finished(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        parts = chat_stream("now", " later")
        there.first.answers = [(200, [*parts[:2], PAUSE, *parts[2:]])]
        async with there.openai as client:
            stream = await client.chat.completions.create(model="tiny", messages=ASKED, stream=True)
            said = ""
            async for part in stream:
                said += part.choices[0].delta.content or ""
                if said == "now":
                    there.first.go_on.set()
        assert said == "now later"

    through(tmp_path, story)


@pytest.mark.requirement("MD-2")
def test_a_denied_tool_call_becomes_text_that_names_the_refusal_and_its_receipt(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(200, chat_whole("Let me see.", BAN, LOOK)), (200, chat_whole(None, BAN))]
        both, only = await there.chat(), await there.chat()

        kept = both.choices[0].message.tool_calls
        assert [call.function.name for call in kept] == ["shop_look"]
        assert both.choices[0].finish_reason == "tool_calls"
        assert both.choices[0].message.content.startswith("Let me see.")
        assert only.choices[0].message.tool_calls is None
        assert only.choices[0].finish_reason == "stop"
        denied = [r for r in there.gate.reader.receipts(run=await there.session()) if r.phase == "denied"]
        assert [r.predicate["action"]["name"] for r in denied] == ["shop_ban", "shop_ban"]
        assert denied[1].predicate["id"] in only.choices[0].message.content

    through(tmp_path, story)


def test_a_denied_tool_call_is_taken_out_of_a_stream_and_the_others_are_numbered_anew(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(200, chat_stream("Hm. ", calls=(BAN, LOOK)))]
        parts = await there.chat_parts()

        calls = [call for part in parts for choice in part.choices for call in choice.delta.tool_calls or ()]
        text = "".join(choice.delta.content or "" for part in parts for choice in part.choices)
        assert [(call.index, call.function.name, call.function.arguments) for call in calls] == [(0, *LOOK)]
        assert "shop_ban" in text
        assert "rcpt_" in text
        assert [c.finish_reason for p in parts for c in p.choices if c.finish_reason] == ["tool_calls"]

    through(tmp_path, story)


def test_a_tool_that_the_gate_does_not_serve_passes_only_if_the_agent_declares_it(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(200, chat_whole(None, ("calculator", "{}"), ("rm_rf", "{}")))]
        answer = await there.chat()

        assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["calculator"]
        assert "own_tools" in answer.choices[0].message.content

    through(tmp_path, story)


def test_a_call_that_needs_approval_reaches_the_agent_because_it_is_held_where_it_is_made(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(200, chat_whole(None, ("shop_pay", '{"order":"1001"}')))]
        answer = await there.chat()

        assert answer.choices[0].message.tool_calls[0].function.name == "shop_pay"

    through(tmp_path, story)


@pytest.mark.requirement("MD-1")
def test_when_a_provider_is_down_the_next_one_answers_and_both_are_on_the_record(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(503, b'{"error":{"type":"overloaded"}}')]
        there.second.answers = [(200, chat_stream("Second here."))]
        parts = await there.chat_parts()

        assert "".join(c.delta.content or "" for p in parts for c in p.choices) == "Second here."
        assert await there.phases() == ["run.open", "intent", "outcome", "intent", "outcome"]
        names = [r.predicate["action"]["name"] for r in there.gate.reader.receipts(run=await there.session())[1:]]
        assert names == ["first:tiny", "first:tiny", "second:tiny", "second:tiny"]

    through(tmp_path, story)


def test_a_provider_that_says_nothing_in_time_is_given_up_and_its_cost_taken_at_the_ceiling(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(200, [HANG])]
        there.second.answers = [(200, chat_whole("Second here."))]
        answer = await there.chat(stream=False)
        assert answer.choices[0].message.content == "Second here."

        outcomes = [r for r in there.gate.reader.receipts(run=await there.session()) if r.phase == "outcome"]
        assert outcomes[0].predicate["effect"]["error"] == "execution.model_lost"
        assert outcomes[0].predicate["usage"]["outputTokens"] == 4096

    through(tmp_path, story, first_byte=timedelta(milliseconds=200))


def test_a_stream_that_falls_silent_ends_in_an_error_of_the_dialect(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(200, [*chat_stream("Well")[:2], HANG])]
        with pytest.raises(openai.APIError, match="nothing came for"):
            await there.chat_parts()
        await there.settled()
        assert (await there.last())["effect"]["status"] == "failed"

    through(tmp_path, story, between_bytes=timedelta(milliseconds=200))


@pytest.mark.requirement("MD-3")
def test_an_agent_that_hangs_up_ends_the_call_which_is_settled_at_its_ceiling(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(200, [*chat_stream("Well")[:2], HANG])]
        async with there.openai as client:
            stream = await client.chat.completions.create(model="tiny", messages=ASKED, stream=True, max_tokens=99)
            await anext(aiter(stream))
            await stream.close()
        await there.first.hung_up.wait()
        await there.settled()

        assert (await there.last())["usage"]["outputTokens"] == 99
        assert (await there.last())["effect"]["error"] == "execution.model_lost"

    through(tmp_path, story)


@pytest.mark.requirement("MD-3")
def test_a_budget_is_refused_in_the_dialects_own_words_and_nothing_is_asked(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.key = (await there.gate.desk.key(do="new", named="poor"))["key"]
        with pytest.raises(openai.RateLimitError) as chat:
            await there.chat(max_tokens=5000)
        with pytest.raises(anthropic.RateLimitError) as message:
            await there.message(max_tokens=5000)

        assert chat.value.code == "refused.budget_exceeded"
        assert "refused.budget_exceeded" in str(message.value.body)
        assert there.first.asked == []

    through(tmp_path, story)


def test_a_model_that_policy_forbids_is_refused_and_never_asked(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        with pytest.raises(openai.PermissionDeniedError) as refused:
            await there.chat(model="secret")

        assert refused.value.response.headers["answerable-receipt"].startswith("rcpt_")
        assert there.first.asked == []
        assert await there.phases() == ["run.open", "denied"]

    through(tmp_path, story)


def test_what_the_provider_rejects_comes_back_in_its_own_words(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(400, b'{"error":{"message":"too odd","type":"invalid_request_error","code":"odd"}}')]
        with pytest.raises(openai.BadRequestError, match="too odd"):
            await there.chat()
        assert len(there.first.asked) == 1

    through(tmp_path, story)


@pytest.mark.parametrize(
    "more",
    [
        {"functions": [{"name": "x"}]},
        {"web_search_options": {}},
        {"n": 0},
    ],
)
def test_what_would_happen_out_of_sight_is_refused(tmp_path: Path, more: dict[str, Any]) -> None:
    async def story(there: Wire) -> None:
        with pytest.raises(openai.BadRequestError):
            await there.chat(**more)
        assert there.first.asked == []

    through(tmp_path, story)


def test_without_a_key_in_use_nothing_is_done(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        issued = there.key
        there.key = "ans_somebody-elses"
        with pytest.raises(openai.AuthenticationError):
            await there.chat()
        with pytest.raises(anthropic.AuthenticationError):
            await there.message()
        there.key = issued
        await there.gate.desk.key(do="revoke", named="desk")
        with pytest.raises(openai.AuthenticationError):
            await there.chat()
        there.key = (await there.gate.desk.key(do="new", named="stranger"))["key"]
        with pytest.raises(openai.PermissionDeniedError, match="stranger"):
            await there.chat()

    through(tmp_path, story)


def test_an_sdk_that_tries_again_gets_the_recorded_answer_and_the_provider_is_asked_once(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(200, chat_stream("Once."))]
        for count in ("0", "1"):
            async with there.openai as client:
                stream = await client.chat.completions.create(
                    model="tiny",
                    messages=ASKED,
                    stream=True,
                    extra_headers={"x-stainless-retry-count": count, "idempotency-key": "k-1"},
                )
                assert "".join([p.choices[0].delta.content or "" async for p in stream]) == "Once."
        assert len(there.first.asked) == 1

    through(tmp_path, story)


def test_an_answer_that_nobody_was_there_to_read_is_given_to_the_retry(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(200, [PAUSE, chat_whole("Once.")])]
        with pytest.raises(openai.APITimeoutError):
            await there.chat(timeout=0.5, extra_headers={"x-stainless-retry-count": "1", "idempotency-key": "k-2"})
        there.first.go_on.set()
        await there.settled()
        answer = await there.chat(extra_headers={"idempotency-key": "k-2"})

        assert answer.choices[0].message.content == "Once."
        assert len(there.first.asked) == 1

    through(tmp_path, story)


def test_a_session_header_keeps_conversations_apart(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(200, chat_whole("Yes."))]
        seen = set()
        async with there.openai as client:
            for name in ("a", "b", "a"):
                raw = await client.chat.completions.with_raw_response.create(
                    model="tiny", messages=ASKED, extra_headers={"answerable-session": name}
                )
                seen.add(raw.headers["answerable-session"])
        assert len(seen) == 2

    through(tmp_path, story)


@pytest.mark.requirement("FW-1", "MD-2")
def test_an_anthropic_client_is_governed_the_same_way(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(200, messages_whole("Let me see.", BAN)), (200, messages_whole("Again.", BAN, LOOK))]
        only, both = await there.message(), await there.message()

        assert [block.type for block in only.content] == ["text", "text"]
        assert "rcpt_" in only.content[1].text
        assert only.stop_reason == "end_turn"
        assert [block.type for block in both.content] == ["text", "text", "tool_use"]
        assert both.stop_reason == "tool_use"
        assert (await there.last())["usage"]["inputTokens"] == 11
        assert there.first.headers[0]["x-api-key"] == "sk-third"

    through(tmp_path, story)


def test_an_anthropic_stream_keeps_its_blocks_in_place_when_one_is_denied(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        there.first.answers = [(200, messages_stream("It ", "is.", calls=(BAN, LOOK)))]
        async with (
            there.anthropic as client,
            client.messages.stream(model="claude", max_tokens=50, messages=ASKED) as stream,
        ):
            final = await stream.get_final_message()

        assert [block.type for block in final.content] == ["text", "text", "tool_use"]
        assert isinstance(final.content[2], anthropic.types.ToolUseBlock)
        assert final.content[2].input == {"order": "1001"}
        assert final.stop_reason == "tool_use"
        assert (await there.last())["usage"]["outputTokens"] == 7
        assert await there.phases() == ["run.open", "intent", "denied", "outcome"]

    through(tmp_path, story)


def test_an_anthropic_stream_without_refusals_passes_byte_for_byte(tmp_path: Path) -> None:
    parts = messages_stream("It ", "is.", calls=(LOOK,))

    async def story(there: Wire) -> None:
        there.first.answers = [(200, parts)]
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(
                there.url + "/v1/messages",
                json={"model": "claude", "max_tokens": 50, "messages": ASKED, "stream": True},
                headers={"x-api-key": there.key},
            )
        assert answer.content == b"".join(parts)

    through(tmp_path, story)


def test_tools_that_the_provider_runs_itself_are_refused(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        with pytest.raises(anthropic.BadRequestError, match="not governed here"):
            await there.message(tools=[{"type": "web_search_20250305", "name": "web_search"}])
        assert there.first.asked == []

    through(tmp_path, story)


def test_the_gate_says_that_it_is_alive_and_ready(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        async with httpx.AsyncClient(base_url=there.url, trust_env=False) as client:
            assert (await client.get("/healthz")).json() == {"status": "ok"}
            assert (await client.get("/readyz")).status_code == 200

    through(tmp_path, story)
