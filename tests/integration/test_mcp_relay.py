"""`/mcp` for clients of both revisions, with the official client, before unmodified MCP servers."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client, MCPError, types
from mcp.client.streamable_http import streamable_http_client

from answerable import Answerable, Gate, Limits, ToolDeclaration
from answerable.ledger import Receipt
from answerable.server import serve_gate
from answerable.tools import Toolbox, ToolUnusable

POLICY = Path(__file__).parent / "mcp_policy"
FIXTURE = Path(__file__).parent / "mcp_fixture.py"
REVISIONS = ["legacy", "2026-07-28"]


@dataclass
class There:
    gate: Gate
    url: str
    key: str
    books: Path

    @contextlib.asynccontextmanager
    async def client(self, mode: Any, path: str = "/mcp", **more: Any) -> AsyncIterator[Client]:
        headers = {"authorization": f"Bearer {self.key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            transport = streamable_http_client(self.url + path, http_client=http)
            async with Client(transport, mode=mode, **more) as client:
                yield client

    async def receipts(self, phase: str) -> list[Receipt]:
        run = (await self.gate.sessions.get("desk")).run
        return [receipt for receipt in self.gate.reader.receipts(run=run) if receipt.phase == phase]

    def done(self) -> list[str]:
        return self.books.read_text().split() if self.books.exists() else []


def shop_look(order: str) -> dict[str, str]:
    """What of an order."""
    return {"order": order, "state": "paid"}


@contextlib.asynccontextmanager
async def there(directory: Path) -> AsyncIterator[There]:
    books = directory / "books"
    app = Answerable(data=directory / "data", policy=POLICY)
    app.tool(shop_look, effect="read")
    command = [sys.executable, str(FIXTURE), str(books)]
    declare = {"pay": ToolDeclaration(effect="write"), "echo": ToolDeclaration(effect="read")}
    app.mcp("shop", command=command, declare=declare)
    app.wired("desk", limits=Limits(identical_calls=None))
    async with app.gate() as gate:
        gate.sessions._patience = timedelta(milliseconds=300)
        key = (await gate.desk.key(do="new", named="desk"))["key"]
        listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        server = asyncio.create_task(serve_gate(gate, host="127.0.0.1", port=0, on_listening=listening.set_result))
        try:
            yield There(gate, await listening, key, books)
        finally:
            server.cancel()
            await asyncio.wait([server])


def through(directory: Path, story: Callable[[There], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(50), there(directory) as found:
            await story(found)

    asyncio.run(run())


@pytest.mark.requirement("TL-1", "TL-4", "FW-1")
@pytest.mark.parametrize("mode", REVISIONS)
def test_a_client_lists_and_calls_tools_and_every_call_is_on_the_record(tmp_path: Path, mode: str) -> None:
    async def story(there: There) -> None:
        async with there.client(mode) as client:
            listed = {tool.name: tool for tool in (await client.list_tools()).tools}
            answer = await client.call_tool("shop.echo", {"text": "hello"})
            own = await client.call_tool("shop_look", {"order": "1001"})

        assert {"shop__echo", "shop__pay", "shop_look"} <= listed.keys()
        annotations = listed["shop__echo"].annotations
        assert annotations is not None
        assert annotations.read_only_hint
        assert answer.content[0].text == "hello"  # type: ignore[union-attr]
        assert answer.meta is not None
        assert answer.meta["answerable/labels"] == ["untrusted:shop.echo"]
        assert there.gate.reader.find(answer.meta["answerable/receipt"]) is not None
        assert own.structured_content == {"order": "1001", "state": "paid"}
        assert [each.predicate["action"]["name"] for each in await there.receipts("outcome")] == [
            "shop.echo",
            "shop_look",
        ]

    through(tmp_path, story)


@pytest.mark.requirement("TL-4")
def test_a_held_call_of_a_new_client_goes_on_by_itself_once_a_person_agreed_and_is_done_once(tmp_path: Path) -> None:
    async def story(there: There) -> None:
        async with there.client("2026-07-28") as client:
            paying = asyncio.create_task(client.call_tool("shop.pay", {"order": "1001"}))
            held = await first_approval(there)
            assert there.done() == []
            await there.gate.approvals.decide(held, "approve", by="user:lee", roles=["lead"], reason="fine")
            answer = await paying

        assert not answer.is_error
        assert there.done() == ["1001"]
        assert len(await there.receipts("held")) == 1

    through(tmp_path, story)


def test_a_client_that_can_ask_its_user_shows_what_is_waited_for_and_a_decline_leaves_it_open(tmp_path: Path) -> None:
    asked: list[str] = []

    async def decline(context: Any, params: Any) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="decline")

    async def story(there: There) -> None:
        async with there.client("2026-07-28", elicitation_callback=decline) as client:
            answer = await client.call_tool("shop.pay", {"order": "1001"})
        held = await first_approval(there)

        assert answer.is_error
        assert len(asked) == 1
        assert held in asked[0]
        assert there.done() == []

    through(tmp_path, story)


def test_an_old_client_is_told_the_approval_and_the_same_call_again_finds_the_decision(tmp_path: Path) -> None:
    async def story(there: There) -> None:
        async with there.client("legacy") as client:
            first = await client.call_tool("shop.pay", {"order": "1001"})
            held = await first_approval(there)
            await there.gate.approvals.decide(held, "approve", by="user:lee", roles=["lead"], reason="fine")
            second = await client.call_tool("shop.pay", {"order": "1001"})

        assert first.is_error
        assert held in first.content[0].text  # type: ignore[union-attr]
        assert not second.is_error
        assert there.done() == ["1001"]

    through(tmp_path, story)


def test_request_state_that_was_changed_or_belongs_to_another_call_is_refused(tmp_path: Path) -> None:
    async def story(there: There) -> None:
        async with there.client("2026-07-28") as client:
            call = client.session.call_tool
            held = await call("shop.pay", {"order": "1001"}, allow_input_required=True)
            assert isinstance(held, types.InputRequiredResult)
            assert held.request_state is not None
            for order, state in (("1001", held.request_state[:-2] + "AA"), ("1002", held.request_state)):
                with pytest.raises(MCPError, match="requestState"):
                    await call("shop.pay", {"order": order}, request_state=state, allow_input_required=True)

        assert there.done() == []

    through(tmp_path, story)


@pytest.mark.parametrize("mode", REVISIONS)
def test_a_refused_and_a_misfit_call_come_back_as_results_the_model_can_read(tmp_path: Path, mode: str) -> None:
    async def story(there: There) -> None:
        async with there.client(mode) as client:
            refused = await client.call_tool("shop.ban", {"order": "1001"})
            misfit = await client.call_tool("shop.echo", {"text": 7})
            with pytest.raises(MCPError, match="no tool"):
                await client.call_tool("shop.nothing", {})

        assert refused.is_error
        assert refused.meta is not None
        assert refused.meta["answerable/error"]["code"].startswith("refused.")
        assert misfit.is_error
        assert "`text`" in misfit.content[0].text  # type: ignore[union-attr]
        assert len(await there.receipts("denied")) == 3

    through(tmp_path, story)


@pytest.mark.parametrize("mode", REVISIONS)
@pytest.mark.parametrize(("path", "prompt"), [("/mcp", "shop.greet"), ("/mcp/shop", "greet")])
def test_resources_and_prompts_are_listed_and_read_on_the_record(
    tmp_path: Path, mode: str, path: str, prompt: str
) -> None:
    async def story(there: There) -> None:
        async with there.client(mode, path) as client:
            resources = (await client.list_resources()).resources
            prompts = (await client.list_prompts()).prompts
            terms = await client.read_resource("shop://terms")
            greeting = await client.get_prompt(prompt, {"name": "Lee"})

        assert [str(each.uri) for each in resources] == ["shop://terms"]
        assert [each.name for each in prompts] == [prompt]
        assert terms.contents[0].text == "no refunds"  # type: ignore[union-attr]
        assert greeting.messages[0].content.text == "Greet Lee."  # type: ignore[union-attr]
        assert [each.predicate["action"]["name"] for each in await there.receipts("outcome")] == [
            "shop.resources/read",
            "shop.prompts/get",
        ]

    through(tmp_path, story)


def test_the_endpoint_of_one_server_shows_its_own_names_and_nothing_else(tmp_path: Path) -> None:
    async def story(there: There) -> None:
        async with there.client("legacy", "/mcp/shop") as client:
            names = {tool.name for tool in (await client.list_tools()).tools}
            answer = await client.call_tool("echo", {"text": "hello"})

        assert names == {"echo", "pay", "ban"}
        assert answer.content[0].text == "hello"  # type: ignore[union-attr]

    through(tmp_path, story)


def test_without_a_key_nobody_is_served_and_another_agents_protocol_session_is_not_found(tmp_path: Path) -> None:
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    accept = {"accept": "application/json, text/event-stream"}

    async def story(there: There) -> None:
        other = (await there.gate.desk.key(do="new", named="other"))["key"]
        async with httpx.AsyncClient(base_url=there.url, headers=accept, trust_env=False) as http:
            nobody = await http.post("/mcp", json=hello)
            ours = await http.post("/mcp", json=hello, headers={"authorization": f"Bearer {there.key}"})
            session = {"mcp-session-id": ours.headers["mcp-session-id"], "authorization": f"Bearer {other}"}
            theirs = await http.post("/mcp", json={"jsonrpc": "2.0", "id": 2, "method": "ping"}, headers=session)
            elsewhere = await http.post(
                "/mcp", json=hello, headers={"authorization": f"Bearer {there.key}", "host": "evil.example"}
            )

        assert nobody.status_code == 401
        assert ours.status_code == 200
        assert theirs.status_code == 404
        assert elsewhere.status_code == 421

    through(tmp_path, story)


def test_an_answer_that_nobody_read_is_given_to_the_same_call_again(tmp_path: Path) -> None:
    async def story(there: There) -> None:
        session = await there.gate.sessions.get("desk")
        async with there.client("2026-07-28") as client:
            paying = asyncio.create_task(client.call_tool("shop.pay", {"order": "1001"}))
            held = await first_approval(there)
            paying.cancel()
            await asyncio.wait([paying])
        await there.gate.approvals.decide(held, "approve", by="user:lee", roles=["lead"], reason="fine")
        outcome = await session.perform("tool", "shop.pay", b'{"order":"1001"}', effects=there.gate.whole)
        async with there.client("2026-07-28") as client:
            answer = await client.call_tool("shop.pay", {"order": "1001"})

        assert there.done() == ["1001"]
        assert answer.meta is not None
        assert answer.meta["answerable/receipt"] == outcome.receipt

    through(tmp_path, story)


def test_a_server_at_a_url_is_called_with_the_operators_headers_and_its_resources_are_read(tmp_path: Path) -> None:
    async def story(there: There) -> None:
        toolbox = Toolbox()
        headers = {"authorization": f"Bearer {there.key}"}
        toolbox.add_mcp("far", url=there.url + "/mcp/shop", headers=headers)
        try:
            await toolbox.start()
            names, relayed = toolbox.names(), toolbox.relayed()
            far = toolbox.servers()[0]
            terms = await far.ask("resources/read", {"uri": "shop://terms"})
        finally:
            await toolbox.close()

        assert names == ("far.ban", "far.echo", "far.pay")
        assert {"far.prompts/get", "far.resources/read"} < set(relayed)
        assert terms["contents"][0]["text"] == "no refunds"

    through(tmp_path, story)


def test_a_server_has_a_command_or_a_url() -> None:
    with pytest.raises(ToolUnusable, match="command or a URL"):
        Toolbox().add_mcp("shop")


@pytest.mark.parametrize("mode", REVISIONS)
def test_a_call_made_again_after_its_answer_arrived_is_a_new_call(tmp_path: Path, mode: str) -> None:
    async def story(there: There) -> None:
        async with there.client(mode) as client:
            answers = [await client.call_tool("shop.echo", {"text": "hello"}) for _ in range(3)]

        assert len({answer.meta["answerable/receipt"] for answer in answers if answer.meta}) == 3

    through(tmp_path, story)


async def first_approval(there: There) -> str:
    while not (held := await there.receipts("held")):  # noqa: ASYNC110 - the record has no event for a test
        await asyncio.sleep(0.01)
    found: str = held[0].predicate["control"]["approval"]
    return found
