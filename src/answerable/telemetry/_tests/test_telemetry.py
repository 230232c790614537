"""Costs add up, and a watcher's bug harms nobody."""

import pytest

from answerable.action import Step
from answerable.core import Outcome, Usage
from answerable.telemetry import Reports, cost_of


@pytest.mark.requirement("MD-3")
def test_the_cost_of_a_run_is_the_sum_of_its_outcomes_and_of_nothing_else() -> None:
    model = {"phase": "outcome", "action": {"kind": "model", "name": "openai:x"}}
    receipts = [
        {**model, "usage": {"inputTokens": 10, "outputTokens": 5, "costNanoUsd": 70}},
        {**model, "usage": {"inputTokens": 1, "costNanoUsd": 5}},
        {"phase": "outcome", "action": {"kind": "tool", "name": "shop.refund"}},
        {"phase": "intent", "action": {"kind": "model", "name": "openai:x"}},
    ]

    cost = cost_of(receipts)

    assert cost.total == Usage(input_tokens=11, output_tokens=5, cost_nano_usd=75)
    assert cost.by_model == {"openai:x": cost.total}
    assert (cost.model_calls, cost.tool_calls) == (2, 1)


def test_a_subscriber_that_fails_stops_neither_the_action_nor_the_others(caplog: pytest.LogCaptureFixture) -> None:
    seen = []
    reports = Reports()

    def broken(step: Step, outcome: Outcome) -> None:
        raise ZeroDivisionError

    reports.subscribe(broken)
    reports.subscribe(lambda step, outcome: seen.append(outcome.status))

    reports.report(Step(action=None, status="admitted"), Outcome(status="ok"))  # type: ignore[arg-type]

    assert seen == ["ok"]
    assert "subscriber failed" in caplog.text
