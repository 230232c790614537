"""Budgets: reserved before, settled after, never passed."""

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from answerable.action import OutcomeUnknown
from answerable.core import Effect, Outcome, Usage
from answerable.ledger import Prepared
from answerable.policy import Budget, BudgetInvalid
from answerable.policy._budgets import _budgets as budgets_table
from answerable.policy._tests.conftest import AtDesk, Desk, an_action, refusal, tokens

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
    [("run:1", {"tokens": 1}), ("agent:", {"tokens": 1}), ("tenant", {}), ("tenant", {"calls": -1})],
)
def test_a_budget_that_limits_nothing_is_refused(scope: str, limits: dict[str, Any]) -> None:
    with pytest.raises(BudgetInvalid):
        Budget(scope=scope, **limits)
