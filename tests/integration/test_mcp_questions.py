"""What a tool server says and asks in the middle of a call, for clients of both revisions before one of the old one."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, types
from mcp.client.streamable_http import streamable_http_client

from answerable import Answerable, Gate, Limits, ToolDeclaration
from answerable.server import serve_gate

SERVER = Path(__file__).parent / "asking_server.py"
ALL = '@id("all") permit (principal, action, resource);'
NO_ANSWERS = '@id("no-answers") forbid (principal, action == Action::"asking.elicitation/create", resource);'
REVISIONS = ["legacy", "2026-07-28"]


@dataclass
class There:
    gate: Gate
    url: str
    key: str
    diary: Path

    @contextlib.asynccontextmanager
    async def client(self, mode: Any, **more: Any) -> AsyncIterator[Client]:
        headers = {"authorization": f"Bearer {self.key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            transport = streamable_http_client(self.url + "/mcp/asking", http_client=http)
            async with Client(transport, mode=mode, **more) as client:
                yield client

    def done(self) -> list[str]:
        return self.diary.read_text().split() if self.diary.exists() else []

    async def names(self, phase: str) -> list[str]:
        run = (await self.gate.sessions.get("desk")).run
        receipts = self.gate.reader.receipts(run=run)
        return [each.predicate["action"]["name"] for each in receipts if each.phase == phase]


def through(directory: Path, story: Callable[[There], Coroutine[Any, Any, None]], *policies: str) -> None:
    for folder in ("authorize", "obligations"):
        (directory / "policy" / folder).mkdir(parents=True)
    (directory / "policy" / "authorize" / "all.cedar").write_text("\n".join((ALL, *policies)))

    async def run() -> None:
        app = Answerable(data=directory / "data", policy=directory / "policy")
        app.mcp(
            "asking",
            command=[sys.executable, "-S", str(SERVER), str(directory / "diary")],
            declare={"walk": ToolDeclaration(effect="read"), "draw": ToolDeclaration(effect="read")},
        )
        app.wired("desk", limits=Limits(identical_calls=None))
        async with asyncio.timeout(50), app.gate() as gate:
            key = (await gate.desk.key(do="new", named="desk"))["key"]
            listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            server = asyncio.create_task(serve_gate(gate, host="127.0.0.1", port=0, on_listening=listening.set_result))
            try:
                await story(There(gate, await listening, key, directory / "diary"))
            finally:
                server.cancel()
                await asyncio.wait([server])

    asyncio.run(run())


async def at_home(context: Any, params: Any) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"street": f"{params.message[:5]}-street"})


@pytest.mark.requirement("TL-1")
@pytest.mark.parametrize("mode", REVISIONS)
def test_a_server_that_asks_its_client_gets_the_answer_once_and_the_answer_is_on_the_record(
    tmp_path: Path, mode: str
) -> None:
    async def story(there: There) -> None:
        async with there.client(mode, elicitation_callback=at_home) as client:
            answer = await client.call_tool("order", {})

        assert "Where-street" in answer.content[0].text  # type: ignore[union-attr]
        assert there.done() == ["Where-street"]
        assert await there.names("intent") == ["asking.order"]
        assert sorted(await there.names("outcome")) == ["asking.elicitation/create", "asking.order"]

    through(tmp_path, story)


@pytest.mark.requirement("TL-1")
@pytest.mark.parametrize("mode", REVISIONS)
def test_an_answer_that_policy_refuses_is_not_passed_on(tmp_path: Path, mode: str) -> None:
    async def story(there: There) -> None:
        async with there.client(mode, elicitation_callback=at_home) as client:
            answer = await client.call_tool("order", {})

        assert "refused" in answer.content[0].text  # type: ignore[union-attr]
        assert there.done() == []
        assert await there.names("denied") == ["asking.elicitation/create"]

    through(tmp_path, story, NO_ANSWERS)


@pytest.mark.parametrize("mode", REVISIONS)
def test_a_client_that_cannot_be_asked_is_not_and_the_server_is_told(tmp_path: Path, mode: str) -> None:
    async def story(there: There) -> None:
        async with there.client(mode) as client:
            answer = await client.call_tool("order", {})

        assert "does not support elicitation" in answer.content[0].text  # type: ignore[union-attr]
        assert there.done() == []

    through(tmp_path, story)


@pytest.mark.requirement("TL-1", "TL-4")
def test_the_same_call_again_while_a_question_is_open_gets_the_question_again_and_is_one_step(tmp_path: Path) -> None:
    answered = {"elicitation/create": {"action": "accept", "content": {"street": "Main"}}}

    async def story(there: There) -> None:
        async with there.client("2026-07-28", elicitation_callback=at_home) as client:
            call = client.session.call_tool
            first = await call("order", {}, allow_input_required=True)
            again = await call("order", {}, allow_input_required=True)
            assert isinstance(first, types.InputRequiredResult)
            assert isinstance(again, types.InputRequiredResult)
            assert first.input_requests is not None
            question = next(iter(first.input_requests))
            said = types.ElicitResult.model_validate(answered["elicitation/create"])
            done = await call("order", {}, request_state=again.request_state, input_responses={question: said})

        assert not done.is_error
        assert again.input_requests == first.input_requests
        assert there.done() == ["Main"]
        assert await there.names("intent") == ["asking.order"]

    through(tmp_path, story)


@pytest.mark.parametrize("mode", REVISIONS)
def test_a_failed_result_keeps_its_picture_and_a_good_one_its_meta(tmp_path: Path, mode: str) -> None:
    async def story(there: There) -> None:
        async with there.client(mode) as client:
            failed = await client.call_tool("draw", {})
            walked = await client.call_tool("walk", {})

        assert failed.is_error
        assert [block.type for block in failed.content] == ["text", "image"]
        assert walked.meta is not None
        assert walked.meta["example/steps"] == 7
        assert "answerable/receipt" in walked.meta

    through(tmp_path, story)


@pytest.mark.parametrize("mode", REVISIONS)
def test_progress_reaches_the_client_that_asked_for_it(tmp_path: Path, mode: str) -> None:
    seen: list[tuple[float, float | None]] = []

    async def progressed(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total))

    async def story(there: There) -> None:
        async with there.client(mode) as client:
            await client.call_tool("walk", {}, progress_callback=progressed)

        assert seen == [(1, 2)]

    through(tmp_path, story)


@pytest.mark.requirement("TL-3")
def test_clients_hear_that_a_server_added_a_tool_and_it_stays_held_until_somebody_accepts_it(tmp_path: Path) -> None:
    changed = asyncio.Event()

    async def heard(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            changed.set()

    async def story(there: There) -> None:
        async with there.client("legacy", message_handler=heard) as client:
            await client.call_tool("learn", {})
            await changed.wait()
            listed = {tool.name for tool in (await client.list_tools()).tools}
            flown = await client.call_tool("fly", {})

        assert "fly" not in listed
        assert flown.is_error
        assert "tools accept asking.fly" in flown.content[0].text  # type: ignore[union-attr]

    through(tmp_path, story)
