"""Tiers: what an agent may do by itself; what it says of itself only ever tightens."""

from typing import Any

import orjson
import pytest

from answerable.core import Effect
from answerable.policy import AutonomyInvalid, AutonomyUnproven, explain, recount_facts, replay_decisions, simulate
from answerable.policy._tests.conftest import ALLOW, TENANT, AtDesk, Desk, an_action, policies, refusal

pytestmark = pytest.mark.requirement("GV-2", "GV-10")

HERE: dict[str, Any] = {"environment": "development", "by": "dana", "reason": "as agreed"}
PROOF: dict[str, Any] = {
    "measured": "200 of 200 refunds approved unchanged in October",
    "undo": "shop.cancel_refund within a day",
    "evidence": [{"kind": "file", "digest": "sha256:" + "0" * 64}],
}
WRITE = {"effect": Effect.WRITE}


def test_an_agent_that_may_only_draft_reads_and_asks_and_does_nothing(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        await desk.autonomy.set("support", "draft", **HERE)
        run = await desk.run()

        wrote = await desk.do(an_action(run, 1))
        read = await desk.do(an_action(run, 2, described={"effect": Effect.READ, "amount": None}))
        asked = await desk.do(
            an_action(run, 3, kind="decision", name="approval", arguments=b'{"question":"may I?","role":"lead"}')
        )
        other = await desk.do(an_action(run, 4, agent="clerk"))
        elsewhere = await desk.do(an_action(run, 5, environment="staging"))

        assert refusal(wrote) == "refused.draft_only"
        assert [each.status for each in (read, asked, other, elsewhere)] == ["admitted", "held", "admitted", "admitted"]
        assert replay_decisions(desk.ledger.reader, run).is_same

    at_desk(body)


def test_tiers_differ_by_effect_and_approve_asks_a_person_each_time(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        await desk.autonomy.set("support", "approve", effects=["irreversible"], role="lead", **HERE)
        run = await desk.run()

        held = await desk.open(an_action(run, 1))
        await desk.approvals.decide(held.wait, "approve", by="kim", roles=["lead"])
        done = await desk.do(an_action(run, 1))
        again = await desk.open(an_action(run, 2))
        reversible = await desk.do(an_action(run, 3, described=WRITE))

        assert [each.status for each in (held, done, again, reversible)] == ["held", "admitted", "held", "admitted"]
        assert replay_decisions(desk.ledger.reader, run).is_same

    at_desk(body)


def test_where_policy_asks_for_a_person_already_that_is_the_yes(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        await desk.autonomy.set("support", "approve", role="lead", **HERE)
        run = await desk.run()

        held = await desk.open(an_action(run, 1))
        await desk.approvals.decide(held.wait, "approve", by="kim", roles=["cfo"])

        assert (await desk.do(an_action(run, 1))).status == "admitted"

    at_desk(body, obligations='@id("cfo") @obligation("approve:role=cfo") permit(principal, action, resource);')


@pytest.mark.parametrize("lacking", [*PROOF, "all"])
def test_autonomy_widens_only_by_a_decision_that_cites_evidence_and_narrows_at_once(
    at_desk: AtDesk, lacking: str
) -> None:
    async def body(desk: Desk) -> None:
        await desk.autonomy.set("support", "draft", **HERE)
        some = {} if lacking == "all" else {name: value for name, value in PROOF.items() if name != lacking}
        with pytest.raises(AutonomyUnproven):
            await desk.autonomy.set("support", "approve", role="lead", **HERE, **some)
        still = {each.tier for each in desk.autonomy.tiers()}

        widened = await desk.autonomy.set("support", "execute", **HERE, **PROOF)
        receipts = [each.predicate["control"] for each in desk.ledger.reader.receipts() if each.phase == "control"]
        narrowed = await desk.autonomy.set("support", "draft", **HERE)

        assert still == {"draft"}
        assert [{each.tier for each in tiers} for tiers in (widened, narrowed)] == [{"execute"}, {"draft"}]
        assert receipts[-1]["was"] == "draft"
        assert {name: receipts[-1][name] for name in PROOF} == PROOF
        assert "dana" not in str(receipts)

    at_desk(body)


def test_a_tier_set_between_decision_and_opening_is_heeded(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        first, second = an_action(run, 1), an_action(run, 2)
        before = await desk.authorizer.authorize(first)
        await desk.autonomy.set("support", "approve", role="lead", **HERE)
        between = await desk.authorizer.authorize(second)
        await desk.autonomy.set("support", "draft", **HERE)

        opened = [await desk.journals[run].open(action, said) for action, said in ((first, before), (second, between))]

        assert [each.status for each in opened] == ["moved", "moved"]
        assert refusal(await desk.open(first)) == "refused.draft_only"

    at_desk(body)


def test_what_is_declared_is_where_an_agent_begins_and_what_was_decided_since_stands(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        declared = {"environment": "development", "tier": "approve", "role": "lead"}
        await desk.autonomy.declare("support", **declared)
        await desk.autonomy.set("support", "execute", effects=["write"], **HERE, **PROOF)
        await desk.autonomy.declare("support", **declared)

        assert {each.effect: each.tier for each in desk.autonomy.tiers()} == {
            "write": "execute",
            "irreversible": "approve",
        }

    at_desk(body)


@pytest.mark.parametrize(("tier", "role"), [("obey", "lead"), ("approve", ""), ("approve", "a@b.example")])
def test_a_tier_that_would_hold_nothing_is_refused(at_desk: AtDesk, tier: str, role: str) -> None:
    async def body(desk: Desk) -> None:
        with pytest.raises(AutonomyInvalid):
            await desk.autonomy.set("support", tier, role=role, **HERE)

    at_desk(body)


def test_policy_may_read_the_tier_and_facts_and_simulation_know_it(at_desk: AtDesk, tmp_path: Any) -> None:
    small = ALLOW + '@id("small") forbid(principal, action, resource) when { context.tier == "approve" && '
    small += "context has amount_minor && context.amount_minor > 500 };"

    async def body(desk: Desk) -> None:
        await desk.autonomy.set("support", "approve", role="lead", **HERE)
        run = await desk.run()
        held = await desk.open(an_action(run, 1))

        told = explain(desk.ledger.reader, desk.ledger.reader.receipts(run=run)[-1].predicate["id"])
        tried = simulate(desk.ledger.reader, policies(tmp_path / "other", small), against_of={}, tenant=TENANT)
        counted = recount_facts(desk.ledger.reader, run)

        assert (held.status, told.verdict) == ("held", "hold")
        assert [each.kind for each in tried.differences] == ["newly denied"]
        assert [each.differences for each in counted] == [()]

    at_desk(body)


DOUBT = '@id("doubt") @obligation("approve:role=lead") permit(principal, action, resource) '
DOUBT += "when { context has confidence && context.confidence < 80 };"
BOAST = '@id("sure") permit(principal, action, resource) when { context has confidence && context.confidence > 90 };'


@pytest.mark.requirement("GV-7")
@pytest.mark.parametrize(
    ("authorize", "confidence", "status"),
    [
        (ALLOW, None, "admitted"),
        (ALLOW, 79, "held"),
        (ALLOW, 80, "admitted"),
        (BOAST, None, "refused"),
        (BOAST, 100, "refused"),
        (
            ALLOW + '@id("f") forbid(principal, action, resource) unless { context has confidence };',
            100,
            "refused",
        ),
    ],
)
def test_a_stated_confidence_tightens_and_never_loosens(
    at_desk: AtDesk, authorize: str, confidence: int | None, status: str
) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()

        step = await desk.open(an_action(run, 1, confidence=confidence))

        assert step.status == status
        request = orjson.loads((await desk.authorizer.authorize(an_action(run, 1, confidence=confidence))).request)
        assert request["context"] == ({} if confidence is None else {"confidence": confidence})
        assert replay_decisions(desk.ledger.reader, run).is_same

    at_desk(body, authorize=authorize, obligations=DOUBT)
