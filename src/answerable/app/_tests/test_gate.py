"""A gate opens whole or not at all, and what its agents do goes down the road."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable import Answerable, Gate, Limits, Run
from answerable.app import open_desk
from answerable.identity import AgentUndeclared
from answerable.ledger import DirectoryInUse, Reader
from answerable.policy import PolicyDenied, PolicyInvalid

PERMIT = '@id("clerk-adds") permit (principal == Agent::"clerk", action == Action::"add", resource);'


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    folder = tmp_path / "policy"
    folder.mkdir()
    (folder / "authorize.cedar").write_text(PERMIT)
    return folder


def an_app(tmp_path: Path, policy: Path, **declared: Any) -> Answerable:
    app = Answerable(data=tmp_path / "data", policy=policy)

    @app.tool(effect="write", idempotency="key")
    async def add(first: int, second: int, *, key: str) -> int:
        return first + second

    @app.tool(effect="irreversible")
    async def launch() -> str:
        return "gone"

    @app.agent(**declared)
    async def clerk(run: Run, number: int) -> int:
        if number < 0:
            await run.tool(launch)
        total: int = await run.tool(add, first=number, second=1)
        return total

    return app


def with_gate(app: Answerable, body: Callable[[Gate], Awaitable[None]]) -> None:
    async def main() -> None:
        async with app.gate() as gate, asyncio.timeout(30):
            await body(gate)

    asyncio.run(main())


@pytest.mark.requirement("EV-1", "GV-1")
def test_a_run_returns_what_its_agent_returned_and_leaves_its_receipts(tmp_path: Path, policy: Path) -> None:
    async def body(gate: Gate) -> None:
        run = await gate.start("clerk", 41, on_behalf_of="person:dana")

        assert await gate.result(run) == 42
        phases = [receipt.phase for receipt in gate.reader.receipts(run=run)]
        assert phases == ["run.open", "intent", "outcome", "run.close"]

    with_gate(an_app(tmp_path, policy), body)


@pytest.mark.requirement("GV-1")
def test_what_no_policy_permits_is_refused_with_a_receipt_and_raised_in_the_agent(tmp_path: Path, policy: Path) -> None:
    async def body(gate: Gate) -> None:
        run = await gate.start("clerk", -1)

        with pytest.raises(PolicyDenied):
            await gate.result(run)
        phases = [receipt.phase for receipt in gate.reader.receipts(run=run)]
        assert phases == ["run.open", "denied", "run.close"]

    with_gate(an_app(tmp_path, policy), body)


@pytest.mark.requirement("RT-1")
def test_a_start_key_gives_the_same_run_however_often_and_across_gates(tmp_path: Path, policy: Path) -> None:
    runs = []

    async def body(gate: Gate) -> None:
        runs.append(await gate.start("clerk", 1, key="once"))
        runs.append(await gate.start("clerk", 1, key="once"))

    with_gate(an_app(tmp_path, policy), body)
    with_gate(an_app(tmp_path, policy), body)

    assert len(set(runs)) == 1


@pytest.mark.requirement("GV-9")
@pytest.mark.parametrize(
    ("declared", "missing"),
    [
        ({}, "liable owner"),
        ({"owner": "person:o", "stop": "ops", "escalation": "ops"}, "bounds"),
        ({"owner": "person:o", "limits": Limits(), "escalation": "ops"}, "stop"),
        ({"owner": "person:o", "limits": Limits(), "stop": "ops"}, "escalation"),
    ],
)
def test_in_production_an_undeclared_agent_does_not_start_and_nothing_is_made(
    tmp_path: Path, policy: Path, declared: dict[str, Any], missing: str
) -> None:
    app = an_app(tmp_path, policy, environment="production", **declared)

    with pytest.raises(AgentUndeclared, match=missing):
        with_gate(app, lambda gate: asyncio.sleep(0))

    assert not (tmp_path / "data").exists()


@pytest.mark.requirement("GV-9")
def test_in_production_a_declared_agent_acts(tmp_path: Path, policy: Path) -> None:
    async def body(gate: Gate) -> None:
        assert await gate.result(await gate.start("clerk", 1)) == 2

    app = an_app(
        tmp_path,
        policy,
        environment="production",
        owner="person:owner",
        stop="ops",
        escalation="ops",
        limits=Limits(steps=10, wall=timedelta(minutes=1)),
    )
    with_gate(app, body)


def test_a_broken_policy_stops_the_gate_before_anything_is_made(tmp_path: Path, policy: Path) -> None:
    (policy / "authorize.cedar").write_text("permit (whatever")

    with pytest.raises(PolicyInvalid):
        with_gate(an_app(tmp_path, policy), lambda gate: asyncio.sleep(0))

    assert not (tmp_path / "data").exists()


@pytest.mark.requirement("GV-3")
def test_a_stopped_agent_does_nothing_more_and_its_run_reads_killed(tmp_path: Path, policy: Path) -> None:
    async def body(gate: Gate) -> None:
        await gate.desk.stop(scope="agent:clerk", reason="misbehaves", by="person:ops")
        run = await gate.start("clerk", 1)

        with pytest.raises(Exception, match="misbehaves"):
            await gate.result(run)
        assert gate.reader.receipts(run=run)[-1].predicate["control"]["state"] == "killed"

    with_gate(an_app(tmp_path, policy), body)


def test_the_record_is_written_by_one_at_a_time_and_read_by_anyone(tmp_path: Path, policy: Path) -> None:
    async def body(gate: Gate) -> None:
        run = await gate.start("clerk", 1)
        await gate.result(run)

        with pytest.raises(DirectoryInUse):
            async with open_desk(tmp_path / "data"):
                pass
        reader = Reader.open(tmp_path / "data")
        assert len(reader.receipts(run=run)) == 4
        reader.close()

    with_gate(an_app(tmp_path, policy), body)


def test_a_model_means_a_tool_by_its_name_with_or_without_dots_or_by_its_servers_own_name(
    tmp_path: Path, policy: Path
) -> None:
    app = an_app(tmp_path, policy)
    for name in ("shop.look", "yard.look", "yard.mow"):

        @app.tool(effect="read", name=name)
        def look() -> str:
            return "green"

    async def body(gate: Gate) -> None:
        assert gate.tools_named("add") == ("add",)
        for said in ("yard.mow", "yard__mow", "yard_mow", "mcp__answerable__yard__mow", "mcp__yard__mow", "mow"):
            assert gate.tools_named(said) == ("yard.mow",)
        assert gate.tools_named("look") == ("shop.look", "yard.look")
        assert gate.tools_named("trim") == ()

    with_gate(app, body)
