"""Budgets: reserved before, settled after, never passed."""

import asyncio
import json
from typing import Any

import pytest
import sqlalchemy as sa

from answerable.action import OutcomeUnknown
from answerable.core import Effect, Money, Outcome, RunId, Usage
from answerable.ledger import Prepared
from answerable.policy import Budget, BudgetAlerts, BudgetInvalid, reserved_by, spending
from answerable.policy._budgets import _budgets as budgets_table
from answerable.policy._tests.conftest import FAILED, AtDesk, Desk, an_action, refusal, tokens

_TABLE = Prepared(
    sa.select(budgets_table.c.scope, budgets_table.c.dimension, budgets_table.c.reserved, budgets_table.c.spent)
)


def used(desk: Desk, scope: str, dimension: str = "tokens") -> tuple[int, int]:
    rows = {(row[0], row[1]): (row[2], row[3]) for row in desk.ledger.reader.rows(_TABLE)}
    return rows.get((scope, dimension), (0, 0))


def done(spent: int) -> Outcome:
    return Outcome(status="ok", usage=Usage(input_tokens=spent))


@pytest.mark.requirement("RT-6")
def test_a_ceiling_is_reserved_before_and_what_was_used_is_settled_after(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run(tokens=100)

        step = await desk.open(an_action(run, 1, described=tokens(60)))
        during = used(desk, f"run:{run}")
        await desk.close(step, done(25))

        assert (during, used(desk, f"run:{run}")) == ((60, 0), (0, 25))

    at_desk(body)


@pytest.mark.requirement("RT-6")
def test_a_call_that_could_pass_the_limit_is_refused_with_what_is_left(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run(tokens=100)
        await desk.do(an_action(run, 1, described=tokens(60)), done(60))

        step = await desk.open(an_action(run, 2, described=tokens(41)))
        just = await desk.open(an_action(run, 3, described=tokens(40)))

        assert refusal(step) == "refused.budget_exceeded"
        assert step.refusal is not None
        assert b'"left":40' in step.refusal.value
        assert just.status == "admitted"

    at_desk(body)


@pytest.mark.requirement("RT-6")
def test_calls_in_flight_together_never_pass_the_limit(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run(tokens=100)

        steps = await asyncio.gather(*(desk.open(an_action(run, n, described=tokens(40))) for n in range(5)))

        assert sorted(step.status for step in steps) == ["admitted"] * 2 + ["refused"] * 3

    at_desk(body)


@pytest.mark.requirement("RT-6")
def test_an_unknown_outcome_keeps_its_reservation_and_a_write_off_releases_it(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run(tokens=100)
        step = await desk.open(an_action(run, 1, described=tokens(60)))

        lost = OutcomeUnknown(name="shop.refund", reason="no answer")
        await desk.close(step, Outcome.of_error("unknown", lost))
        in_doubt = used(desk, f"run:{run}")
        await desk.journals[run].write_off(step, "the probe found nothing")

        assert (in_doubt, used(desk, f"run:{run}")) == ((60, 0), (0, 0))

    at_desk(body)


def test_a_further_attempt_takes_over_what_the_one_before_reserved(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run(tokens=100)
        action = an_action(run, 1, described={**tokens(60), "effect": Effect.READ})
        await desk.open(action)

        again = await desk.open(action)
        in_flight = used(desk, f"run:{run}")
        await desk.close(again, done(10))

        assert (again.attempt, in_flight, used(desk, f"run:{run}")) == (2, (60, 0), (0, 10))

    at_desk(body)


def test_a_budget_of_an_agent_holds_across_its_runs_and_leaves_others_alone(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run, other = await desk.run(), await desk.run()
        await desk.do(an_action(run, 1, described=tokens(60)), done(60))

        refused = await desk.open(an_action(other, 1, described=tokens(60)))
        else_where = await desk.open(an_action(other, 2, agent="clerk", described=tokens(60)))

        assert (refusal(refused), else_where.status) == ("refused.budget_exceeded", "admitted")
        assert used(desk, "agent:support") == (0, 60)

    at_desk(body, budgets=(Budget(scope="agent:support", tokens=100),))


def test_a_daily_budget_of_the_tenant_starts_anew_each_day(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        await desk.do(an_action(run, 1))

        today = await desk.do(an_action(run, 2))
        desk.clock.move(days=1)
        tomorrow = await desk.do(an_action(run, 3))

        assert (today.status, tomorrow.status) == ("refused", "admitted")
        assert used(desk, "tenant@2026-11-21", "calls") == (0, 1)

    at_desk(body, budgets=(Budget(scope="tenant", period="day", calls=1),))


@pytest.mark.requirement("RT-6")
def test_a_limit_on_calls_counts_reads_too(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run(calls=2)
        read = {"effect": Effect.READ, "amount": None}

        steps = [await desk.do(an_action(run, n, described=read)) for n in range(3)]

        assert [step.status for step in steps] == ["admitted", "admitted", "refused"]
        assert used(desk, f"run:{run}", "calls") == (0, 2)

    at_desk(body)


def test_a_run_without_limits_leaves_no_trace_in_the_budgets(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()

        await desk.do(an_action(run, 1, described=tokens(10**9)), done(10**9))

        assert not desk.ledger.reader.rows(_TABLE)

    at_desk(body)


@pytest.mark.parametrize(
    ("scope", "limits"),
    [
        ("run:1", {"tokens": 1}),
        ("agent:", {"tokens": 1}),
        ("tenant", {}),
        ("tenant", {"calls": -1}),
        ("tenant", {"calls": 1, "agents": ("a",)}),
    ],
)
def test_a_budget_that_limits_nothing_is_refused(scope: str, limits: dict[str, Any]) -> None:
    with pytest.raises(BudgetInvalid):
        Budget(scope=scope, **limits)


MANDATE = Budget(scope="mandate:spring", amount=Money(2500, "EUR"))


@pytest.mark.requirement("RT-6", "MD-3")
def test_money_that_tools_move_is_reserved_spent_if_it_went_and_free_again_if_not(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()

        in_flight = await desk.open(an_action(run, 1, mandate="spring"))
        during = used(desk, "mandate:spring", "amount:EUR")
        await desk.close(in_flight, FAILED)
        failed = used(desk, "mandate:spring", "amount:EUR")
        steps = [await desk.do(an_action(run, number, mandate="spring")) for number in (2, 3, 4)]

        assert (during, failed, used(desk, "mandate:spring", "amount:EUR")) == ((1000, 0), (0, 0), (0, 2000))
        assert [step.status for step in steps] == ["admitted", "admitted", "refused"]
        assert refusal(steps[2]) == "refused.budget_exceeded"

    at_desk(body, budgets=(MANDATE,))


@pytest.mark.requirement("RT-6", "MD-3")
def test_a_budget_in_one_currency_lets_none_go_in_another_and_money_coming_back_frees_nothing(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()

        dollars = await desk.do(an_action(run, 1, mandate="spring", described={"amount": Money(1, "USD")}))
        back = await desk.do(an_action(run, 2, mandate="spring", described={"amount": Money(-9999, "EUR")}))
        all_of_it = await desk.do(an_action(run, 3, mandate="spring", described={"amount": Money(2501, "EUR")}))
        elsewhere = await desk.do(an_action(run, 4, described={"amount": Money(1, "USD")}))

        assert [each.status for each in (dollars, back, all_of_it, elsewhere)] == [
            "refused",
            "admitted",
            "refused",
            "admitted",
        ]

    at_desk(body, budgets=(MANDATE,))


@pytest.mark.requirement("RT-6")
def test_a_mandate_that_nobody_set_limits_for_lets_nothing_be_done(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()

        steps = [
            await desk.do(an_action(run, 1, mandate="autumn")),
            await desk.do(an_action(run, 2, mandate="autumn", described={"effect": Effect.READ, "amount": None})),
        ]

        assert [refusal(step) for step in steps] == ["refused.mandate_unknown"] * 2

    at_desk(body, budgets=(MANDATE,))


@pytest.mark.requirement("RT-6", "MD-3")
def test_the_narrowest_of_run_agent_mandate_and_tenant_decides(at_desk: AtDesk) -> None:
    scopes = ("agent:support", "mandate:spring", "tenant")
    budgets = tuple(Budget(scope=scope, tokens=most) for scope, most in zip(scopes, (300, 200, 250), strict=True))

    async def body(desk: Desk) -> None:
        run, other = await desk.run(tokens=100), await desk.run()
        asked = [(run, "spring", 100), (run, "spring", 1), (other, "spring", 100), (other, "spring", 1)]
        asked += [(other, "", 50), (other, "", 1)]
        refused: list[str] = []
        for number, (of, mandate, most) in enumerate(asked):
            described = {**tokens(most), "amount": None}
            step = await desk.do(an_action(of, number, mandate=mandate, described=described), done(most))
            refused += [json.loads(step.refusal.value)["fields"]["scope"]] if step.refusal else []

        assert refused == [f"run:{run}", "mandate:spring", "tenant"]

    at_desk(body, budgets=budgets)


@pytest.mark.requirement("MD-3")
def test_what_is_spent_reserved_and_left_is_told_and_a_lost_call_stays_reserved_and_is_named(at_desk: AtDesk) -> None:
    budget = Budget(scope="tenant", period="day", calls=5, cost_nano_usd=2_000_000_000)

    async def body(desk: Desk) -> None:
        run = await desk.run()
        await desk.do(an_action(run, 1))
        lost = await desk.open(an_action(run, 2))
        await desk.close(lost, Outcome.of_error("unknown", OutcomeUnknown(name="x", reason="no answer")))
        await desk.open(an_action(run, 3))

        dollars, calls = spending(desk.ledger.reader.rows, [budget], clock=desk.clock)
        held = reserved_by(desk.ledger.reader.rows, desk.ledger.reader)

        assert (calls.scope, calls.spent, calls.reserved, calls.left) == ("tenant@2026-11-21", 1, 2, 2)
        assert dollars.said(dollars.limit) == "2.0000 USD"
        assert [(each.step[-1], each.is_unknown, each.amount) for each in held] == [("2", True, 1), ("3", False, 1)]

    at_desk(body, budgets=(budget,))


@pytest.mark.requirement("MD-3")
def test_people_are_told_once_when_a_budget_reaches_a_threshold_and_anew_the_next_day(at_desk: AtDesk) -> None:
    budget = Budget(scope="agent:support", period="day", calls=4, alerts=(50, 100), tell="lead")

    async def body(desk: Desk) -> None:
        run, alerts = await desk.run(), BudgetAlerts(desk.ledger.reader.rows, (budget,), clock=desk.clock)
        seen = []
        for number in range(1, 5):
            await desk.do(an_action(run, number))
            seen.append([notice.said["percent"] for notice in alerts()])
        half = alerts()[0]
        desk.clock.move(days=1)

        assert seen == [[], ["50"], ["50"], ["50", "100"]]
        assert half.id == "budget.default.agent:support@2026-11-21.calls.50"
        assert (half.role, half.kind) == ("lead", "budget.threshold")
        assert alerts() == ()

    at_desk(body, budgets=(budget,))


@pytest.mark.parametrize("scope", ["mandate:", "run:x", "everybody", ""])
def test_a_scope_that_nothing_has_is_refused(scope: str) -> None:
    with pytest.raises(BudgetInvalid):
        Budget(scope=scope, calls=1)


@pytest.mark.parametrize("more", [{"agents": ("desk",)}, {"allow": ("mail.*",)}])
def test_only_a_mandate_says_who_acts_under_it_and_with_what(more: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(BudgetInvalid, match="only a mandate"):
        Budget(scope="agent:clerk", calls=1, **more)  # type: ignore[arg-type]

    Budget(scope="mandate:sale", calls=1, **more)  # type: ignore[arg-type]


def test_an_alert_beyond_the_limit_is_refused() -> None:
    with pytest.raises(BudgetInvalid):
        Budget(scope="tenant", calls=1, alerts=(120,))


@pytest.mark.requirement("RT-6", "MD-3")
def test_a_run_moves_no_more_money_than_its_limit_what_is_in_flight_or_lost_included(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run, other = await desk.run(**{"amount:EUR": 3000}), await desk.run()
        await desk.do(an_action(run, 1))
        lost = await desk.open(an_action(run, 2))
        await desk.close(lost, Outcome.of_error("unknown", OutcomeUnknown(name="x", reason="no answer")))
        await desk.do(an_action(run, 3), FAILED)

        third = await desk.do(an_action(run, 4, described={"amount": Money(1001, "EUR")}))
        dollars = await desk.do(an_action(run, 5, described={"amount": Money(1, "USD")}))
        rest = await desk.do(an_action(run, 6))
        nothing = await desk.do(an_action(run, 7, described={"amount": None}))
        elsewhere = await desk.do(an_action(other, 1, described={"amount": Money(900000, "USD")}))

        assert [step.status for step in (third, dollars, rest, nothing, elsewhere)] == [
            *("refused", "refused", "admitted", "admitted", "admitted")
        ]
        assert [refusal(step) for step in (third, dollars)] == ["refused.budget_exceeded"] * 2
        assert third.refusal is not None
        assert (
            "it may use 10.01 EUR at once, and 10.00 EUR of 30.00 EUR is left; budget `run:"
            in (json.loads(third.refusal.value)["message"])
        )
        denied = [each.predicate for each in desk.ledger.reader.receipts(run=RunId(run)) if each.phase == "denied"]
        assert [said["authority"]["reason"] for said in denied] == ["refused.budget_exceeded"] * 2
        (left,) = spending(desk.ledger.reader.rows, (), clock=desk.clock, runs=[run])
        assert (left.dimension, left.said(left.spent), left.said(left.reserved)) == (
            "amount:EUR",
            "20.00 EUR",
            "10.00 EUR",
        )

    at_desk(body)


@pytest.mark.requirement("RT-6")
def test_of_many_payments_at_once_a_run_makes_those_that_its_limit_allows(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run(**{"amount:EUR": 3500})

        steps = await asyncio.gather(*(desk.do(an_action(run, number)) for number in range(1, 9)))

        assert sorted(step.status for step in steps) == ["admitted"] * 3 + ["refused"] * 5

    at_desk(body)


@pytest.mark.requirement("RT-6")
def test_what_a_run_delegates_moves_money_within_the_limit_of_both(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        boss = await desk.run(**{"amount:EUR": 1500})
        helper = await desk.run(**{"amount:EUR": 5000})
        within = await desk.do(an_action(helper, 1, ancestors=(RunId(boss),)))
        beyond = await desk.do(an_action(helper, 2, ancestors=(RunId(boss),)))
        dollars = await desk.do(an_action(await desk.run(), 1, ancestors=(RunId(boss),), described=in_dollars))

        assert (within.status, beyond.status, dollars.status) == ("admitted", "refused", "refused")

    in_dollars = {"amount": Money(1, "USD")}
    at_desk(body)
