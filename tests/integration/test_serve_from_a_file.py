"""`answerable serve` from `answerable.toml` alone, as a process: tools, models, people's decisions, and its way out."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from answerable import Reader
from answerable.app import open_desk
from tests.integration.mcp_wire import LEGACY, MODERN, PlainClient
from tests.integration.test_serve import PYTHON, answer_of, ask
from tests.integration.upstream import HANG, PAUSE, ScriptedUpstream, chat_stream, chat_whole, serving

pytestmark = pytest.mark.timeout(120)

FIXTURE = Path(__file__).with_name("mcp_fixture.py")
REVISIONS = ["legacy", "2026-07-28"]
FILE = """
data = "data"
policy = "policy"
port = 0

[times]
patience = "{patience}"
drain = "{drain}"

[agents.desk]
owner = "team:support"
limits = {{ steps = 100 }}

[servers.shop]
command = {command}

[tools."shop.echo"]
effect = "read"

[providers.first]
dialect = "chat"
base_url = "{upstream}"

[models]
tiny = ["first:tiny"]
"""
PERMIT = '@id("all") permit (principal == Agent::"desk", action, resource);'
HOLD = """
@id("payments-need-a-lead")
@obligation("approve:role=lead,timeout=1d,on_timeout=deny")
permit (principal, action == Action::"shop.pay", resource);
"""


@dataclass
class There:
    folder: Path
    url: str
    key: str
    lead: str
    clerk: str
    process: asyncio.subprocess.Process
    upstream: ScriptedUpstream
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(trust_env=False, timeout=30))

    @contextlib.asynccontextmanager
    async def client(self, mode: Any) -> AsyncIterator[Client]:
        headers = {"authorization": f"Bearer {self.key}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as http,
            Client(streamable_http_client(self.url + "/mcp", http_client=http), mode=mode) as client,
        ):
            yield client

    async def get(self, path: str, key: str = "") -> httpx.Response:
        return await self.http.get(self.url + path, headers={"authorization": f"Bearer {key or self.lead}"})

    async def post(self, path: str, said: Any, key: str = "") -> httpx.Response:
        headers = {"authorization": f"Bearer {key or self.lead}"}
        return await self.http.post(self.url + path, json=said, headers=headers)

    async def waiting(self) -> str:
        """The first approval that waits, once there is one."""
        while not (found := (await self.get("/approvals")).json()["approvals"]):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.02)
        return str(found[0]["approval"])

    def done(self) -> list[str]:
        books = self.folder / "books"
        return books.read_text().split() if books.exists() else []


def write_files(folder: Path, upstream: str, *, patience: str, drain: str) -> None:
    command = json.dumps([sys.executable, str(FIXTURE), str(folder / "books")])
    file = FILE.format(command=command, upstream=upstream, patience=patience, drain=drain)
    (folder / "answerable.toml").write_text(file)
    for name, text in (("authorize", PERMIT), ("obligations", HOLD)):
        (folder / "policy" / name).mkdir(parents=True)
        (folder / "policy" / name / "desk.cedar").write_text(text)


@contextlib.asynccontextmanager
async def there(folder: Path, *, patience: str = "1s", drain: str = "20s") -> AsyncIterator[There]:
    async with serving(ScriptedUpstream()) as upstream:
        write_files(folder, upstream.url, patience=patience, drain=drain)
        async with open_desk(folder / "data") as desk:
            key = (await desk.key(do="new", named="desk"))["key"]
            lead = (await desk.key(do="new", kind="person", named="lee", roles=["lead"]))["key"]
            clerk = (await desk.key(do="new", kind="person", named="kim", roles=["clerk"]))["key"]
        process = await asyncio.create_subprocess_exec(*PYTHON, "serve", cwd=folder, stderr=asyncio.subprocess.PIPE)
        try:
            assert process.stderr is not None
            line = (await process.stderr.readline()).decode()
            assert "listening at" in line, line + (await process.stderr.read()).decode()
            found = There(folder, line.split()[-1], key, lead, clerk, process, upstream)
            async with found.http:
                yield found
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def through(folder: Path, story: Callable[[There], Awaitable[None]], **times: str) -> None:
    async def run() -> None:
        async with asyncio.timeout(110), there(folder, **times) as found:
            await story(found)

    asyncio.run(run())


@pytest.mark.requirement("TL-1", "TL-4", "MD-1")
def test_a_file_alone_serves_tools_and_models(tmp_path: Path) -> None:
    async def story(there: There) -> None:
        there.upstream.answers = [(200, chat_stream("Fine."))]
        async with there.client("2026-07-28") as client:
            listed = {tool.name: tool.annotations for tool in (await client.list_tools()).tools}
            answer = await client.call_tool("shop.echo", {"text": "hello"})

        assert answer.content[0].text == "hello"  # type: ignore[union-attr]
        assert listed["shop__echo"] is not None
        assert listed["shop__echo"].read_only_hint
        assert listed["shop__pay"] is not None
        assert not listed["shop__pay"].read_only_hint  # declared by nobody: it writes
        assert await ask(there.url, there.key, "0") == "Fine."

    through(tmp_path, story)


@pytest.mark.requirement("GV-2", "TL-4")
def test_a_new_clients_held_call_goes_on_once_a_person_approved_over_http_and_is_done_once(tmp_path: Path) -> None:
    async def story(there: There) -> None:
        async with there.client("2026-07-28") as client:
            paying = asyncio.create_task(client.call_tool("shop.pay", {"order": "1001"}))
            approval = await there.waiting()
            detail = (await there.get(f"/approvals/{approval}")).json()
            decided = await there.post(f"/approvals/{approval}/approve", {"reason": "known customer"})
            answer = await paying
        again = await there.post(f"/approvals/{approval}/reject", {"reason": "too late"})

        assert detail["arguments"] == {"order": "1001"}
        assert detail["rules"] == ["all", "payments-need-a-lead"]
        assert (decided.status_code, decided.json()["state"]) == (200, "approved")
        assert not answer.is_error
        assert there.done() == ["1001"]
        assert (again.status_code, again.json()["error"]["code"]) == (409, "refused.approval_closed")

    through(tmp_path, story)


def test_an_old_client_is_told_the_approval_and_its_next_call_finds_the_persons_no(tmp_path: Path) -> None:
    async def story(there: There) -> None:
        async with there.client("legacy") as client:
            first = await client.call_tool("shop.pay", {"order": "1001"})
            approval = await there.waiting()
            silent = await there.post(f"/approvals/{approval}/reject", {})
            decided = await there.post(f"/approvals/{approval}/reject", {"reason": "paid twice already"})
            second = await client.call_tool("shop.pay", {"order": "1001"})

        assert first.is_error
        assert approval in first.content[0].text  # type: ignore[union-attr]
        assert silent.status_code == 400
        assert decided.json()["state"] == "rejected"
        assert second.is_error
        assert "paid twice already" in second.content[0].text  # type: ignore[union-attr]
        assert there.done() == []

    through(tmp_path, story)


@pytest.mark.parametrize("mode", REVISIONS)
def test_a_decision_within_the_gates_patience_answers_the_call_that_waits(tmp_path: Path, mode: str) -> None:
    async def story(there: There) -> None:
        async with there.client(mode) as client:
            paying = asyncio.create_task(client.call_tool("shop.pay", {"order": "1001"}))
            await there.post(f"/approvals/{await there.waiting()}/approve", {})
            answer = await paying

        assert not answer.is_error
        assert there.done() == ["1001"]

    through(tmp_path, story, patience="50s")


@pytest.mark.requirement("GV-2")
def test_only_a_persons_key_with_the_role_decides(tmp_path: Path) -> None:
    async def story(there: There) -> None:
        async with there.client("legacy") as client:
            await client.call_tool("shop.pay", {"order": "1001"})
        approval = await there.waiting()
        path = f"/approvals/{approval}/approve"
        nobody = await there.http.post(there.url + path, json={})

        for key, status, code in (
            (there.key, 403, "refused.person_key_refused"),
            ("anp_guessed", 401, "refused.person_key_refused"),
            (there.clerk, 403, "refused.approver_lacks_role"),
        ):
            refused = await there.post(path, {}, key)
            assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
        assert nobody.status_code == 401
        assert (await there.get("/approvals", there.key)).status_code == 403
        assert "arguments" not in (await there.get(f"/approvals/{approval}", there.clerk)).json()
        assert (await there.post("/approvals/appr_none/approve", {})).status_code == 404
        assert (await there.post(path, {"roles": ["lead"]})).status_code == 400
        assert (await there.get("/approvals?state=open")).status_code == 400
        keys = json.loads(await answer_of(there.folder, "person", "key", "list", "--data", "data", "--json"))
        assert [(each["holder"], each["roles"]) for each in keys] == [
            ("person:lee", ["lead"]),
            ("person:kim", ["clerk"]),
        ]
        await answer_of(there.folder, "person", "key", "revoke", keys[0]["id"], "--data", "data")
        assert (await there.post(path, {})).status_code == 401
        assert there.done() == []

    through(tmp_path, story)


@pytest.mark.requirement("FW-1")
def test_a_revoked_key_opens_nothing_from_the_next_call_on(tmp_path: Path) -> None:
    async def story(there: There) -> None:
        there.upstream.answers = [(200, chat_whole("Fine."))]
        asked = {"model": "tiny", "messages": [{"role": "user", "content": "Well?"}]}
        clients = [PlainClient(there.url, there.key, revision) for revision in (LEGACY, MODERN)]
        for client in clients:
            assert "result" in (await asyncio.to_thread(client.post, "shop.echo", {"text": "hello"})).json()
        assert (await there.post("/v1/chat/completions", asked, there.key)).status_code == 200
        await answer_of(there.folder, "agent", "key", "revoke", "desk", "--data", "data")

        for client in clients:
            assert (await asyncio.to_thread(client.post, "shop.echo", {"text": "hello"})).status_code == 401
        assert (await there.post("/v1/chat/completions", asked, there.key)).status_code == 401
        assert len(there.upstream.asked) == 1

    through(tmp_path, story)
    with contextlib.closing(Reader.open(tmp_path / "data")) as reader:
        outcomes = [receipt for receipt in reader.receipts() if receipt.phase == "outcome"]
    assert len(outcomes) == 3


@pytest.mark.requirement("OP-1")
def test_a_gate_told_to_stop_lets_a_stream_end_and_begins_nothing_new(tmp_path: Path) -> None:
    async def story(there: There) -> None:
        parts = chat_stream("Well...", "Fine.")
        there.upstream.answers = [(200, [*parts[:2], PAUSE, *parts[2:]])]
        asked = {"model": "tiny", "messages": [{"role": "user", "content": "Well?"}], "stream": True}
        headers = {"authorization": f"Bearer {there.key}"}
        url = there.url + "/v1/chat/completions"
        async with there.http.stream("POST", url, json=asked, headers=headers) as stream:
            lines = stream.aiter_lines()
            while "Well..." not in await anext(lines):
                pass
            there.process.send_signal(signal.SIGTERM)
            while (ready := await there.get("/readyz")).status_code == 200:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.01)
            refused = await there.post("/v1/chat/completions", asked, there.key)
            spoken = await there.post("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "ping"}, there.key)
            there.upstream.go_on.set()
            rest = [line async for line in lines]

        assert ready.json() == {"status": "draining"}
        assert refused.status_code == spoken.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == spoken.json()["error"]["data"]["answerable/error"]["code"]
        assert any("Fine." in line for line in rest)
        assert rest[-2] == "data: [DONE]"
        assert await there.process.wait() == 0
        assert len(there.upstream.asked) == 1

    through(tmp_path, story)


@pytest.mark.requirement("OP-1")
def test_a_stream_that_outlasts_the_drain_is_cut_and_settled_and_a_waiting_caller_is_answered_at_once(
    tmp_path: Path,
) -> None:
    async def story(there: There) -> None:
        there.upstream.answers = [(200, [*chat_stream("Well...")[:2], HANG])]
        async with there.client("legacy") as client:
            paying = asyncio.create_task(client.call_tool("shop.pay", {"order": "1001"}))
            approval = await there.waiting()
            said = await ask(there.url, there.key, "0", at_pause=lambda: there.process.send_signal(signal.SIGTERM))
            held = await paying
        assert said == "Well..."
        assert approval in held.content[0].text  # type: ignore[union-attr]
        assert await there.process.wait() == 0

    through(tmp_path, story, patience="50s", drain="1s")
    with contextlib.closing(Reader.open(tmp_path / "data")) as reader:
        outcomes = [receipt.predicate for receipt in reader.receipts() if receipt.phase == "outcome"]
    assert [(each["effect"]["status"], each["action"]["kind"]) for each in outcomes] == [("failed", "model")]
