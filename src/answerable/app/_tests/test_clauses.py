"""The standing of a specification's clauses in a run, as a fact that policy reads."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from answerable import Answerable, Run
from answerable.app import Gate
from answerable.core import RunId
from answerable.ledger import Reader, Receipt
from answerable.policy import (
    PolicyDenied,
    PolicyInvalid,
    PolicySet,
    explain,
    recount_facts,
    replay_decisions,
    run_policy_tests,
    simulate,
)
from answerable.standing import ClausesSoFar

pytestmark = pytest.mark.requirement("GV-1")
_PERMIT = '@id("all") permit(principal, action, resource);'
_BREACH = """
@id("after-a-breach") forbid(principal, action == Action::"send", resource)
when { context.clauses["MAIL-1"] == "violated" };
"""
_ONE = """
@id("only-one") forbid(principal, action == Action::"send", resource)
unless { context.clauses["MAIL-1"] == "not applicable" };
"""
_SPEC = """+++
id = "mail"
title = "Mail by the clerk"
owner = "head-of-mail"

[governs]
agents = ["clerk"]
tools = ["send"]
+++

# Mail by the clerk

## MAIL-1 No more than one letter a run

```check
at_most = 1
of = { phase = "intent", name = "send" }
```

## MAIL-2 Letters are kind
"""


def an_app(folder: Path, rule: str = _BREACH, spec: str = _SPEC) -> Answerable:
    policy, specs = folder / "policy", folder / "specs"
    policy.mkdir(exist_ok=True)
    specs.mkdir(exist_ok=True)
    (policy / "authorize.cedar").write_text(_PERMIT + rule)
    (specs / "mail.md").write_text(spec)
    app = Answerable(data=folder / "data", policy=policy, specs=specs)

    @app.tool(effect="irreversible")
    async def send(to: str) -> str:
        return f"sent to {to}"

    @app.agent()
    async def clerk(run: Run, given: dict[str, Any]) -> list[Any]:
        if given.get("at_once"):
            made = (run.tool("send", to=to) for to in given["to"])
            return [str(each) for each in await asyncio.gather(*made, return_exceptions=True)]
        return [await run.tool("send", to=to) for to in given["to"]]

    return app


def at(app: Answerable, body: Callable[[Gate], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with app.gate() as gate, asyncio.timeout(60):
            return await body(gate)

    return asyncio.run(main())


def sending(folder: Path, *to: str, rule: str = _BREACH) -> RunId:
    """A run that wrote to these, one after the other, refused or not."""

    async def body(gate: Gate) -> RunId:
        run = await gate.start("clerk", {"to": list(to)})
        try:
            await gate.result(run)
        except PolicyDenied:
            pass
        return run

    run: RunId = at(an_app(folder, rule), body)
    return run


def decided(reader: Reader, run: RunId) -> list[Receipt]:
    return [each for each in reader.receipts(run=run) if "decision" in each.predicate.get("authority", {})]


def test_a_run_that_broke_a_clause_does_no_more_of_what_policy_then_forbids(tmp_path: Path) -> None:
    run = sending(tmp_path, "ann", "ben", "cleo")
    reader = Reader.open(tmp_path / "data")

    told = [explain(reader, each.predicate["id"]) for each in decided(reader, run)]

    assert [each.recorded for each in told] == ["permit", "permit", "deny"]
    standing = [each.facts["clauses"] for each in told]
    assert standing == [{"MAIL-1": "not applicable"}, {"MAIL-1": "satisfied"}, {"MAIL-1": "violated"}]
    assert [(each.fact, each.value, each.verdict) for each in told[0].changes] == [
        ("clauses.MAIL-1", "violated", "deny")
    ]


@pytest.mark.requirement("EV-6")
def test_the_standing_of_a_decision_is_recomputed_from_the_receipts_before_it(tmp_path: Path) -> None:
    run = sending(tmp_path, "ann", "ben", "cleo")
    reader = Reader.open(tmp_path / "data")

    class Forged(Reader):
        """The record, with a request that claims that nothing was sent before."""

        def stored(self, commitment: str) -> tuple[bytes, bytes] | None:
            found = super().stored(commitment)
            return found and (found[0].replace(b'"MAIL-1":"satisfied"', b'"MAIL-1":"not applicable"'), found[1])

    forged = Forged.open(tmp_path / "data")
    again = recount_facts(reader, run, clauses=ClausesSoFar(reader))
    compared = recount_facts(forged, run, clauses=ClausesSoFar(forged))
    unjudged = recount_facts(reader, run)

    assert replay_decisions(reader, run).is_same
    assert [(each.differences, each.as_recorded) for each in again] == [((), ())] * 3
    assert [each.differences for each in compared] == [
        (),
        (("clauses", {"MAIL-1": "not applicable"}, {"MAIL-1": "satisfied"}),),
        (),
    ]
    assert {each.as_recorded for each in unjudged} == {("clauses",)}


def test_of_two_at_once_that_each_were_to_be_the_first_only_one_is(tmp_path: Path) -> None:
    async def body(gate: Gate) -> list[Any]:
        run = await gate.start("clerk", {"to": ["ann", "ben", "cleo"], "at_once": True})
        result: list[Any] = await gate.result(run)
        return result

    said = at(an_app(tmp_path, _ONE), body)

    assert sum(each.startswith("sent") for each in said) == 1


def test_other_policies_that_read_standing_are_tried_on_what_was_decided(tmp_path: Path) -> None:
    sending(tmp_path, "ann", "ben", rule="")
    other = tmp_path / "other"
    other.mkdir()
    (other / "authorize.cedar").write_text(_PERMIT + _ONE)
    reader, policies = Reader.open(tmp_path / "data"), PolicySet.load(other)

    tried = simulate(reader, policies, against_of={}, clauses=ClausesSoFar(reader))
    blind = simulate(reader, policies, against_of={})

    assert [each.kind for each in tried.differences] == ["same", "newly denied"]
    assert [each.kind for each in blind.differences] == ["cannot say"] * 2


def test_a_clause_that_the_run_was_not_opened_under_or_that_a_person_judges_is_undetermined(tmp_path: Path) -> None:
    run = sending(tmp_path, "ann", rule=_BREACH.replace("MAIL-1", "MAIL-2"))
    reader = Reader.open(tmp_path / "data")

    by = ClausesSoFar(reader).by(reader.receipts(run=run), frozenset({"MAIL-1", "MAIL-2", "MAIL-9"}))

    assert by == {"MAIL-1": "satisfied", "MAIL-2": "undetermined", "MAIL-9": "undetermined"}


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (_BREACH.replace("MAIL-1", "MAIL-3"), "MAIL-3"),
        (_BREACH.replace('"violated"', '"broken"'), "and never `broken`"),
        (
            _BREACH.replace('context.clauses["MAIL-1"] ==', '["met"].contains(context.clauses["MAIL-1"]) || "x" =='),
            "met",
        ),
        (_BREACH.replace('context.clauses["MAIL-1"] == "violated"', "context.clauses == context.clauses"), "name the"),
    ],
)
def test_a_policy_on_a_clause_or_a_standing_that_there_is_not_keeps_the_gate_shut(
    tmp_path: Path, rule: str, problem: str
) -> None:
    async def body(gate: Gate) -> None:
        raise AssertionError("it is open")

    with pytest.raises(PolicyInvalid) as caught:
        at(an_app(tmp_path, rule), body)
    assert problem in caught.value.problem


def test_a_table_of_tests_takes_clauses_for_satisfied_unless_it_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "authorize.cedar").write_text(_PERMIT + _BREACH)
    (tmp_path / "tests.toml").write_text(
        '[[test]]\nname = "usually"\nagent = "clerk"\naction = "send"\nexpect = "permit"\n'
        '[[test]]\nname = "after a breach"\nagent = "clerk"\naction = "send"\nexpect = "deny"\n'
        'context.clauses = { MAIL-1 = "violated" }\n'
    )

    assert run_policy_tests(tmp_path).is_passed
