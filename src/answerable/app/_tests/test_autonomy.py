"""Agents that begin at a tier, state their doubt, and turn to a person: through a whole gate."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from answerable import Answerable, Gate, Limits, Run
from answerable.core import Refused
from answerable.policy import AutonomyInvalid

ALLOW = '@id("all") permit (principal == Agent::"clerk", action, resource);'
DOUBT = '@id("doubt") @obligation("approve:role=lead") permit (principal, action == Action::"pay", resource)\n'
DOUBT += "when { context has confidence && context.confidence < 80 };"


def an_app(folder: Path, agent: Callable[[Run, Any], Awaitable[Any]], **declared: Any) -> tuple[Answerable, list[str]]:
    policy = folder / "policy"
    policy.mkdir()
    (policy / "authorize.cedar").write_text(ALLOW)
    (policy / "obligations.cedar").write_text(DOUBT)
    app, paid = Answerable(data=folder / "data", policy=policy), list[str]()

    @app.tool(effect="irreversible", idempotency="key", resource="payee:{to}")
    async def pay(to: str, *, key: str) -> str:
        paid.append(to)
        return "paid"

    app.agent(name="clerk", escalation="lead", limits=Limits(steps=20), **declared)(agent)
    return app, paid


async def approved(gate: Gate, role: str) -> Any:
    """What the only approval that comes up shows; it is given."""
    async with asyncio.timeout(20):
        while not (waiting := gate.approvals.list()):  # noqa: ASYNC110 - the record has no event
            await asyncio.sleep(0.01)
    (approval,) = waiting
    assert approval.role == role
    shown = gate.approvals.show(approval.approval)
    await gate.approvals.decide(approval.approval, "approve", by="kim", roles=[role])
    return orjson.loads(shown.arguments or b"null")


@pytest.mark.requirement("GV-7")
def test_an_agent_hands_over_with_its_reason_and_context_and_goes_on_when_a_person_says_so(tmp_path: Path) -> None:
    async def clerk(run: Run, given: Any) -> Any:
        await run.escalate("two invoices with one number", context={"invoices": ["I-1", "I-2"]})
        return await run.tool("pay", to="acme")

    app, paid = an_app(tmp_path, clerk)

    async def main() -> Any:
        async with app.gate() as gate:
            run = await gate.start("clerk", None)
            seen = await approved(gate, "lead")
            await gate.result(run)
            return seen

    seen = asyncio.run(main())

    assert seen["question"] == "two invoices with one number"
    assert (seen["context"], seen["escalated"], paid) == ({"invoices": ["I-1", "I-2"]}, True, ["acme"])


@pytest.mark.requirement("GV-7")
def test_a_doubtful_call_waits_for_a_person_and_a_sure_one_gains_nothing_by_saying_so(tmp_path: Path) -> None:
    async def clerk(run: Run, given: Any) -> Any:
        await run.confident(0.95).tool("pay", to="sure")
        return await run.branch("doubt").confident(0.5).tool("pay", to="doubtful")

    app, paid = an_app(tmp_path, clerk)

    async def main() -> list[str]:
        async with app.gate() as gate:
            run = await gate.start("clerk", None)
            await approved(gate, "lead")
            await gate.result(run)
            return [each.phase for each in gate.reader.receipts(run=run)]

    phases = asyncio.run(main())

    assert paid == ["sure", "doubtful"]
    assert phases.count("held") == 1


@pytest.mark.requirement("GV-2", "GV-10")
def test_an_agent_declared_to_draft_does_nothing_in_this_gate_and_in_the_next(tmp_path: Path) -> None:
    async def clerk(run: Run, given: Any) -> Any:
        return await run.tool("pay", to="acme")

    app, paid = an_app(tmp_path, clerk, autonomy="draft")

    async def once() -> None:
        async with app.gate() as gate:
            with pytest.raises(Refused, match="may only draft"):
                await gate.result(await gate.start("clerk", None))

    asyncio.run(once())
    spec, declared = app.agents["clerk"]
    app.agents["clerk"] = spec, replace(declared, autonomy="")
    asyncio.run(once())

    assert paid == []


@pytest.mark.requirement("GV-2")
def test_an_agent_whose_approvals_would_ask_nobody_does_not_start(tmp_path: Path) -> None:
    async def clerk(run: Run, given: Any) -> None: ...

    app, _ = an_app(tmp_path, clerk)
    app.agent(name="other", escalation="ops@example.com", autonomy="approve")(clerk)

    async def main() -> None:
        async with app.gate():
            raise AssertionError("it started")

    with pytest.raises(AutonomyInvalid, match="no role"):
        asyncio.run(main())


@pytest.mark.parametrize("confidence", [-0.1, 1.1])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Run.confident(object.__new__(Run), confidence)
