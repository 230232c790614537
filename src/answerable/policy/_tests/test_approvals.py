"""Approvals: bound to exactly one action, answered once, by the right person, in time."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from answerable.core import Money, RunId
from answerable.ledger import Draft
from answerable.policy import ApprovalClosed, ApprovalUnknown, ApproverIsInitiator, ApproverLacksRole
from answerable.policy._tests.conftest import ALLOW, TENANT, AtDesk, Desk, an_action, policies, refusal

ASK = (
    '@id("ask") @obligation("approve:role=lead,not=initiator,timeout=3d") permit(principal, action, resource) '
    "when { context has amount_minor && context.amount_minor > 500 };"
)
LEAD: dict[str, Any] = {"by": "robin", "roles": ["lead"]}


@pytest.mark.requirement("GV-2")
def test_a_held_action_runs_once_a_person_in_the_role_approves(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        action = an_action(run)

        held = await desk.open(action)
        (waiting,) = desk.approvals.list()
        decided = await desk.approvals.decide(waiting.approval, "approve", reason="as agreed", **LEAD)
        step = await desk.open(action)

        assert (held.status, held.wait, step.status) == ("held", waiting.approval, "admitted")
        assert (decided.state, desk.approvals.list()) == ("approved", [])
        receipts = desk.ledger.reader.receipts(run=RunId(run))
        assert [receipt.phase for receipt in receipts] == ["run.open", "held", "approval", "intent"]
        assert receipts[-1].predicate["authority"]["approvals"] == [decided.decided]
        assert b"robin" not in receipts[2].body
        assert b"robin" in (desk.ledger.reader.text(receipts[2]).input or b"")

    at_desk(body, obligations=ASK)


@pytest.mark.requirement("GV-2")
def test_a_rejected_action_is_refused_with_the_reason(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        await desk.approvals.decide(held.wait, "reject", reason="not damaged", **LEAD)
        step = await desk.open(an_action(run))

        assert refusal(step) == "refused.approval_rejected"
        assert step.refusal is not None
        assert b"not damaged" in step.refusal.value

    at_desk(body, obligations=ASK)


@pytest.mark.requirement("GV-2")
def test_asking_again_while_it_waits_makes_no_second_approval(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()

        steps = await asyncio.gather(*(desk.open(an_action(run)) for _ in range(3)))

        assert len({step.wait for step in steps}) == 1
        assert len(desk.approvals.list()) == 1

    at_desk(body, obligations=ASK)


@pytest.mark.requirement("GV-2")
@pytest.mark.parametrize(
    "change",
    [{}, {"described": {"amount": Money(900, "EUR")}}, {"described": {"target": "order:9"}}],
)
def test_a_yes_to_one_action_is_no_yes_to_another(at_desk: AtDesk, change: dict[str, Any]) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))
        await desk.approvals.decide(held.wait, "approve", **LEAD)

        other = await desk.open(an_action(run, arguments=b'{"to":"me"}', **change))

        assert other.status == "held"
        assert other.wait != held.wait

    at_desk(body, obligations=ASK)


@pytest.mark.requirement("GV-2")
def test_a_further_attempt_of_the_step_uses_the_same_approval(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))
        await desk.approvals.decide(held.wait, "approve", **LEAD)
        first = await desk.open(an_action(run))

        await desk.journals[run].write_off(first, "the probe found nothing")
        second = await desk.open(an_action(run))

        assert (second.status, second.attempt) == ("admitted", 2)

    at_desk(body, obligations=ASK)


@pytest.mark.requirement("GV-2")
def test_neither_the_initiator_nor_someone_without_the_role_decides(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        for name in ("alex", "person:alex"):
            with pytest.raises(ApproverIsInitiator):
                await desk.approvals.decide(held.wait, "approve", by=name, roles=["lead"])
        with pytest.raises(ApproverLacksRole):
            await desk.approvals.decide(held.wait, "approve", by="robin", roles=["clerk", "leader"])

        assert [each.state for each in desk.approvals.list(state=None)] == ["waiting"]

    at_desk(body, obligations=ASK)


@pytest.mark.requirement("GV-2")
def test_of_two_answers_at_once_the_first_stands_and_the_second_is_told(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        answers = await asyncio.gather(
            desk.approvals.decide(held.wait, "reject", **LEAD),
            desk.approvals.decide(held.wait, "approve", by="kim", roles=["lead"]),
            return_exceptions=True,
        )

        assert isinstance(answers[1], ApprovalClosed)
        assert answers[1].state == "rejected"
        with pytest.raises(ApprovalClosed):
            await desk.approvals.decide(held.wait, "approve", **LEAD)

    at_desk(body, obligations=ASK)


@pytest.mark.requirement("GV-2")
def test_silence_is_a_denial_when_the_time_is_up(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))
        assert desk.approvals.next_due() == datetime(2026, 11, 24, 9, 0, tzinfo=UTC)

        early = await desk.approvals.expire_due()
        desk.clock.move(days=3)
        late = await desk.approvals.expire_due()
        step = await desk.open(an_action(run))

        assert (early, late) == ([], [held.wait])
        assert refusal(step) == "refused.approval_timed_out"
        assert desk.approvals.next_due() is None

    at_desk(body, obligations=ASK)


def test_a_yes_after_the_time_is_up_comes_too_late(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))
        desk.clock.move(days=4)

        with pytest.raises(ApprovalClosed) as caught:
            await desk.approvals.decide(held.wait, "approve", **LEAD)

        assert caught.value.state == "timed-out"

    at_desk(body, obligations=ASK)


@pytest.mark.requirement("GV-2")
def test_an_approval_does_not_outlive_the_policy_that_asked_for_it(
    at_desk: AtDesk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))
        await desk.approvals.decide(held.wait, "approve", **LEAD)

        desk.authorizer.use(policies(tmp_path_factory.mktemp("p"), ALLOW, ASK.replace("role=lead", "role=finance")))
        step = await desk.open(an_action(run))

        assert refusal(step) == "refused.policy_failed"

    at_desk(body, obligations=ASK)


def test_a_run_that_ends_closes_what_waited_in_it(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        members = {"control": {"state": "killed"}}
        await desk.ledger.append(
            Draft(tenant=TENANT, run=RunId(run), phase="run.close", agent="support", members=members)
        )

        assert [each.state for each in desk.approvals.list(state=None)] == ["closed"]
        with pytest.raises(ApprovalClosed):
            await desk.approvals.decide(held.wait, "approve", **LEAD)

    at_desk(body, obligations=ASK)


def test_what_waits_can_be_shown_with_the_exact_action(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        shown = desk.approvals.show(held.wait)

        assert (shown.arguments, shown.rules) == (b'{"number":1}', ("allow", "ask"))
        assert shown.action["amount"] == {"minor": 1000, "currency": "EUR"}
        with pytest.raises(ApprovalUnknown):
            desk.approvals.show("appr_none")

    at_desk(body, obligations=ASK)
