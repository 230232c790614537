"""MCP servers over stdio, as real processes: the example's shop, and servers that die, hang or babble."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import orjson
import pytest

from answerable.action import Step
from answerable.core import Action, AgentId, Money, Outcome, Refused, RunId, StepKey, TenantId
from answerable.models import Models, ScriptedProvider
from answerable.tools import (
    ArgumentsInvalid,
    Toolbox,
    ToolChanged,
    ToolDeclaration,
    ToolFailed,
    ToolNotServed,
    ToolServerLost,
    ToolServerUnavailable,
    ToolTimedOut,
)

SUPPORT = Path(__file__).parents[2] / "examples" / "support"

# A server in a few lines of plain Python: it starts faster than the SDK's, and misbehaves on request.
# It keeps a diary, so that a test knows what reached it.
ODD = """
import json, os, sys, time
diary, version = sys.argv[1:3]
started = len(open(diary).read().splitlines()) if os.path.exists(diary) else 0
def note(said):
    with open(diary, "a") as file:
        file.write(said + chr(10))
def say(said):
    sys.stdout.write(json.dumps(said) + chr(10)); sys.stdout.flush()
def tool(name):
    schema = {"type": "object", "properties": {}}
    if version == "drifts" and started:
        schema["properties"]["extra"] = {"type": "string"}
    return {"name": name, "inputSchema": schema}
note("start %d" % os.getpid())
for line in sys.stdin:
    asked = json.loads(line)
    method, number = asked.get("method"), asked.get("id")
    if method == "initialize":
        capabilities = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                        "serverInfo": {"name": "odd", "version": "1"}}
        say({"jsonrpc": "2.0", "id": number, "result": capabilities})
    elif method == "tools/list":
        tools = [tool(name) for name in ("die", "hang", "babble", "ok", "odd")]
        say({"jsonrpc": "2.0", "id": number, "result": {"tools": tools}})
    elif method == "tools/call":
        name = asked["params"]["name"]
        note("call " + name)
        if name == "die":
            os._exit(1)
        elif name == "babble":
            sys.stdout.write("Traceback (most recent call last):" + chr(10)); sys.stdout.flush()
            say({"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "text", "text": "done"}]}})
        elif name == "odd":
            say({"jsonrpc": "2.0", "id": number, "result": {"content": "nothing like a tool result"}})
        elif name == "ok":
            say({"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "text", "text": "done"}]}})
    elif number is not None:
        say({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "no such method"}})
"""


def step(toolbox: Toolbox, name: str, key: str = "key-1", **arguments: Any) -> Step:
    body = orjson.dumps(arguments)
    action = Action(
        tenant=TenantId("default"),
        run=RunId("run_1"),
        agent=AgentId("a"),
        step=StepKey(key),
        branch="",
        kind="tool",
        name=name,
        arguments=body,
        described=toolbox.describe("tool", name, body),
        environment="test",
        idempotency_key=key,
    )
    return Step(action=action, status="admitted")


def using(toolbox: Toolbox, work: Callable[[Toolbox], Awaitable[Any]]) -> Any:
    async def started() -> Any:
        try:
            await toolbox.start()
            return await work(toolbox)
        finally:
            await toolbox.close()

    return asyncio.run(started())


@dataclass
class Books:
    path: Path

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as books:
            return books.execute(statement).fetchall()

    def has(self, table: str) -> bool:
        return bool(self.rows(f"SELECT 1 FROM sqlite_master WHERE name = '{table}'"))


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path / "books.sqlite3")


def support_agent() -> Any:
    spec = spec_from_file_location("support_agent", SUPPORT / "agent.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    sys.modules["support_agent"] = module  # pydantic looks types up by module name
    spec.loader.exec_module(module)
    return module


def shop(books: Books, *options: str) -> Toolbox:
    toolbox = Toolbox()
    command = [sys.executable, str(SUPPORT / "shop.py"), str(books.path), *options]
    toolbox.add_mcp("shop", command=command, declare=AGENT.SHOP)
    return toolbox


AGENT = support_agent()
MOVED = ("order_id", "amount_minor", "currency")
REFUND: dict[str, Any] = {"order_id": "1001", "amount_minor": 2490, "currency": "EUR", "reason": "broken"}


@pytest.mark.requirement("RT-3", "TL-4")
def test_the_shop_over_mcp_refunds_once_per_key_and_its_books_agree(books: Books) -> None:
    async def work(toolbox: Toolbox) -> Any:
        refund = step(toolbox, "shop.refund", **REFUND)
        assert refund.action.described.amount == Money(2490, "EUR")
        assert refund.action.described.target == "order:1001"
        before = await toolbox.probe(refund)
        first, again = await asyncio.gather(toolbox.execute(refund), toolbox.execute(refund))
        beyond = await toolbox.execute(step(toolbox, "shop.refund", key="key-2", **REFUND))
        return before, first, again, beyond, await toolbox.probe(refund)

    before, first, again, beyond, after = using(shop(books), work)

    assert before == "did not happen"
    assert first.result == again.result == after.result
    assert (first.observed_by, after.observed_by) == ("gate", "counterparty")
    assert first.labels == ("untrusted:shop.refund",)
    assert beyond.status == "failed"
    with pytest.raises(ToolFailed) as failed:
        _ = beyond.result
    assert "0 left to refund" in failed.value.said
    assert books.rows("SELECT order_id, amount_minor, idempotency_key FROM refunds") == [("1001", 2490, "key-1")]
    assert len(books.rows("SELECT * FROM calls WHERE tool = 'refund'")) == 3


@pytest.mark.requirement("RT-3")
def test_an_email_knows_no_key_and_is_looked_up_by_its_ticket(books: Books) -> None:
    async def work(toolbox: Toolbox) -> Any:
        said: dict[str, Any] = {"ticket": "T-01", "to": "mara@example.com", "subject": "Re: cup", "text": "Done."}
        email = step(toolbox, "shop.send_email", **said)
        assert not email.action.is_repeatable
        before = await toolbox.probe(email)
        sent = await toolbox.execute(email)
        return before, sent, await toolbox.probe(email)

    before, sent, after = using(shop(books), work)

    assert before == "did not happen"
    assert sent.result == after.result == {"email_id": "E-1", "ticket": "T-01"}
    assert len(books.rows("SELECT * FROM emails")) == 1


WORKER = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
import test_mcp_tools as tests

async def work(toolbox):
    await toolbox.execute(tests.step(toolbox, "shop.refund", **tests.REFUND))

from pathlib import Path
tests.using(tests.shop(tests.Books(Path(sys.argv[2])), "--slow-ms", "1000"), work)
"""


@pytest.mark.requirement("RT-3")
def test_a_refund_whose_answer_a_crash_swallowed_is_found_by_its_probe_and_not_made_twice(books: Books) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(Path(__file__).parent), str(books.path)])
    try:
        give_up = time.monotonic() + 40
        while not (books.path.exists() and books.has("refunds") and books.rows("SELECT * FROM refunds")):
            assert worker.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.01)  # another process is on its way to the moment this test is about
    finally:
        worker.kill()
        worker.wait()

    async def work(toolbox: Toolbox) -> Any:
        refund = step(toolbox, "shop.refund", **REFUND)
        return await toolbox.probe(refund), await toolbox.execute(refund)

    found, again = using(shop(books), work)

    assert found.result == again.result == {"refund_id": "R-1", **{name: REFUND[name] for name in MOVED}}
    assert len(books.rows("SELECT * FROM refunds")) == 1
    assert len(books.rows("SELECT * FROM calls WHERE tool = 'refund'")) == 2


@pytest.mark.requirement("TL-3")
def test_arguments_are_checked_against_the_servers_schema_before_anything_is_sent(books: Books) -> None:
    async def work(toolbox: Toolbox) -> None:
        with pytest.raises(ArgumentsInvalid, match="`amount_minor` must meet"):
            step(toolbox, "shop.refund", **{**REFUND, "amount_minor": "all of it"})
        with pytest.raises(ArgumentsInvalid, match="no argument `idempotency_key`"):
            step(toolbox, "shop.refund", **REFUND, idempotency_key="mine")
        with pytest.raises(ArgumentsInvalid, match="zero or more"):
            step(toolbox, "shop.refund", **{**REFUND, "amount_minor": -5})

    using(shop(books), work)

    assert books.rows("SELECT * FROM calls") == []


@dataclass
class Gatelike:
    """A `Run` without a journal: what the support agent needs, and two rules of its policy."""

    toolbox: Toolbox
    models: Models
    named: tuple[str, ...]
    refunded: set[str]
    calls: list[str]

    async def tool(self, name: str, /, **arguments: Any) -> Any:
        self.calls.append(name)
        asked = step(self.toolbox, name, key=f"{self.named[-1]}/{name}", **arguments)
        if name == "shop.refund":
            target = asked.action.described.target
            if target not in self.named or target in self.refunded:
                raise Refused
        outcome = await self.toolbox.execute(asked)
        result = outcome.result
        if name == "shop.refund":
            self.refunded.add(asked.action.described.target)
        return result

    async def model(self, messages: list[dict[str, str]], *, schema: Any, max_tokens: int) -> Any:
        said = {"messages": messages, "maxTokens": max_tokens, "schema": schema.model_json_schema()}
        body = orjson.dumps(said)
        described = self.models.describe("model", "scripted:support", body)
        action = Action(
            tenant=TenantId("default"),
            run=RunId("run_1"),
            agent=AgentId("support"),
            step=StepKey("m"),
            branch="",
            kind="model",
            name="scripted:support",
            arguments=body,
            described=described,
            environment="test",
        )
        outcome: Outcome = await self.models.execute(Step(action=action, status="admitted"))
        assert outcome.usage.tokens <= described.ceiling.tokens
        return schema.model_validate(outcome.result["data"])


def test_the_support_agent_works_the_twelve_tickets_as_its_table_says(books: Books) -> None:
    tickets = [AGENT.Ticket.parse(path.read_text()) for path in sorted((SUPPORT / "tickets").glob("*.txt"))]

    async def work(toolbox: Toolbox) -> list[Any]:
        models = Models()
        models.add(ScriptedProvider({"support": AGENT.support_script}))
        refunded: set[str] = set()
        return [
            await AGENT.support(Gatelike(toolbox, models, ticket.resources, refunded, []), ticket) for ticket in tickets
        ]

    ended = using(shop(books), work)

    assert [(each.decision, each.refund_minor) for each in ended] == [
        ("refunded", 2490),
        ("refunded", 490),
        ("refunded", 24900),  # above the limit: held, behind the gate
        ("replied", 0),
        ("replied", 0),
        ("escalated", 0),  # the injected instruction
        ("refunded", 32900),  # above the limit: held, behind the gate
        ("refunded", 4500),
        ("escalated", 0),  # more than the order cost: the shop declines
        ("escalated", 0),  # refunded before
        ("closed", 0),
        ("refunded", 1200),
    ]
    assert len(books.rows("SELECT * FROM emails")) == 6
    assert len(books.rows("SELECT * FROM drafts")) == 5
    assert books.rows("SELECT * FROM refunds WHERE order_id = '1012'") == []


ODD_DECLARED = {
    "ok": ToolDeclaration(effect="read"),
    "hang": ToolDeclaration(timeout=timedelta(milliseconds=200)),
}


def odd(tmp_path: Path, version: str = "steady") -> tuple[Toolbox, Path]:
    diary = tmp_path / "diary"
    (tmp_path / "odd.py").write_text(ODD)
    toolbox = Toolbox()
    command = [sys.executable, "-S", str(tmp_path / "odd.py"), str(diary), version]
    toolbox.add_mcp("odd", command=command, declare=ODD_DECLARED)
    return toolbox, diary


def error_of(outcome: Outcome) -> Exception:
    with pytest.raises(Exception) as failed:
        _ = outcome.result
    return failed.value


@pytest.mark.requirement("RT-3", "TL-6")
def test_a_server_that_dies_with_a_write_in_flight_leaves_it_unknown_and_is_started_again(tmp_path: Path) -> None:
    toolbox, diary = odd(tmp_path)

    async def work(toolbox: Toolbox) -> Any:
        died = await toolbox.execute(step(toolbox, "odd.die"))
        return died, await toolbox.execute(step(toolbox, "odd.ok"))

    died, after = using(toolbox, work)

    assert died.status == "unknown"
    assert isinstance(error_of(died), ToolServerLost)
    assert after.result == {"text": "done"}
    assert [line.split()[0] for line in diary.read_text().splitlines()] == ["start", "call", "start", "call"]


@pytest.mark.requirement("TL-2")
def test_a_server_killed_between_two_calls_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    toolbox, diary = odd(tmp_path)

    async def work(toolbox: Toolbox) -> Any:
        os.kill(int(diary.read_text().split()[1]), signal.SIGKILL)
        async with asyncio.timeout(10):
            while toolbox.connected()["odd"]:  # noqa: ASYNC110 - the loop must turn for the driver to notice
                await asyncio.sleep(0)
        return await toolbox.execute(step(toolbox, "odd.babble"))

    assert using(toolbox, work).result == {"text": "done"}
    assert diary.read_text().count("start") == 2


@pytest.mark.requirement("TL-2", "TL-6")
def test_a_silent_server_times_out_and_the_write_stays_unknown(tmp_path: Path) -> None:
    toolbox, _ = odd(tmp_path)

    async def work(toolbox: Toolbox) -> Any:
        return await toolbox.execute(step(toolbox, "odd.hang")), await toolbox.execute(step(toolbox, "odd.ok"))

    hung, after = using(toolbox, work)

    assert hung.status == "unknown"
    assert isinstance(error_of(hung), ToolTimedOut)
    assert after.status == "ok"


def test_an_answer_that_is_no_tool_result_leaves_a_write_unknown(tmp_path: Path) -> None:
    toolbox, _ = odd(tmp_path)

    outcome = using(toolbox, lambda toolbox: toolbox.execute(step(toolbox, "odd.odd")))

    assert outcome.status == "unknown"
    assert "not a tool result" in str(error_of(outcome))


def test_lines_that_are_no_json_do_not_disturb_a_call(tmp_path: Path) -> None:
    toolbox, _ = odd(tmp_path)

    assert using(toolbox, lambda toolbox: toolbox.execute(step(toolbox, "odd.babble"))).result == {"text": "done"}


@pytest.mark.requirement("RT-3")
def test_a_server_that_cannot_be_started_again_fails_the_call_before_it_is_sent(tmp_path: Path) -> None:
    toolbox, diary = odd(tmp_path)

    async def work(toolbox: Toolbox) -> Any:
        await toolbox.execute(step(toolbox, "odd.die"))
        (tmp_path / "odd.py").unlink()
        return await toolbox.execute(step(toolbox, "odd.hang"))

    outcome = using(toolbox, work)

    assert outcome.status == "failed"
    assert isinstance(error_of(outcome), ToolServerUnavailable)
    assert "call hang" not in diary.read_text()


@pytest.mark.requirement("TL-3")
def test_a_server_that_comes_back_with_another_schema_is_not_called(tmp_path: Path) -> None:
    toolbox, diary = odd(tmp_path, "drifts")

    async def work(toolbox: Toolbox) -> Any:
        await toolbox.execute(step(toolbox, "odd.die"))
        return await toolbox.execute(step(toolbox, "odd.ok"))

    outcome = using(toolbox, work)

    assert outcome.status == "failed"
    assert isinstance(error_of(outcome), ToolChanged)
    assert "call ok" not in diary.read_text()


@pytest.mark.parametrize(
    ("command", "startup_s", "reason"),
    [
        (["/nonexistent/server"], 30, "cannot be started"),
        ([sys.executable, "-S", "-c", "raise SystemExit(3)"], 30, "ended before it was ready"),
        ([sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], 0.3, "nothing understandable within 0.3 s"),
        (
            [sys.executable, "-S", "-c", "import sys; print('Welcome!', flush=True); sys.stdin.read()"],
            2,
            "1 line that is not JSON-RPC",
        ),
    ],
)
def test_a_server_that_does_not_start_is_a_clear_error(command: list[str], startup_s: float, reason: str) -> None:
    toolbox = Toolbox()
    toolbox.add_mcp("broken", command=command, startup_timeout=timedelta(seconds=startup_s))

    with pytest.raises(ToolServerUnavailable, match=reason):
        using(toolbox, lambda toolbox: toolbox.probe(None))  # type: ignore[arg-type]


def test_a_declaration_for_a_tool_the_server_lacks_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    toolbox = Toolbox()
    command = [sys.executable, "-S", str(tmp_path / "odd.py"), str(tmp_path / "diary"), "steady"]
    toolbox.add_mcp("odd", command=command, declare={"okay": ToolDeclaration(effect="read")})

    with pytest.raises(ToolNotServed, match="`ok`"):
        using(toolbox, lambda toolbox: toolbox.probe(None))  # type: ignore[arg-type]


def test_servers_leave_no_process_behind(tmp_path: Path) -> None:
    toolbox, diary = odd(tmp_path)

    using(toolbox, lambda toolbox: toolbox.execute(step(toolbox, "odd.ok")))

    with pytest.raises(ProcessLookupError):
        os.kill(int(diary.read_text().split()[1]), 0)
