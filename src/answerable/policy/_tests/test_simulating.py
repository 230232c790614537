"""Decisions on record: explained, counted anew, and tried under other policies."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from answerable.core import Effect, Money, RunId, TenantId
from answerable.ledger import Receipt
from answerable.policy import DecisionNotFound, explain, recount_facts, simulate
from answerable.policy._tests.conftest import FAILED, AtDesk, Desk, an_action, policies

RULES = """
@id("small") permit(principal, action == Action::"shop.refund", resource)
when { context has amount_minor && context.amount_minor <= 1000 };
@id("once") forbid(principal, action, resource) when { context.prior_on_target > 0 };
@id("daily") forbid(principal, action, resource) when { context.amount_today_minor > 1500 };
"""
PERMIT = '@id("may") permit(principal, action, resource);'
FORBID = '@id("{0}") forbid(principal, action, resource) when {{ {1} }};'
TAINT = '@id("tainted") forbid(principal, action, resource) when { context.tainted };'
ASK = (
    '@id("ask") @obligation("approve:role=lead") permit(principal, action, resource) '
    "when { context has amount_minor && context.amount_minor > 500 };"
)


async def a_day(desk: Desk) -> RunId:
    """A small refund done, one that failed, one held and approved, one too large, one on an order done before."""
    run = await desk.run()
    small = {"amount": Money(300, "EUR")}
    await desk.do(an_action(run, 1, described=small))
    await desk.do(an_action(run, 2, described={**small, "target": "order:2"}), FAILED)
    held = await desk.open(an_action(run, 3, described={"target": "order:3"}))
    await desk.approvals.decide(held.wait, "approve", by="robin", roles=["lead"])
    await desk.do(an_action(run, 3, described={"target": "order:3"}))
    await desk.do(an_action(run, 4, described={"amount": Money(9000, "EUR"), "target": "order:4"}))
    await desk.do(an_action(run, 5, described=small))
    return RunId(run)


def decisions(desk: Desk, run: RunId) -> list[Receipt]:
    return [each for each in desk.ledger.reader.receipts(run=run) if "decision" in each.predicate.get("authority", {})]


@pytest.mark.requirement("EV-6")
def test_the_facts_of_every_decision_are_those_that_the_receipts_before_it_give(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await a_day(desk)

        counted = recount_facts(desk.ledger.reader, run)

        assert len(counted) == len(decisions(desk, run)) == 6
        assert all(not each.differences for each in counted), counted

    at_desk(body, authorize=RULES, obligations=ASK)


@pytest.mark.requirement("EV-6")
def test_a_fact_that_was_recorded_wrongly_is_named(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await a_day(desk)

        class Forged:
            """The record, with requests that claim that nothing was done before."""

            after = desk.ledger.reader.after
            text = desk.ledger.reader.text

            def receipts(self, *, run: RunId | None = None, tenant: TenantId = TenantId("default")) -> list[Receipt]:
                return desk.ledger.reader.receipts(run=run, tenant=tenant)

            def stored(self, digest: str) -> tuple[bytes, bytes] | None:
                found = desk.ledger.reader.stored(digest)
                return found and (found[0].replace(b'"prior_on_target":1', b'"prior_on_target":0'), found[1])

        counted = recount_facts(Forged(), run)

        assert [each.differences for each in counted if each.differences] == [(("prior_on_target", 0, 1),)]

    at_desk(body, authorize=RULES, obligations=ASK)


@pytest.mark.requirement("GV-1", "EV-6")
def test_a_decision_is_explained_by_its_rules_its_facts_and_what_would_have_changed_it(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await a_day(desk)
        held, too_large = decisions(desk, run)[2], decisions(desk, run)[4]

        waits = explain(desk.ledger.reader, held.predicate["id"])
        denied = explain(desk.ledger.reader, too_large.predicate["id"])

        assert (waits.verdict, [rule.id for rule in waits.rules]) == ("hold", ["ask", "small"])
        assert "(context.amount_minor) > 500" in waits.rules[0].text
        assert {(each.fact, each.value, each.verdict) for each in waits.changes} >= {
            ("amount_minor", 500, "permit"),
            ("amount_minor", 1001, "deny"),
            ("prior_on_target", 1, "deny"),
        }
        assert (denied.recorded, denied.refused_by) == ("deny", "refused.policy_denied")
        assert ("amount_minor", 1000, "hold") in {(each.fact, each.value, each.verdict) for each in denied.changes}
        opened = desk.ledger.reader.receipts(run=run)[0].predicate["id"]
        for missing in ("rcpt_none", opened):
            with pytest.raises(DecisionNotFound):
                explain(desk.ledger.reader, missing)

    at_desk(body, authorize=RULES, obligations=ASK)


_OF_EU = (
    '@id("eu") permit(principal in Group::"finance", action, resource) when '
    '{ context has attributes && context.attributes has region && context.attributes.region == "eu" };'
)
_OTHERS: dict[str, tuple[str, str, dict[str, Any], list[str], tuple[str, Any, str, str | None]]] = {
    "another role would have been asked": (
        PERMIT,
        ASK.replace("}", "&& context.amount_minor < 5000 }"),
        {},
        [],
        ("amount_minor", 5000, "permit", None),
    ),
    "the agent in a group": (_OF_EU, "", {"attributes": {"region": "eu"}}, [], ("groups", ["finance"], "permit", None)),
    "what the tool declares": (
        _OF_EU,
        "",
        {"attributes": {"region": "us"}},
        ["finance"],
        ("attributes.region", "eu", "permit", None),
    ),
    "two at once, where one is not enough": (
        PERMIT
        + FORBID.format("a", "context has amount_minor && context.amount_minor > 500")
        + FORBID.format("b", 'context.effect == "write"'),
        "",
        {"effect": Effect.WRITE},
        [],
        ("amount_minor", 500, "permit", "effect"),
    ),
    "a role of who asked": (
        PERMIT + FORBID.format("a", '!context.initiator_roles.contains("payer")'),
        "",
        {},
        [],
        ("initiator_roles", ["payer"], "permit", None),
    ),
}


@pytest.mark.requirement("GV-1")
@pytest.mark.parametrize("what", _OTHERS)
def test_what_would_have_changed_a_decision_is_named(at_desk: AtDesk, what: str) -> None:
    authorize, obligations, described, groups, expected = _OTHERS[what]

    async def body(desk: Desk) -> None:
        run = await desk.run()
        await desk.do(an_action(run, described=described))

        (decision,) = decisions(desk, RunId(run))
        found = explain(desk.ledger.reader, decision.predicate["id"])

        told = [(each.fact, each.value, each.verdict, each.also and each.also[0]) for each in found.changes]
        assert expected in told, told
        assert found.groups == tuple(groups)

    schema = "type Attributes = { region?: String };" if "attributes" in authorize else ""
    at_desk(body, authorize=authorize, obligations=obligations, schema=schema, groups={"support": groups})


@pytest.mark.requirement("GV-10")
def test_an_explanation_says_which_tier_held_it_and_what_execute_would_have_given(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        await desk.autonomy.set("support", "draft", environment="development", by="dana", reason="new here")
        run = await desk.run()
        await desk.do(an_action(run))

        (decision,) = decisions(desk, RunId(run))
        found = explain(desk.ledger.reader, decision.predicate["id"])

        assert (found.tier, found.refused_by) == ("draft", "refused.draft_only")
        assert [(each.fact, each.was, each.value, each.verdict) for each in found.changes] == [
            ("tier", "draft", "execute", "permit")
        ]

    at_desk(body)


@pytest.mark.requirement("GV-1")
@pytest.mark.parametrize(
    ("obligations", "widens"),
    [
        (ASK, False),
        ("", True),
        (ASK.replace("role=lead", "role=lead,n=2"), False),
        (ASK.replace("role=lead", "role=lead,edit"), True),
        (ASK.replace("lead", "clerk"), True),
    ],
)
def test_policies_that_give_more_authority_than_then_are_told_apart_from_stricter_ones(
    at_desk: AtDesk, tmp_path: Path, obligations: str, widens: bool
) -> None:
    other = policies(tmp_path / "other", PERMIT, obligations)

    async def body(desk: Desk) -> None:
        await desk.open(an_action(await desk.run()))

        (found,) = simulate(desk.ledger.reader, other, against_of={}).differences

        assert (found.then, found.widens) == ("hold", widens)

    at_desk(body, authorize=PERMIT, obligations=ASK)


@pytest.mark.requirement("GV-1")
@pytest.mark.parametrize(
    ("authorize", "obligations", "kinds"),
    [
        (RULES, ASK, ["same"] * 6),
        (RULES.replace("<= 1000", "<= 250"), ASK, ["newly denied"] * 4 + ["same"] * 2),
        (RULES.replace("<= 1000", "<= 9000"), ASK, ["same"] * 4 + ["newly held", "same"]),
        (RULES, "", ["same", "same", "newly permitted", "newly permitted", "same", "same"]),
        (RULES, ASK.replace("lead", "boss"), ["same", "same", *["other obligations"] * 2, "same", "same"]),
        (TAINT + RULES, ASK, ["same"] * 6),
    ],
)
def test_other_policies_are_tried_on_what_was_decided(
    at_desk: AtDesk, tmp_path: Path, authorize: str, obligations: str, kinds: list[str]
) -> None:
    other = policies(tmp_path / "other", authorize, obligations)

    async def body(desk: Desk) -> None:
        await a_day(desk)

        found = simulate(desk.ledger.reader, other, against_of={})
        later = simulate(desk.ledger.reader, other, against_of={}, since="2027-01-01T00:00:00.000000Z")

        assert [each.kind for each in found.differences] == kinds
        assert later.differences == ()

    at_desk(body, authorize=RULES, obligations=ASK)


def test_what_nobody_wrote_down_then_cannot_be_simulated(at_desk: AtDesk, tmp_path: Path) -> None:
    rule = (
        '@id("eu") permit(principal, action, resource) when '
        '{ context has attributes && context.attributes has region && context.attributes.region == "eu" };'
    )
    other = policies(tmp_path / "other", rule, schema="type Attributes = { region?: String };")

    async def body(desk: Desk) -> None:
        action = an_action(await desk.run())
        await desk.do(replace(action, described=replace(action.described, attributes={"region": "eu"})))

        (found,) = simulate(desk.ledger.reader, other, against_of={}).differences

        assert (found.kind, found.why) == ("cannot say", "`context.attributes.region` is not on the record")

    at_desk(body)
