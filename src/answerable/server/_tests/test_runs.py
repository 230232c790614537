"""Runs over HTTP: for operators only, each order with a reason, and nothing half understood."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from answerable import Answerable, Gate, Run
from answerable.core import RunId
from answerable.policy import Stopped
from answerable.server._http import http_app

pytestmark = pytest.mark.requirement("RT-4", "GV-3")

Ask = Callable[..., Awaitable[tuple[int, Any]]]


def an_app(directory: Path) -> Answerable:
    (directory / "policy").mkdir()
    (directory / "policy" / "authorize.cedar").write_text('@id("all") permit (principal, action, resource);')
    app = Answerable(data=directory / "data", policy=directory / "policy")

    @app.tool(effect="write", idempotency="key", compensate="cancel", name="book")
    async def book(n: int, *, key: str) -> int:
        return n

    @app.tool(effect="write", idempotency="key", name="cancel")
    async def cancel(n: int, *, key: str) -> int:
        return n

    @app.agent
    async def clerk(run: Run, given: int) -> Any:
        await run.tool("book", n=given)
        return await run.signal("go")

    return app


def over_http(directory: Path, story: Callable[[Gate, Ask], Awaitable[None]]) -> None:
    async def main() -> None:
        async with an_app(directory).gate() as gate, asyncio.timeout(30):
            _, operator = await gate.person_keys.new("dana", roles=["operator"])
            transport = httpx.ASGITransport(app=http_app(gate))
            async with httpx.AsyncClient(transport=transport, base_url="http://gate") as client:

                async def ask(method: str, path: str, said: Any = None, *, key: str = operator) -> tuple[int, Any]:
                    headers = {"authorization": f"Bearer {key}"} if key else {}
                    answer = await client.request(method, path, json=said, headers=headers)
                    return answer.status_code, answer.json()

                await story(gate, ask)

    asyncio.run(main())


def test_only_a_persons_key_with_the_role_of_an_operator_opens_it(tmp_path: Path) -> None:
    async def story(gate: Gate, ask: Ask) -> None:
        run = await gate.start("clerk", 1)
        _, agents = await gate.agent_keys.new("clerk")
        _, others = await gate.person_keys.new("eve", roles=["lead"])
        said = {"reason": "I want to"}
        for path in (f"/runs/{run}/kill", f"/runs/{run}/resolve", f"/runs/{run}/signal"):
            assert (await ask("POST", path, said, key=""))[0] == 401
            assert (await ask("POST", path, said, key="nonsense"))[0] == 401
            assert (await ask("POST", path, said, key=agents))[0] == 403
            status, told = await ask("POST", path, said, key=others)
            assert (status, told["error"]["code"]) == (403, "refused.operator_needed")
        assert (await ask("GET", "/runs", key=agents))[0] == 403
        assert [receipt.phase for receipt in gate.reader.receipts(run=run) if receipt.phase == "control"] == []

    over_http(tmp_path, story)


def test_a_run_is_paused_resumed_signalled_forked_and_undone(tmp_path: Path) -> None:
    async def story(gate: Gate, ask: Ask) -> None:
        run = await gate.start("clerk", 1)
        assert await ask("POST", f"/runs/{run}/pause", {"reason": "wait"}) == (200, {"run": run, "state": "paused"})
        status, told = await ask("GET", f"/runs/{run}")
        assert (status, told["state"], told["order"]["reason"]) == (200, "open", "wait")
        assert "dana" not in str(told), "the record has a pseudonym"
        assert (await ask("POST", f"/runs/{run}/pause", {"reason": "again"}))[0] == 409
        await ask("POST", f"/runs/{run}/resume", {"reason": "go"})
        await ask("POST", f"/runs/{run}/signal", {"name": "go", "payload": 7, "key": "k"})
        assert await gate.result(run) == 7

        _, forked = await ask("POST", f"/runs/{run}/fork", {"reason": "another", "changed": {"input": 2}})
        await ask("POST", f"/runs/{forked['run']}/signal", {"name": "go", "payload": 8})
        assert await gate.result(RunId(forked["run"])) == 8
        _, back = await ask("POST", f"/runs/{forked['run']}/rollback", {"reason": "not wanted"})
        assert len((await gate.result(RunId(back["run"])))["undone"]) == 1
        status, told = await ask("GET", f"/runs/{run}")
        assert told["gave"] == [{"run": forked["run"], "how": "fork"}]
        assert len((await ask("GET", "/runs?most=2"))[1]["runs"]) == 2

    over_http(tmp_path, story)


def test_a_run_is_started_once_for_its_key_with_its_priority(tmp_path: Path) -> None:
    async def story(gate: Gate, ask: Ask) -> None:
        said = {"agent": "clerk", "input": 3, "key": "order-7", "priority": 2, "on_behalf_of": "person:eve"}
        status, told = await ask("POST", "/runs", said)
        again = await ask("POST", "/runs", said)
        await ask("POST", f"/runs/{told['run']}/signal", {"name": "go", "payload": 4})
        opened = gate.reader.opened(RunId(told["run"]))

        assert (status, again) == (200, (200, told))
        assert await gate.result(RunId(told["run"])) == 4
        assert (opened["control"]["priority"], "person:eve" in str(opened)) == (2, False)
        for wrong, expected in (
            ({"agent": "nobody"}, 404),
            ({"input": 1}, 400),
            ({"agent": "clerk", "input": "no number"}, 400),
            ({"agent": "clerk", "input": 1, "priority": 10}, 400),
            ({"agent": "clerk", "input": 1, "resources": [1]}, 400),
        ):
            assert (await ask("POST", "/runs", wrong))[0] == expected

    over_http(tmp_path, story)


@pytest.mark.parametrize(
    ("path", "said", "status"),
    [
        ("/runs/{run}/pause", {}, 400),
        ("/runs/{run}/pause", {"reason": " "}, 400),
        ("/runs/{run}/pause", ["reason"], 400),
        ("/runs/{run}/pause", {"reason": "r", "by": "somebody else"}, 400),
        ("/runs/{run}/fork", {"reason": "r", "at": 7}, 400),
        ("/runs/{run}/fork", {"reason": "r", "at": "nowhere"}, 409),
        ("/runs/{run}/resolve", {"reason": "r"}, 400),
        ("/runs/{run}/resolve", {"reason": "r", "step": "none", "happened": True}, 404),
        ("/runs/{run}/retry", {"reason": "r"}, 409),
        ("/runs/{run}/explode", {"reason": "r"}, 400),
        ("/runs/run_0/kill", {"reason": "r"}, 404),
        ("/runs/{run}/signal", {"name": "a:b"}, 403),
        ("/runs/{run}/signal", {"name": "[" * 10_001}, 400),
        ("/runs/{run}/kill", {"reason": "{" * 10_001}, 400),
    ],
)
def test_what_is_malformed_or_does_not_fit_is_named_and_leaves_nothing(
    tmp_path: Path, path: str, said: Any, status: int
) -> None:
    async def story(gate: Gate, ask: Ask) -> None:
        run = await gate.start("clerk", 1)
        got, told = await ask("POST", path.format(run=run), said)
        assert got == status, told
        assert told["error"]["message"]
        phases = [receipt.phase for receipt in gate.reader.receipts(run=run)]
        assert "control" not in phases
        assert "signal" not in phases

    over_http(tmp_path, story)


@pytest.mark.parametrize("scope", ["agent:clerk", "tool:book", "tenant", "all"])
def test_an_operator_stops_from_afar_what_must_do_no_more_and_lifts_it_again(tmp_path: Path, scope: str) -> None:
    async def story(gate: Gate, ask: Ask) -> None:
        status, told = await ask("POST", "/stops", {"scope": scope, "reason": "it misbehaves"})
        assert (status, told["state"], told["inFlight"]) == (200, "stopped", [])
        assert [each["scope"] for each in (await ask("GET", "/stops"))[1]["stops"]] == [scope]

        with pytest.raises(Stopped, match="it misbehaves"):
            await gate.result(await gate.start("clerk", 1))
        assert (await ask("POST", "/stops/lift", {"scope": scope, "reason": "mended"}))[1]["state"] == "lifted"
        run = await gate.start("clerk", 2)
        await gate.runs.signal(run, "go", True)

        assert await gate.result(run) is True
        assert (await ask("GET", "/stops"))[1] == {"stops": []}

    over_http(tmp_path, story)


def test_a_stop_needs_an_operator_a_scope_and_a_reason_and_a_tenants_stops_its_own(tmp_path: Path) -> None:
    async def story(gate: Gate, ask: Ask) -> None:
        _, others = await gate.person_keys.new("eve", roles=["lead"])
        _, agents = await gate.agent_keys.new("clerk")
        said = {"scope": "all", "reason": "because"}
        assert [(await ask("POST", "/stops", said, key=key))[0] for key in ("", agents, others)] == [401, 403, 403]
        for wrong in ({"scope": "all"}, {"reason": "x"}, {**said, "reason": " "}, {**said, "by": "eve"}):
            assert (await ask("POST", "/stops", wrong))[1]["error"]["code"] == "refused.request_malformed"
        status, told = await ask("POST", "/stops", {**said, "scope": "everything"})
        assert (status, told["error"]["code"]) == (400, "config.stop_scope_invalid")
        status, told = await ask("POST", "/stops/lift", said)
        assert (status, told["error"]["code"]) == (404, "refused.stop_unknown")
        assert (await ask("GET", "/stops"))[1] == {"stops": []}

    over_http(tmp_path, story)
