"""Delegation through the whole gate: policy, budgets, the verifier."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from answerable import Answerable, Limits, Run, ScriptedProvider
from answerable.ledger import export_bundle, write_trust
from answerable.policy import BudgetExceeded, PolicyDenied, replay_decisions
from answerable.runtime import links_from
from answerable_verify import verify

POLICY = """
@id("boss-delegates") permit (principal == Agent::"boss", action == Action::"delegation:helper", resource);
@id("both-ask") permit (principal, action in Action::"model", resource);
@id("helper-only") permit (principal == Agent::"helper", action == Action::"stamp", resource);
"""


def an_app(directory: Path, limits: Limits) -> Answerable:
    policy = directory / "policy"
    policy.mkdir()
    (policy / "authorize.cedar").write_text(POLICY)
    app = Answerable(data=directory / "data", policy=policy)
    app.provider(ScriptedProvider({"echo": lambda messages: messages[-1]["content"]}))

    @app.tool(effect="write", idempotency="key")
    async def stamp(*, key: str) -> str:
        return "stamped"

    @app.agent(model="scripted:echo")
    async def helper(run: Run, given: str) -> str:
        if given == "stamp":
            return str(await run.tool(stamp))
        return str(await run.model(given, max_tokens=20))

    @app.agent(model="scripted:echo", limits=limits)
    async def boss(run: Run, given: str) -> list[Any]:
        said = [await run.delegate("helper", each) for each in given.split("|")]
        return [*said, await run.model("and I?", max_tokens=20)]

    return app


@pytest.mark.requirement("RT-9", "RT-6", "MD-3")
def test_what_a_child_uses_is_charged_to_whoever_delegated_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with an_app(tmp_path, Limits(tokens=100)).gate() as gate, asyncio.timeout(30):
            run = await gate.start("boss", "|".join(f"question {n}" for n in range(30)))
            with pytest.raises(BudgetExceeded, match="100"):
                await gate.result(run)
            assert 1 < len(links_from(gate.reader, run)) < 30, "each is within the limit, all of them are not"

    asyncio.run(story())


@pytest.mark.requirement("RT-9", "GV-1")
def test_a_helper_does_not_lend_its_delegator_rights_that_policy_gives_only_to_itself(tmp_path: Path) -> None:
    async def story() -> None:
        async with an_app(tmp_path, Limits()).gate() as gate, asyncio.timeout(30):
            run = await gate.start("boss", "stamp")
            with pytest.raises(PolicyDenied):
                await gate.result(run)
            child = links_from(gate.reader, run)[0].run
            assert replay_decisions(gate.reader, child).is_same
            export_bundle(gate.reader, [run, child], tmp_path / "denied.zip")
            write_trust(gate.reader, tmp_path / "trust.toml")
            assert await gate.result(await gate.start("helper", "stamp")) == "stamped"

    asyncio.run(story())
    report = verify(tmp_path / "denied.zip", tmp_path / "trust.toml")
    assert (report.verdict, report.findings) == ("verified", ()), "decided on its delegator's request, and said so"


@pytest.mark.requirement("RT-9", "EV-3")
def test_a_line_of_runs_is_verified_by_outsiders_like_any_other(tmp_path: Path) -> None:
    async def story() -> None:
        async with an_app(tmp_path, Limits()).gate() as gate, asyncio.timeout(30):
            run = await gate.start("boss", "hello", on_behalf_of="person:ann")
            assert await gate.result(run) == ["hello", "and I?"]
            child = links_from(gate.reader, run)[0].run
            fork = await gate.control.fork(child, by="person:ann", reason="again")
            await gate.result(fork)
            export_bundle(gate.reader, [run, child, fork], tmp_path / "line.zip")
            write_trust(gate.reader, tmp_path / "trust.toml")

    asyncio.run(story())
    report = verify(tmp_path / "line.zip", tmp_path / "trust.toml")
    assert (report.verdict, report.findings) == ("verified", ())
    assert [each.state for each in report.runs] == ["done"] * 3
