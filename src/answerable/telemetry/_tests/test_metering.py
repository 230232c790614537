"""What was used is added up per call, run, agent, model, tool, mandate, customer and tenant, from receipts alone."""

from typing import Any

import pytest

from answerable.core import Money
from answerable.telemetry import Grouping, metered

pytestmark = pytest.mark.requirement("MD-3")


def opened(run: str, **control: Any) -> dict[str, Any]:
    return {
        "phase": "run.open",
        "run": run,
        "tenant": "default",
        "at": "2026-11-20T08:00:00.000000Z",
        "control": control,
    }


def outcome(run: str, number: int, name: str, kind: str = "tool", **more: Any) -> list[dict[str, Any]]:
    """A call of `number` times 100 ms, as its intent and its outcome."""
    common = {"run": run, "tenant": "default", "agent": {"id": more.pop("agent", "clerk")}, "onBehalfOf": "party_a"}
    action = {"kind": kind, "name": name, **more.pop("action", {})}
    intent = {
        **common,
        "phase": "intent",
        "id": f"{run}-i{number}",
        "at": "2026-11-20T09:00:00.000000Z",
        "action": action,
    }
    done = {
        **common,
        "phase": "outcome",
        "id": f"{run}-o{number}",
        "intentRef": intent["id"],
        "at": f"2026-11-20T09:00:00.{number}00000Z",
        "action": action,
        "effect": {"status": more.pop("status", "ok")},
        "usage": more,
    }
    return [intent, done]


PAY = {"amount": {"minor": 1500, "currency": "EUR"}}
RECORD = [
    opened("run_1", subjects=["party_c7"], mandate="sale"),
    *outcome("run_1", 1, "openai:x", "model", inputTokens=100, outputTokens=20, costNanoUsd=7_000),
    *outcome("run_1", 2, "pay", action=PAY, calls=1),
    *outcome("run_1", 3, "pay", action=PAY, status="failed", calls=1),
    opened("run_2", origin={"run": "run_1", "how": "delegated"}),
    *outcome("run_2", 4, "openai:x", "model", agent="helper", inputTokens=10, costNanoUsd=500),
    opened("run_3", subjects=["party_c8", "party_c9"]),
    *outcome("run_3", 9, "openai:y", "model", inputTokens=1, costNanoUsd=90),
]


@pytest.mark.parametrize(
    ("by", "cost"),
    [
        ("agent", {"clerk": 7_090, "helper": 500}),
        ("run", {"run_1": 7_000, "run_2": 500, "run_3": 90}),
        ("model", {"openai:x": 7_500, "openai:y": 90}),
        ("tool", {"pay": 0}),
        ("mandate", {"sale": 7_500, "-": 90}),
        ("customer", {"party_c7": 7_500, "party_c8": 90, "party_c9": 90}),
        ("asker", {"party_a": 7_590}),
        ("tenant", {"default": 7_590}),
        ("day", {"2026-11-20": 7_590}),
    ],
)
def test_cost_is_added_up_by_whatever_is_asked_for_the_dearest_first(by: Grouping, cost: dict[str, int]) -> None:
    found = metered(RECORD, by=by)

    assert {each.name: each.usage.cost_nano_usd for each in found} == cost
    assert [each.name for each in found] == sorted(cost, key=lambda name: (-cost[name], name))


def test_money_counts_where_it_moved_and_time_where_there_was_an_intent() -> None:
    (clerk, _) = metered(RECORD, by="agent")

    assert clerk.money == (Money(1500, "EUR"),), "what failed moved nothing"
    assert (clerk.model_calls, clerk.tool_calls, len(clerk.runs)) == (2, 2, 2)
    assert clerk.took_ms() == (250, 900)
    assert clerk.to_json()["moved"] == [{"minor": 1500, "currency": "EUR"}]


def test_one_customers_runs_are_told_apart_with_what_they_delegated() -> None:
    found = metered(RECORD, by="run", customers=["party_c7"])

    assert [each.name for each in found] == ["run_1", "run_2"]
    assert metered(RECORD, by="run", customers=["party_of_nobody"]) == []


def test_what_came_before_the_time_asked_for_is_left_out_and_its_runs_are_known() -> None:
    found = metered(RECORD, by="mandate", since="2026-11-20T09:00:00.400000Z")

    assert [(each.name, each.usage.cost_nano_usd) for each in found] == [("sale", 500), ("-", 90)]
