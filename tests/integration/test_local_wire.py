"""The vendors' own SDKs against the model that runs on this machine, through the gate: a real model end to end."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from answerable import Answerable, Gate, Limits, LocalProvider
from answerable.core import RunId
from answerable.server import serve_gate

POLICY = Path(__file__).parent / "local_policy"
MODEL = "smollm2-135m-instruct"
FINGERPRINT = "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
ASKED: list[Any] = [{"role": "user", "content": "Look up order 1001."}]
ORDER = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def chat_tool(name: str) -> Any:
    return {"type": "function", "function": {"name": name, "description": "Look up an order", "parameters": ORDER}}


def message_tool(name: str) -> Any:
    return {"name": name, "description": "Look up an order", "input_schema": ORDER}


@dataclass
class Wire:
    gate: Gate
    local: LocalProvider
    url: str
    key: str

    @property
    def openai(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.url + "/v1", api_key=self.key, max_retries=0)

    @property
    def anthropic(self) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(base_url=self.url, api_key=self.key, max_retries=0)

    async def chat(self, **more: Any) -> Any:
        async with self.openai as client:
            return await client.chat.completions.create(
                **{"model": "tiny", "messages": ASKED, "max_tokens": 60, **more}
            )

    async def message(self, **more: Any) -> Any:
        async with self.anthropic as client:
            return await client.messages.create(**{"model": "tiny", "messages": ASKED, "max_tokens": 60, **more})

    async def session(self) -> RunId:
        return (await self.gate.sessions.get("desk")).run

    async def last(self, phase: str) -> dict[str, Any]:
        receipts = self.gate.reader.receipts(run=await self.session())
        return [receipt.predicate for receipt in receipts if receipt.phase == phase][-1]


def shop_look(order: str) -> str:
    return f"order {order} is fine"


def shop_ban(order: str) -> str:
    raise AssertionError("nobody may")


@contextlib.asynccontextmanager
async def wire(directory: Path) -> AsyncIterator[Wire]:
    app = Answerable(data=directory / "data", policy=POLICY)
    app.tool(shop_look, effect="read")
    app.tool(shop_ban, effect="irreversible")
    local = LocalProvider()
    app.upstream(local)
    app.route("tiny", f"local:{MODEL}")
    app.wired("desk", limits=Limits(identical_calls=None))
    async with app.gate() as gate:
        key = (await gate.desk.key(do="new", named="desk"))["key"]
        listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        server = asyncio.create_task(serve_gate(gate, host="127.0.0.1", port=0, on_listening=listening.set_result))
        try:
            yield Wire(gate, local, await listening, key)
        finally:
            server.cancel()
            await asyncio.wait([server])


def through(directory: Path, story: Callable[[Wire], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(55), wire(directory) as there:
            await story(there)

    asyncio.run(run())


@pytest.mark.requirement("MD-1", "MD-2", "MD-3")
def test_an_openai_client_talks_to_the_local_model_and_the_record_has_what_it_used(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        said = await there.chat(messages=[{"role": "user", "content": "Say hello."}])

        outcome = await there.last("outcome")
        assert said.choices[0].message.content
        assert said.usage.prompt_tokens == outcome["usage"]["inputTokens"] > 0
        assert said.usage.completion_tokens == outcome["usage"]["outputTokens"] > 0
        assert "costNanoUsd" not in outcome["usage"] or outcome["usage"]["costNanoUsd"] == 0
        assert outcome["basis"]["model"] == {"provider": "local", "id": MODEL, "fingerprint": FINGERPRINT}

    through(tmp_path, story)


@pytest.mark.requirement("MD-2")
def test_a_stream_says_the_same_as_a_whole_answer_in_both_dialects(tmp_path: Path) -> None:
    hello: list[Any] = [{"role": "user", "content": "Say hello."}]

    async def story(there: Wire) -> None:
        whole = await there.chat(messages=hello)
        async with there.openai as client:
            asked: dict[str, Any] = {"model": "tiny", "messages": hello, "max_tokens": 60, "stream": True}
            parts = [part async for part in await client.chat.completions.create(**asked)]
        message = await there.message(messages=hello)
        async with (
            there.anthropic as other,
            other.messages.stream(model="tiny", messages=hello, max_tokens=60) as stream,
        ):
            texts = [text async for text in stream.text_stream]
            streamed: Any = await stream.get_final_message()

        text = whole.choices[0].message.content
        assert "".join(part.choices[0].delta.content or "" for part in parts) == text
        assert len(parts) > 5
        assert message.content[0].text == "".join(texts) == streamed.content[0].text == text
        assert message.usage.output_tokens == streamed.usage.output_tokens == whole.usage.completion_tokens
        assert message.usage.input_tokens == streamed.usage.input_tokens == whole.usage.prompt_tokens

    through(tmp_path, story)


@pytest.mark.requirement("MD-2", "TL-1")
def test_the_local_model_calls_a_tool_and_is_held_to_its_schema_streamed_and_not(tmp_path: Path) -> None:
    tools = [chat_tool("shop_look")]

    async def story(there: Wire) -> None:
        whole = await there.chat(tools=tools, tool_choice="required")
        async with there.openai as client:
            asked: dict[str, Any] = {"model": "tiny", "messages": ASKED, "max_tokens": 60, "tools": tools}
            stream = client.chat.completions.stream(**asked, tool_choice="required")
            async with stream as parts:
                streamed: Any = await parts.get_final_completion()
        message = await there.message(tools=[message_tool("shop_look")], tool_choice={"type": "any"})

        for said in (whole, streamed):
            call = said.choices[0].message.tool_calls[0]
            assert said.choices[0].finish_reason == "tool_calls"
            assert call.function.name == "shop_look"
            assert json.loads(call.function.arguments).keys() == {"order"}
        assert message.stop_reason == "tool_use"
        assert message.content[0].input.keys() == {"order"}

    through(tmp_path, story)


@pytest.mark.requirement("MD-2", "GV-1")
def test_a_call_that_the_local_model_may_not_make_becomes_a_refusal_with_its_receipt(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        said = await there.chat(tools=[chat_tool("shop_ban")], tool_choice="required")
        message = await there.message(tools=[message_tool("shop_ban")], tool_choice={"type": "any"})

        denied = await there.last("denied")
        assert not said.choices[0].message.tool_calls
        assert said.choices[0].finish_reason == "stop"
        assert "refused" in said.choices[0].message.content
        assert message.stop_reason == "end_turn"
        assert denied["id"] in message.content[0].text

    through(tmp_path, story)


def test_after_a_result_the_model_does_not_call_the_same_tool_again(tmp_path: Path) -> None:
    called = {"id": "call_1", "type": "function", "function": {"name": "shop_look", "arguments": '{"order":"1001"}'}}
    messages = [
        *ASKED,
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": "order 1001 is fine"},
    ]

    async def story(there: Wire) -> None:
        said = await there.chat(tools=[chat_tool("shop_look")], messages=messages)

        assert said.choices[0].message.content
        assert not said.choices[0].message.tool_calls

    through(tmp_path, story)


def test_a_structured_answer_fits_its_schema(tmp_path: Path) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}

    async def story(there: Wire) -> None:
        said = await there.chat(
            messages=[{"role": "user", "content": "What is the capital of France?"}], response_format=wanted
        )

        assert json.loads(said.choices[0].message.content).keys() == {"city"}

    through(tmp_path, story)


def test_what_the_local_model_does_not_do_is_an_error_of_the_dialect(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}

    async def story(there: Wire) -> None:
        with pytest.raises(openai.BadRequestError, match="text only"):
            await there.chat(messages=[{"role": "user", "content": [picture]}])
        with pytest.raises(anthropic.BadRequestError, match="exceeds the available context"):
            await there.message(messages=[{"role": "user", "content": "word " * 20_000}])
        with pytest.raises(openai.NotFoundError, match="local:smollm2-135m-instruct"):
            await there.chat(model="local:gpt-5")

    through(tmp_path, story)


@pytest.mark.requirement("MD-1")
def test_a_model_that_dies_in_a_stream_is_told_and_is_there_again_for_the_next_call(tmp_path: Path) -> None:
    async def story(there: Wire) -> None:
        async with there.openai as client:
            asked: dict[str, Any] = {
                "model": "tiny",
                "messages": [{"role": "user", "content": "Tell me a long story."}],
            }
            stream: Any = await client.chat.completions.create(**asked, max_tokens=2000, stream=True)
            await anext(aiter(stream))
            assert there.local.pid is not None
            os.kill(there.local.pid, signal.SIGKILL)
            with pytest.raises(openai.APIError, match="no whole reply"):
                async for _ in stream:
                    pass
        again = await there.chat(messages=[{"role": "user", "content": "Say hello."}])

        assert again.choices[0].message.content

    through(tmp_path, story)
