"""Facts: what is done, in flight or in doubt counts; what failed gives back; a moved fact is decided again."""

import asyncio
import json

import pytest

from answerable.core import Effect, Money, RunId
from answerable.policy import FactsProjection, recount_facts, replay_decisions
from answerable.policy._tests.conftest import ALLOW, FAILED, AtDesk, Desk, an_action, refusal

ONCE = ALLOW + '@id("once") forbid(principal, action, resource) when { context.prior_on_target > 0 };'
DAILY = (
    ALLOW + '@id("daily") forbid(principal, action, resource) when { context has amount_minor && '
    "context.amount_today_minor + context.amount_minor > 2500 };"
)


@pytest.mark.requirement("GV-1")
def test_a_second_refund_of_a_target_is_refused_and_another_target_is_not(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run, other = await desk.run(), await desk.run()

        first = await desk.do(an_action(run, 1))
        again = await desk.do(an_action(other, 1))
        elsewhere = await desk.do(an_action(other, 2, described={"target": "order:7"}))

        assert (first.status, again.status, elsewhere.status) == ("admitted", "refused", "admitted")
        assert refusal(again) == "refused.policy_denied"

    at_desk(body, authorize=ONCE)


def test_what_is_in_flight_counts_and_what_failed_does_not(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run, other = await desk.run(), await desk.run()

        in_flight = await desk.open(an_action(run, 1))
        during = await desk.open(an_action(other, 1))
        await desk.close(in_flight, FAILED)
        after = await desk.open(an_action(other, 2))

        assert (during.status, after.status) == ("refused", "admitted")

    at_desk(body, authorize=ONCE)


def test_a_written_off_attempt_gives_back_and_the_steps_own_attempt_is_no_prior(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run, other = await desk.run(), await desk.run()
        lost = await desk.open(an_action(run, 1))

        # The same step may go on: what it has in flight itself is nothing that came before it.
        decision = await desk.authorizer.authorize(an_action(run, 1))
        await desk.journals[run].write_off(lost, "the probe found nothing")
        elsewhere = await desk.open(an_action(other, 1))
        again = await desk.open(an_action(run, 1))

        assert decision.verdict == "permit"
        assert (elsewhere.status, again.status) == ("admitted", "refused")

    at_desk(body, authorize=ONCE)


@pytest.mark.requirement("GV-1")
def test_two_decisions_on_the_same_fact_do_not_both_open(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run, other = await desk.run(), await desk.run()
        first, second = an_action(run, 1), an_action(other, 1)
        one = await desk.authorizer.authorize(first)
        two = await desk.authorizer.authorize(second)

        opened = await asyncio.gather(desk.journals[run].open(first, one), desk.journals[other].open(second, two))

        assert [one.verdict, two.verdict] == ["permit", "permit"]
        assert [step.status for step in opened] == ["admitted", "moved"]
        assert (await desk.open(second)).status == "refused"

    at_desk(body, authorize=ONCE)


def test_many_at_once_never_pass_the_days_limit(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        runs = [await desk.run() for _ in range(6)]

        steps = await asyncio.gather(
            *(desk.do(an_action(run, 1, described={"target": f"order:{n}"})) for n, run in enumerate(runs))
        )

        assert sorted(step.status for step in steps) == ["admitted"] * 2 + ["refused"] * 4

    at_desk(body, authorize=DAILY)


def test_the_days_sum_starts_anew_with_the_day_and_keeps_currencies_apart(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        await desk.do(an_action(run, 1, described={"target": "order:1", "amount": Money(2500, "EUR")}))

        dollars = await desk.do(an_action(run, 2, described={"target": "order:2", "amount": Money(2500, "USD")}))
        more = await desk.do(an_action(run, 3, described={"target": "order:3"}))
        desk.clock.move(days=1)
        tomorrow = await desk.do(an_action(run, 4, described={"target": "order:4"}))

        assert (dollars.status, more.status, tomorrow.status) == ("admitted", "refused", "admitted")

    at_desk(body, authorize=DAILY)


def test_reads_of_a_target_are_no_priors(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        for number in (1, 2):
            step = await desk.do(an_action(run, number, described={"effect": Effect.READ}))
            assert step.status == "admitted"

    at_desk(body, authorize=ONCE)


def test_a_steps_own_attempt_is_not_in_the_days_sum_it_is_held_against(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        action = an_action(run, 1, described={"amount": Money(2000, "EUR")})
        await desk.open(action)

        decision = await desk.authorizer.authorize(action)

        assert decision.verdict == "permit"

    at_desk(body, authorize=DAILY)


RUN = (
    ALLOW + '@id("run") forbid(principal, action, resource) when { context has amount_minor && '
    "context.amount_run_minor + context.amount_minor > 2500 };"
)


@pytest.mark.requirement("GV-1", "EV-6")
def test_what_a_run_moved_by_any_tool_is_a_fact_and_counted_anew_from_its_receipts(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run, other = RunId(await desk.run()), await desk.run()
        in_flight = await desk.open(an_action(run, 1))
        await desk.do(an_action(run, 2, name="shop.pay"), FAILED)
        second = await desk.do(an_action(run, 3, name="shop.pay"))
        dollars = await desk.do(an_action(run, 4, described={"amount": Money(2500, "USD")}))
        third = await desk.do(an_action(run, 5))
        elsewhere = await desk.do(an_action(other, 1))
        again = await desk.authorizer.authorize(an_action(run, 1))  # what it has in flight itself is not before it
        await desk.close(in_flight, FAILED)
        after = await desk.do(an_action(run, 6))

        statuses = [step.status for step in (second, dollars, third, elsewhere, after)]
        assert statuses == ["admitted", "admitted", "refused", "admitted", "admitted"]
        assert json.loads(again.request)["context"]["amount_run_minor"] == 1000
        assert all(not each.differences for each in recount_facts(desk.ledger.reader, run))
        assert replay_decisions(desk.ledger.reader, run).is_same

    at_desk(body, authorize=RUN)


def test_many_at_once_in_one_run_never_pass_what_policy_lets_it_move(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()

        steps = await asyncio.gather(
            *(desk.do(an_action(run, n, described={"target": f"order:{n}"})) for n in range(1, 7))
        )

        assert sorted(step.status for step in steps) == ["admitted"] * 2 + ["refused"] * 4

    at_desk(body, authorize=RUN)


def test_what_a_run_moved_follows_from_receipts_whenever_the_gate_that_counts_began(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        await desk.do(an_action(run, 1), FAILED)
        await desk.do(an_action(run, 2, described={"target": "order:2"}))
        for projection in desk.ledger.projections:
            if isinstance(projection, FactsProjection):
                projection.forget()  # as a gate that starts anew
        await desk.do(an_action(run, 3, described={"target": "order:3"}))

        third = await desk.do(an_action(run, 4, described={"target": "order:4"}))

        assert third.status == "refused"

    at_desk(body, authorize=RUN)
