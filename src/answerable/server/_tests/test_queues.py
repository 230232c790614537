"""Too much at once, over HTTP: a clear "try later", and nothing half done."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Literal

import httpx
import pytest

from answerable import Answerable, Gate, Run, Upstream
from answerable.server._http import http_app

pytestmark = pytest.mark.requirement("RT-5")


def an_app(directory: Path) -> Answerable:
    (directory / "policy").mkdir()
    (directory / "policy" / "authorize.cedar").write_text('@id("all") permit (principal, action, resource);')
    app = Answerable(data=directory / "data", policy=directory / "policy")
    app.queue("agent:clerk", rate=1, per=timedelta(hours=1), waiting=2)
    app.queue("agent:far", rate=1, per=timedelta(minutes=10))

    @app.tool(effect="read", name="look")
    async def look() -> int:
        return 1

    @app.agent
    async def clerk(run: Run, given: int) -> int:
        return given

    app.wired("far")
    dialects: tuple[Literal["chat", "messages"], ...] = ("chat", "messages")
    for dialect in dialects:
        app.upstream(Upstream(name=dialect, dialect=dialect, base_url="http://127.0.0.1:9/v1", key="k"))
    return app


def over_http(directory: Path, story: Callable[[Gate, httpx.AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with an_app(directory).gate() as gate, asyncio.timeout(30):
            transport = httpx.ASGITransport(app=http_app(gate))
            async with httpx.AsyncClient(transport=transport, base_url="http://gate") as client:
                await story(gate, client)

    asyncio.run(main())


def test_a_start_beyond_what_may_wait_is_told_when_to_try_again_and_leaves_nothing(tmp_path: Path) -> None:
    async def story(gate: Gate, client: httpx.AsyncClient) -> None:
        _, key = await gate.person_keys.new("dana", roles=["operator"])
        client.headers["x-api-key"] = key
        first = (await client.post("/runs", json={"agent": "clerk", "input": 0})).json()
        await gate.result(first["run"])
        answers = [await client.post("/runs", json={"agent": "clerk", "input": n}) for n in range(1, 6)]
        refused = answers[-1]
        queues = {row["scope"]: row for row in (await client.get("/queues")).json()["queues"]}
        listed = (await client.get("/runs")).json()["runs"]

        assert [each.status_code for each in answers] == [200, 200, 429, 429, 429]
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.json()["error"]["code"] == "refused.queue_full"
        assert len(listed) == 3
        assert (queues["agent:clerk"]["waits"], queues["agent:clerk"]["waiting"]) == (2, 2)

    over_http(tmp_path, story)


@pytest.mark.parametrize(("dialect", "path"), [("chat", "/v1/chat/completions"), ("messages", "/v1/messages")])
def test_a_model_call_beyond_the_rate_is_a_429_that_an_sdk_tries_again(
    tmp_path: Path, dialect: Literal["chat", "messages"], path: str
) -> None:
    async def story(gate: Gate, client: httpx.AsyncClient) -> None:
        _, key = await gate.agent_keys.new("far")
        session = await gate.sessions.get("far")
        await session.perform("tool", "look", b"{}")
        before = len(list(gate.reader.all()))
        asked = {"model": f"{dialect}:tiny", "messages": [{"role": "user", "content": "?"}], "max_tokens": 9}

        refused = await client.post(path, json=asked, headers={"x-api-key": key})

        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == "rate_limit_error"
        assert refused.headers["x-should-retry"] == "true"
        assert 1 <= int(refused.headers["retry-after"]) <= 601
        assert len(list(gate.reader.all())) == before, "nothing was done, so nothing is on the record"

    over_http(tmp_path, story)
