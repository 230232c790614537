"""Facts over windows, about the clock and about people: what is counted, and decided again when it moves."""

import asyncio

import orjson
import pytest

from answerable.core import Money
from answerable.policy import recount_facts
from answerable.policy._tests.conftest import ALLOW, DONE, FAILED, TENANT, AtDesk, Desk, an_action, refusal

NEVER = '@id("never") forbid(principal, action, resource) when {{ {} }};'
EVERYTHING = (
    "context.count_today + context.count_7d + context.count_30d + context.payees_today + context.prior_approvals"
    " + context.amount_today_minor + context.amount_7d_minor + context.amount_30d_minor > 999999999"
)


async def told(desk: Desk, run: str, number: int = 99, **described: object) -> dict[str, object]:
    """What policy is told of one more refund."""
    decision = await desk.authorizer.authorize(an_action(run, number, described=described))
    context: dict[str, object] = orjson.loads(decision.request)["context"]
    return context


@pytest.mark.requirement("GV-1")
def test_sums_and_counts_cover_their_days_and_no_others(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        for number, days in enumerate((0, 1, 5, 1, 22, 1), 1):  # on days 0, 1, 6, 7, 29 and 30
            desk.clock.move(days=days)
            await desk.do(an_action(run, number, described={"target": f"order:{number}"}))

        today = await told(desk, run)
        desk.clock.move(days=7)
        later = await told(desk, run)

        assert [today[f"count_{window}"] for window in ("today", "7d", "30d")] == [1, 2, 5]
        assert [today[f"amount_{window}_minor"] for window in ("today", "7d", "30d")] == [1000, 2000, 5000]
        assert [later[f"count_{window}"] for window in ("today", "7d", "30d")] == [0, 0, 2]

    at_desk(body, authorize=ALLOW + NEVER.format(EVERYTHING))


@pytest.mark.requirement("GV-1")
def test_payees_are_counted_once_a_day_and_those_whom_nothing_reached_are_not(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        await desk.do(an_action(run, 1, described={"target": "order:1"}))
        await desk.do(an_action(run, 2, described={"target": "order:1"}))
        await desk.do(an_action(run, 3, described={"target": "order:2"}))
        failed = await desk.open(an_action(run, 4, described={"target": "order:3"}))

        in_flight = await told(desk, run, target="order:4")
        await desk.close(failed, FAILED)
        known, new = await told(desk, run, target="order:1"), await told(desk, run, target="order:4")
        other = await told(desk, run, target="order:1", amount=Money(5, "USD"))
        unpaid = await told(desk, run, target="order:1", amount=None)

        assert [each["payees_today"] for each in (in_flight, known, new, other, unpaid)] == [4, 2, 3, 1, 0]

    at_desk(body, authorize=ALLOW + NEVER.format(EVERYTHING))


def test_effects_that_move_no_money_are_counted_too(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        for number in (1, 2):
            await desk.do(an_action(run, number, described={"amount": None, "target": f"order:{number}"}))

        third = await desk.do(an_action(run, 3, described={"amount": None, "target": "order:3"}))
        paid = await desk.do(an_action(run, 4, described={"target": "order:3"}))

        assert (refusal(third), paid.status) == ("refused.policy_denied", "admitted")

    at_desk(body, authorize=ALLOW + NEVER.format("context.count_today >= 2"))


@pytest.mark.requirement("GV-1", "GV-2")
def test_what_people_approved_before_is_known(at_desk: AtDesk) -> None:
    asks = '@id("ask") @obligation("approve:role=lead") permit(principal, action, resource) '
    asks += "when { context.prior_approvals == 0 };"

    async def body(desk: Desk) -> None:
        run, other = await desk.run(), await desk.run()
        held = await desk.open(an_action(run, 1))
        before = await desk.open(an_action(other, 1))
        await desk.approvals.decide(held.wait, "approve", by="kim", roles=["lead"])
        taken = await desk.do(an_action(run, 1))

        again = await desk.do(an_action(other, 2))
        elsewhere = await desk.open(an_action(other, 3, described={"target": "order:7"}))

        assert [each.status for each in (before, taken, again, elsewhere)] == ["held", "admitted", "admitted", "held"]

    at_desk(body, obligations=asks)


@pytest.mark.requirement("GV-1")
def test_a_window_that_moves_between_decision_and_opening_is_decided_again(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run, other = await desk.run(), await desk.run()
        first = an_action(run, 1, described={"target": "order:1"})
        second = an_action(other, 1, described={"target": "order:2"})
        one, two = await asyncio.gather(desk.authorizer.authorize(first), desk.authorizer.authorize(second))

        opened = await desk.journals[run].open(first, one)
        moved = await desk.journals[other].open(second, two)

        assert (opened.status, moved.status) == ("admitted", "moved")
        assert (await desk.open(second)).status == "refused"

    at_desk(body, authorize=ALLOW + NEVER.format("context.amount_30d_minor + 1000 > 1500"))


@pytest.mark.requirement("GV-1")
def test_a_permit_of_the_last_minute_is_decided_again_in_the_next_hour(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        desk.clock.move(hours=8, minutes=59)  # 17:59 on a Saturday
        action = an_action(run, 1)
        decision = await desk.authorizer.authorize(action)
        desk.clock.move(minutes=1)

        late = await desk.journals[run].open(action, decision)

        assert orjson.loads(decision.request)["context"] == {"hour": 17, "weekday": 6}
        assert (decision.verdict, late.status) == ("permit", "moved")
        assert (await desk.open(action)).status == "refused"

    at_desk(body, authorize=ALLOW + NEVER.format("context.hour >= 18 || context.weekday == 7"))


@pytest.mark.requirement("GV-1")
def test_the_registered_roles_of_who_asked_for_the_run_are_told_and_those_of_a_namesake_are_not(
    at_desk: AtDesk,
) -> None:
    clerks = '@id("c") permit(principal, action, resource) when { context.initiator_roles.contains("clerk") };'

    async def body(desk: Desk) -> None:
        run = await desk.run()
        nobody = await desk.authorizer.authorize(an_action(run, 1))
        await desk.people.set("alex", ["clerk", "lead"])
        action = an_action(run, 2)
        named = await desk.authorizer.authorize(action)
        system = await desk.authorizer.authorize(an_action(run, 3, on_behalf_of="schedule:alex"))
        await desk.people.set("alex", ["lead"])

        assert [each.verdict for each in (nobody, named, system)] == ["deny", "permit", "deny"]
        assert (await desk.journals[run].open(action, named)).status == "moved"

    at_desk(body, authorize=clerks)


@pytest.mark.requirement("EV-6")
def test_facts_of_windows_people_and_clock_are_those_that_the_receipts_give(at_desk: AtDesk) -> None:
    reads = NEVER.format(EVERYTHING + ' || context.hour == 99 || context.initiator_roles.contains("x")')

    async def body(desk: Desk) -> None:
        await desk.people.set("alex", ["clerk"])
        run = await desk.run()
        for number in range(1, 5):
            step = await desk.open(an_action(run, number, described={"target": f"order:{number % 2}"}))
            await desk.close(step, FAILED if number == 2 else DONE)
            desk.clock.move(hours=30)

        counted = recount_facts(desk.ledger.reader, run, tenant=TENANT)

        assert len(counted) == 4
        assert [each.differences for each in counted if each.differences] == []

    at_desk(body, authorize=ALLOW + reads)
