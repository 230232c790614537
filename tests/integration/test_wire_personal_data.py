"""A provider behind the gate gets no personal data, and the agent elsewhere gets its own back, streamed or whole."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from answerable import Answerable, Gate, Upstream
from answerable.server import serve_gate
from tests.integration.upstream import ScriptedUpstream, chat_stream, chat_whole, messages_stream, serving

pytestmark = pytest.mark.requirement("GV-5")
POLICY = Path(__file__).parent / "wire_policy"
CARD, MAIL = "4111 1111 1111 1111", "dana@example.com"
ASKED: list[Any] = [{"role": "user", "content": f"{MAIL} wants to pay with {CARD}"}]


@contextlib.asynccontextmanager
async def wire(folder: Path, mode: str) -> AsyncIterator[tuple[Gate, str, str, ScriptedUpstream]]:
    (folder / "labels.toml").write_text(f"[models.'*']\npersonal = '{mode}'")
    app = Answerable(data=folder / "data", policy=POLICY, labels=folder / "labels.toml")
    app.tool(shop_look, effect="read")
    app.tool(shop_pay, effect="write")
    app.tool(shop_ban, effect="write")
    app.wired("desk", own_tools=["*"])
    async with serving(ScriptedUpstream()) as upstream:
        app.upstream(Upstream(name="first", dialect="chat", base_url=upstream.url))
        app.upstream(Upstream(name="third", dialect="messages", base_url=upstream.url))
        app.route("tiny", "first:tiny")
        app.route("secret", "first:secret")
        app.wired("poor")
        async with app.gate() as gate:
            key = (await gate.desk.key(do="new", named="desk"))["key"]
            listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            server = asyncio.create_task(serve_gate(gate, host="127.0.0.1", port=0, on_listening=listening.set_result))
            try:
                yield gate, await listening, key, upstream
            finally:
                server.cancel()
                await asyncio.wait([server])


def shop_look(order: str) -> str:
    return order


def shop_pay(order: str) -> str:
    return order


def shop_ban(order: str) -> str:
    return order


def saying_back(stream: Callable[..., list[bytes]], sizes: int) -> Callable[[dict[str, Any]], tuple[int, list[bytes]]]:
    """A provider that says back what it was asked, in pieces of so many characters."""

    def answer(asked: dict[str, Any]) -> tuple[int, list[bytes]]:
        said = asked["messages"][0]["content"]
        return 200, stream(*(said[at : at + sizes] for at in range(0, len(said), sizes)))

    return answer


def test_a_streamed_chat_goes_out_in_tokens_and_comes_back_in_clear(tmp_path: Path) -> None:
    async def main() -> str:
        async with wire(tmp_path, "tokenise") as (_, url, key, upstream):
            upstream.answers = [saying_back(chat_stream, 3)]
            async with openai.AsyncOpenAI(base_url=url + "/v1", api_key=key) as client:
                parts = await client.chat.completions.create(model="tiny", messages=ASKED, stream=True)
                told = "".join([part.choices[0].delta.content or "" async for part in parts if part.choices])
            assert CARD not in json.dumps(upstream.asked)
            assert MAIL not in json.dumps(upstream.asked)
            return told

    assert asyncio.run(main()) == ASKED[0]["content"]


def test_a_streamed_message_goes_out_in_tokens_and_comes_back_in_clear(tmp_path: Path) -> None:
    async def main() -> str:
        async with wire(tmp_path, "tokenise") as (_, url, key, upstream):
            upstream.answers = [saying_back(messages_stream, 5)]
            async with (
                anthropic.AsyncAnthropic(base_url=url, api_key=key) as client,
                client.messages.stream(model="third:x", max_tokens=50, messages=ASKED) as parts,
            ):
                told = await parts.get_final_text()
            assert CARD not in json.dumps(upstream.asked)
            return told

    assert asyncio.run(main()) == ASKED[0]["content"]


def test_a_whole_answer_comes_back_in_clear_with_its_tool_calls(tmp_path: Path) -> None:
    def answer(asked: dict[str, Any]) -> tuple[int, bytes]:
        said = asked["messages"][0]["content"]
        return 200, chat_whole(said, ("pay", json.dumps({"note": said})))

    async def main() -> Any:
        async with wire(tmp_path, "tokenise") as (_, url, key, upstream):
            upstream.answers = [answer]
            async with openai.AsyncOpenAI(base_url=url + "/v1", api_key=key) as client:
                return (await client.chat.completions.create(model="tiny", messages=ASKED)).choices[0].message

    message = asyncio.run(main())

    assert message.content == ASKED[0]["content"]
    assert json.loads(message.tool_calls[0].function.arguments) == {"note": ASKED[0]["content"]}


def test_a_request_that_must_carry_none_never_reaches_the_provider(tmp_path: Path) -> None:
    async def main() -> str:
        async with wire(tmp_path, "block") as (_, url, key, upstream):
            upstream.answers = [(200, chat_whole("hello"))]
            async with openai.AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0) as client:
                with pytest.raises(openai.APIStatusError) as refused:
                    await client.chat.completions.create(model="tiny", messages=ASKED)
            assert upstream.asked == []
            return refused.value.message

    told = asyncio.run(main())

    assert "card, email" in told
    assert CARD not in told
