"""The sales example: an unmodified pydantic-ai agent, a CRM with its own books, a person who approves."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from answerable import Reader
from answerable.app import all_projections
from answerable.ledger import rebuild
from tests.integration.elsewhere import EXAMPLES, agent, answerable, served, tool_results
from tests.integration.upstream import Answer, Script, ScriptedUpstream, chat_whole, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(330)]

SALES = EXAMPLES / "sales"
MAIL = {"lead": "L-1", "subject": "Light for your second plant", "text": "Dear Ida Holm, congratulations."}
UPDATE = {
    "lead": "L-1",
    "stage": "contacted",
    "value_minor": 1_200_000,
    "currency": "EUR",
    "next_step": "Call about the new plant",
    "next_step_on": "2026-12-01",
}


def turn(*calls: tuple[str, dict[str, Any]]) -> Answer:
    return 200, chat_whole(None, *((name, json.dumps(said)) for name, said in calls))


def report(*, was_sent: bool) -> Answer:
    return turn(("final_result", {"lead": "L-1", "was_sent": was_sent, "note": "as asked"}))


def send_at_last(asked: dict[str, Any]) -> Answer:
    """The mail, again where a person has not decided yet, and then what became of it."""
    results = tool_results(asked)
    if not results and "Work on" in asked["messages"][-1]["content"]:
        return turn(("find_lead", {"lead": "L-1"}))
    if results and ("M-1" in results[-1] or "reject" in results[-1]):
        return report(was_sent="M-1" in results[-1])
    return turn(("send_outreach", MAIL))


class Desk:
    """A sales desk in a folder: its gate can be served and killed, its agent sent to work, its leads asked."""

    def __init__(self, folder: Path, upstream: ScriptedUpstream) -> None:
        self.folder = folder
        self.upstream = upstream
        self.key = ""

    def gate(self, *, slow_ms: int = 0) -> AbstractAsyncContextManager[tuple[asyncio.subprocess.Process, str]]:
        environment = {"OPENAI_BASE_URL": self.upstream.url, "BOOKS": str(self.folder / "books.sqlite3")}
        data = str(self.folder / "data")
        return served(SALES, "gate:app", "--data", data, SLOW_MS=str(slow_ms), **environment)

    async def says(self, *words: str) -> str:
        return await answerable(self.folder, *words, "--data", "data")

    async def work(self, url: str, task: str) -> str:
        self.key = self.key or await self.says("agent", "key", "new", "sales")
        where = {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": self.key, "MODEL": "gpt-5-mini"}
        where |= {"MCP_URL": f"{url}/mcp/crm", "MCP_KEY": self.key}
        return await agent(SALES / "agent.py", task, folder=self.folder, environment=where)

    async def held(self) -> str:
        """The approval that is waited for."""
        await self.until(lambda: self.receipts("held") != [])
        return str(self.receipts("held")[0]["control"]["approval"])

    def books(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.folder / "books.sqlite3")) as books:
            return books.execute(query).fetchall()

    async def until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():  # noqa: ASYNC110 - another process writes these books
            await asyncio.sleep(0.05)

    def receipts(self, phase: str) -> list[dict[str, Any]]:
        with contextlib.closing(Reader.open(self.folder / "data")) as reader:
            return [each.predicate for each in reader.receipts() if each.phase == phase]

    def steps(self, phase: str) -> list[str]:
        return [each["action"]["name"] for each in self.receipts(phase)]


@contextlib.asynccontextmanager
async def desk(folder: Path, *script: Script) -> AsyncIterator[Desk]:
    async with asyncio.timeout(300), serving(ScriptedUpstream(list(script))) as upstream:
        yield Desk(folder, upstream)


async def killed(process: asyncio.subprocess.Process, working: "asyncio.Task[str]") -> None:
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    with pytest.raises(AssertionError):  # the agent lost its gate, and gives up
        await working


@pytest.mark.requirement("SC-2", "FW-1", "TL-1")
def test_the_agent_researches_drafts_and_writes_leads_down_freely_and_a_mail_waits_for_a_person(tmp_path: Path) -> None:
    async def story() -> tuple[str, str, list[str]]:
        script = (
            turn(("find_lead", {"lead": "L-1"}), ("research_company", {"company": "Nordlicht Lamps"})),
            turn(("draft_outreach", MAIL), ("record_lead", {"update": {**UPDATE, "stage": "hot", "mood": "good"}})),
            turn(("record_lead", {"update": UPDATE})),
            send_at_last,
        )
        async with desk(tmp_path, *script) as there, there.gate() as (_, url):
            working = asyncio.create_task(there.work(url, "Work on lead L-1"))
            approval = await there.held()
            assert there.books("SELECT * FROM sent") == []
            assert approval in await there.says("approvals", "list")
            shown = await there.says("approvals", "show", approval)
            yes = ("--as", "lea", "--role", "sales-lead", "--reason", "good")
            await there.says("approvals", "approve", approval, *yes)
            said = await working
            checked = await there.says("spec", "check")
            assert there.steps("outcome").count("crm.send_outreach") == 1
            assert there.books("SELECT recipient, text FROM sent") == [("ida@nordlicht.example", MAIL["text"])]
            assert there.books("SELECT stage, value_minor FROM leads WHERE id = 'L-1'") == [("contacted", 1_200_000)]
            assert there.books("SELECT count(*) FROM drafts") == [(1,)]
            assert there.books("SELECT count(*) FROM calls WHERE tool = 'record_lead'") == [(1,)]
            return said, shown + checked, tool_results(there.upstream.asked[-1])

    said, shown, results = asyncio.run(story())

    assert json.loads(said) == {"lead": "L-1", "was_sent": True, "note": "as asked"}
    assert MAIL["text"] in shown  # the person saw what would go out
    for clause in ("OUTREACH-1", "OUTREACH-2", "OUTREACH-3"):
        assert f"✓ {clause} " in shown
    assert "hot" not in "".join(results[-1:])
    assert any("stage" in each or "mood" in each for each in results)  # what was wrong, for the model to put right


@pytest.mark.requirement("SC-2", "RT-3")
def test_gates_killed_while_a_mail_is_held_and_while_it_goes_out_never_send_it_twice(tmp_path: Path) -> None:
    async def story() -> str:
        async with desk(tmp_path, send_at_last) as there:
            async with there.gate() as (process, url):
                working = asyncio.create_task(there.work(url, "Work on lead L-1"))
                approval = await there.held()
                await killed(process, working)
            yes = ("--as", "lea", "--role", "sales-lead", "--reason", "good")
            await there.says("approvals", "approve", approval, *yes)
            assert there.books("SELECT * FROM sent") == []
            async with there.gate(slow_ms=20_000) as (process, url):
                working = asyncio.create_task(there.work(url, "Go on"))
                await there.until(lambda: there.books("SELECT * FROM sent") != [])
                await killed(process, working)
            async with there.gate() as (process, url):
                said = await there.work(url, "Go on")
                assert there.books("SELECT count(*) FROM sent") == [(1,)]
                assert "M-1" in tool_results(there.upstream.asked[-1])[-1]
                await there.says("spec", "check")
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
            assert there.steps("intent").count("crm.send_outreach") == 1
            assert there.steps("outcome").count("crm.send_outreach") == 1
            return said

    said = asyncio.run(story())

    assert json.loads(said)["was_sent"]
    assert all(table.is_equal for table in rebuild(tmp_path / "data", all_projections()))


@pytest.mark.requirement("SC-2")
def test_a_mail_that_a_person_rejects_is_not_sent_and_the_agent_reads_why(tmp_path: Path) -> None:
    async def story() -> tuple[str, list[str]]:
        async with desk(tmp_path, send_at_last) as there, there.gate() as (_, url):
            working = asyncio.create_task(there.work(url, "Work on lead L-1"))
            approval = await there.held()
            no = ("--as", "lea", "--role", "sales-lead", "--reason", "too early")
            await there.says("approvals", "reject", approval, *no)
            said = await working
            assert there.books("SELECT * FROM sent") == []
            return said, tool_results(there.upstream.asked[-1])

    said, results = asyncio.run(story())

    assert json.loads(said)["was_sent"] is False
    assert "reject" in results[-1]


@pytest.mark.parametrize("example", ["sales", "gate"])
def test_the_policies_of_an_example_decide_as_their_tables_say(example: str) -> None:
    said = asyncio.run(answerable(EXAMPLES / example, "policy", "test"))

    assert "0 failed" in said
    assert "no test touches" not in said
