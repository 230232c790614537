"""A fork that is held to policies of its own: they count from the fork on, beside the policy in force."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from answerable import Answerable, Gate, Run
from answerable.core import RunId
from answerable.ledger import Receipt
from answerable.policy import PolicyDenied, PolicyInvalid, PolicySet, explain, replay_decisions
from answerable.runtime import ControlRefused

pytestmark = pytest.mark.requirement("RT-4")

IN_FORCE = """
@id("clerk-adds") permit (principal == Agent::"clerk", action == Action::"add", resource);
@id("clerk-sends") permit (principal == Agent::"clerk", action == Action::"send", resource);
@id("clerk-delegates") permit (principal == Agent::"clerk", action == Action::"delegation:helper", resource);
@id("helper-sends") permit (principal == Agent::"helper", action == Action::"send", resource);
"""
ADDS = '@id("fork-adds") permit (principal, action == Action::"add", resource);'
ALL = '@id("fork-may-all") permit (principal, action, resource);'
HELD = '@id("fork-asks") @obligation("approve:role=lead") permit (principal, action == Action::"send", resource);'
WHO: Any = {"by": "person:dana", "reason": "to see what a stricter policy does"}


def an_app(directory: Path) -> Answerable:
    (directory / "policy").mkdir()
    (directory / "policy" / "authorize.cedar").write_text(IN_FORCE)
    app = Answerable(data=directory / "data", policy=directory / "policy")

    @app.tool(effect="write", idempotency="key")
    async def add(n: int, *, key: str) -> int:
        return n + 1

    @app.tool(effect="write", idempotency="key")
    async def send(n: int, *, key: str) -> int:
        return n

    @app.tool(effect="irreversible")
    async def launch() -> str:
        return "gone"

    @app.agent
    async def helper(run: Run, given: int) -> int:
        sent: int = await run.tool("send", n=given)
        return sent

    @app.agent
    async def clerk(run: Run, given: Any) -> Any:
        added = await run.tool("add", n=1)
        if given == "delegate":
            return await run.delegate("helper", added)
        await run.tool("send", n=added)
        return await run.tool("launch") if given == "launch" else added

    return app


def with_gate(directory: Path, body: Callable[[Gate], Awaitable[None]]) -> None:
    async def main() -> None:
        async with an_app(directory).gate() as gate, asyncio.timeout(30):
            await body(gate)

    asyncio.run(main())


def a_policy(directory: Path, authorize: str, obligations: str = "") -> Any:
    directory.mkdir()
    (directory / "authorize.cedar").write_text(authorize)
    if obligations:
        (directory / "obligations.cedar").write_text(obligations)
    return json.loads(PolicySet.load(directory).snapshot())


def receipt_of(gate: Gate, run: RunId, phase: str, name: str) -> Receipt:
    found = gate.reader.receipts(run=run)
    return next(one for one in found if one.phase == phase and one.predicate["action"]["name"] == name)


def test_a_forks_own_policy_decides_what_comes_after_the_fork_and_stands_on_the_receipts(tmp_path: Path) -> None:
    async def body(gate: Gate) -> None:
        run = await gate.start("clerk", None)
        await gate.result(run)
        place = receipt_of(gate, run, "intent", "send").predicate["step"]
        own = a_policy(tmp_path / "own", ADDS)

        forked = RunId((await gate.desk.fork(run=run, at=place, changed={"policy": own}, **WHO))["run"])
        with pytest.raises(PolicyDenied):
            await gate.result(forked)

        control = gate.reader.opened(forked)["control"]
        denied = receipt_of(gate, forked, "denied", "send").predicate
        assert denied["authority"]["policy"] == control["policy"]
        stored = gate.reader.stored(control["policy"])
        assert stored is not None
        assert b"fork-adds" in stored[0]
        assert [one.phase for one in gate.reader.receipts(run=forked)] == ["run.open", "denied", "run.close"]
        assert all(not each.difference for each in replay_decisions(gate.reader, forked).decisions)
        assert explain(gate.reader, denied["id"]).verdict == "deny"

    with_gate(tmp_path, body)


def test_a_forks_own_policy_permits_nothing_that_the_policy_in_force_does_not(tmp_path: Path) -> None:
    async def body(gate: Gate) -> None:
        run = await gate.start("clerk", "launch")
        with pytest.raises(PolicyDenied):
            await gate.result(run)
        changed = {"policy": a_policy(tmp_path / "own", ALL)}

        forked = RunId((await gate.desk.fork(run=run, at="", changed=changed, **WHO))["run"])
        with pytest.raises(PolicyDenied):
            await gate.result(forked)

        denied = receipt_of(gate, forked, "denied", "launch").predicate
        assert denied["authority"]["policy"] != gate.reader.opened(forked)["control"]["policy"]

    with_gate(tmp_path, body)


def test_what_a_forks_own_policy_holds_waits_for_a_person(tmp_path: Path) -> None:
    async def body(gate: Gate) -> None:
        run = await gate.start("clerk", None)
        await gate.result(run)
        changed = {"policy": a_policy(tmp_path / "own", ALL, HELD)}

        forked = RunId((await gate.desk.fork(run=run, at="", changed=changed, **WHO))["run"])
        while not (waiting := gate.approvals.list()):  # noqa: ASYNC110 - it stands on the record, which has no event
            await asyncio.sleep(0.005)
        await gate.approvals.decide(waiting[0].approval, "approve", by="eve", roles=["lead"], reason="fine")

        assert waiting[0].run == forked
        assert await gate.result(forked) == 2

    with_gate(tmp_path, body)


def test_children_and_forks_of_a_fork_are_held_to_its_policy_too(tmp_path: Path) -> None:
    async def body(gate: Gate) -> None:
        run = await gate.start("clerk", "delegate")
        await gate.result(run)
        no_sending = ALL + '@id("no-sending") forbid (principal, action == Action::"send", resource);'
        changed = {"policy": a_policy(tmp_path / "own", no_sending)}

        forked = RunId((await gate.desk.fork(run=run, at="", changed=changed, **WHO))["run"])
        with pytest.raises(PolicyDenied):
            await gate.result(forked)
        again = RunId((await gate.desk.fork(run=forked, at="", **WHO))["run"])
        with pytest.raises(PolicyDenied):
            await gate.result(again)

        with pytest.raises(ControlRefused):
            await gate.desk.fork(run=forked, at="", changed={"policy": a_policy(tmp_path / "rid", ALL)}, **WHO)

    with_gate(tmp_path, body)


def test_policies_that_cannot_be_used_open_no_fork(tmp_path: Path) -> None:
    async def body(gate: Gate) -> None:
        run = await gate.start("clerk", None)
        await gate.result(run)
        before = len(gate.reader.receipts())

        for wrong in (
            "everything",
            {"format": "x"},
            {**a_policy(tmp_path / "own", ADDS), "authorize": {"a": "permit"}},
        ):
            with pytest.raises(PolicyInvalid):
                await gate.desk.fork(run=run, at="", changed={"policy": wrong}, **WHO)

        assert len(gate.reader.receipts()) == before

    with_gate(tmp_path, body)
