"""Environments: a gate takes no agent and no log of another, and says so on the record."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from answerable import Answerable, Limits, Run
from answerable.core import TenantId
from answerable.identity import EnvironmentCrossed
from answerable.ledger import Reader, control_run
from answerable.policy import replay_decisions

pytestmark = pytest.mark.requirement("GV-8")


def an_app(folder: Path, of: str, **agent: Any) -> Answerable:
    (folder / "policy").mkdir(exist_ok=True)
    (folder / "policy" / "authorize.cedar").write_text(
        '@id("here") permit (principal, action, resource) when { context.environment == "staging" };'
    )
    app = Answerable(data=folder / "data", policy=folder / "policy", environment=of)

    @app.tool(effect="write")
    async def note(text: str) -> str:
        return text

    @app.agent(name="clerk", limits=Limits(steps=5), **agent)
    async def clerk(run: Run, given: Any) -> Any:
        return await run.tool("note", text="here")

    return app


def runs_once(app: Answerable) -> Any:
    async def main() -> Any:
        async with app.gate() as gate:
            run = await gate.start("clerk", None)
            return await gate.result(run), replay_decisions(gate.reader, run).is_same

    return asyncio.run(main())


def bindings(folder: Path, data: str = "data") -> list[tuple[str, bool]]:
    reader = Reader.open(folder / data)
    said = [each.predicate["control"] for each in reader.receipts(run=control_run(TenantId("default")))]
    reader.close()
    return [(each["environment"], "refused" in each) for each in said if each["do"] == "environment"]


def test_an_agent_that_says_nothing_belongs_where_its_gate_does_and_policy_sees_it(tmp_path: Path) -> None:
    assert runs_once(an_app(tmp_path, "staging")) == ("here", True)
    assert runs_once(an_app(tmp_path, "staging")) == ("here", True)
    assert bindings(tmp_path) == [("staging", False)]


def test_an_agent_of_another_environment_does_not_start_and_the_refusal_is_on_the_record(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentCrossed, match="agent `clerk` belongs to `development`"):
        runs_once(an_app(tmp_path, "staging", environment="development"))

    assert bindings(tmp_path) == [("staging", True)]
    assert runs_once(an_app(tmp_path, "staging")) == ("here", True)


@pytest.mark.parametrize("crossing", ["development", ""])
def test_a_log_of_another_environment_is_refused_and_the_refusal_is_on_it(tmp_path: Path, crossing: str) -> None:
    runs_once(an_app(tmp_path, "staging"))

    with pytest.raises(EnvironmentCrossed, match="the log belongs to `staging`"):
        runs_once(an_app(tmp_path, crossing))

    assert bindings(tmp_path) == [("staging", False), (crossing or "none", True)]
    assert runs_once(an_app(tmp_path, "staging")) == ("here", True)


@pytest.mark.parametrize("crossing", ["production", ""])
def test_policies_of_another_environment_are_refused_and_the_refusal_is_on_the_record(
    tmp_path: Path, crossing: str
) -> None:
    app = an_app(tmp_path, "staging")
    (tmp_path / "policy" / "layers.toml").write_text('environment = "staging"\n')
    assert runs_once(app) == ("here", True)
    elsewhere = Answerable(data=tmp_path / "other", policy=tmp_path / "policy", environment=crossing)

    with pytest.raises(EnvironmentCrossed, match="the policy in `policy` belongs to `staging`"):
        runs_once(elsewhere)

    assert bindings(tmp_path / "other", "") == [(crossing or "none", True)]


def test_gates_without_an_environment_take_agents_of_any(tmp_path: Path) -> None:
    assert runs_once(an_app(tmp_path, "", environment="staging")) == ("here", True)
    assert bindings(tmp_path) == []
