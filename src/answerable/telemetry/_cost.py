"""What runs cost: sums over the usage that outcome receipts state (MD-3)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from answerable.core import Usage

__all__ = ["Cost", "cost_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Usage added up over outcomes.

    Args:
        by_model: usage of each model, by action name.
        tool_calls: outcomes of tool calls, failed ones included.
    """

    total: Usage
    by_model: dict[str, Usage]
    model_calls: int
    tool_calls: int


def cost_of(predicates: Iterable[dict[str, Any]]) -> Cost:
    """The cost of the receipts' actions.

    Args:
        predicates: receipts of one run or of many.
    """
    total, by_model = Usage(), dict[str, Usage]()
    calls = {"model": 0, "tool": 0}
    for said in predicates:
        if said["phase"] != "outcome":
            continue
        action = said["action"]
        used = Usage.from_json(said.get("usage", {}))
        total += used
        if action["kind"] in calls:
            calls[action["kind"]] += 1
        if action["kind"] == "model":
            by_model[action["name"]] = by_model.get(action["name"], Usage()) + used
    return Cost(total=total, by_model=by_model, model_calls=calls["model"], tool_calls=calls["tool"])
