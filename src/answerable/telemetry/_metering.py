"""What was used, by whom, for whom: tokens, cost, money moved and time, added up over receipts (MD-3)."""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from answerable.core import Money, Usage, parse_time

__all__ = ["Grouping", "Metered", "metered"]

Grouping = Literal["call", "run", "agent", "model", "tool", "mandate", "customer", "asker", "tenant", "day"]
NOBODY = "-"


@dataclass(slots=True, kw_only=True)
class Metered:
    """What outcomes of one group used.

    Args:
        usage: tokens and cost of all of them, those that failed included.
        moved: money that tools moved, by currency, in minor units; what failed moved none.
        took: from intent to outcome, of each call that has an intent; waiting for people comes before it.
    """

    name: str
    usage: Usage = field(default_factory=Usage)
    runs: set[str] = field(default_factory=set)
    model_calls: int = 0
    tool_calls: int = 0
    moved: dict[str, int] = field(default_factory=dict)
    took: list[timedelta] = field(default_factory=list)

    @property
    def money(self) -> tuple[Money, ...]:
        """What was moved, a currency each."""
        return tuple(Money(minor, currency) for currency, minor in sorted(self.moved.items()))

    def took_ms(self) -> tuple[int, int] | None:
        """Half took no longer than the first, none longer than the second; None where no call has an intent."""
        if not self.took:
            return None
        spent = [each / timedelta(milliseconds=1) for each in self.took]
        return round(statistics.median(spent)), round(max(spent))

    def to_json(self) -> dict[str, Any]:
        """As a command prints it for programs."""
        took = self.took_ms()
        return {
            "name": self.name,
            "runs": len(self.runs),
            "modelCalls": self.model_calls,
            "toolCalls": self.tool_calls,
            **{name: self.usage.to_json().get(name, 0) for name in ("inputTokens", "outputTokens", "costNanoUsd")},
            "moved": [each.to_json() for each in self.money],
            "medianMs": took and took[0],
            "longestMs": took and took[1],
        }


def metered(
    receipts: Iterable[Mapping[str, Any]], *, by: Grouping, customers: Iterable[str] = (), since: str = ""
) -> list[Metered]:
    """What outcomes since then used, by group; the dearest first.

    Args:
        receipts: predicates in the order they were written, those from before `since` too: runs may have begun then.
        by: what makes a group. `customer` are the people whom a run's data concern, as the record calls them: a run
            of two counts for both. What a run delegates, or goes on as, counts for the mandate and the customers of
            the run that it comes from.
        customers: only runs that concern one of these; all runs where there are none.
        since: RFC 3339 UTC, as the record writes times.
    """
    runs: dict[str, dict[str, Any]] = {}
    began: dict[str, str] = {}
    only, groups = frozenset(customers), dict[str, Metered]()
    for said in receipts:
        if said["phase"] == "run.open":
            runs[said["run"]] = _of_run(said, runs)
        elif said["phase"] == "intent":
            began[said["id"]] = said["at"]
        elif said["phase"] == "outcome":
            at = began.pop(said.get("intentRef", ""), None)
            run = runs.get(said["run"], {})
            if said["at"] >= since and (not only or only & set(run.get("customer", ()))):
                for name in _GROUP[by](said, run):
                    _add(groups.setdefault(name, Metered(name=name)), said, at)
    return sorted(groups.values(), key=lambda each: (-each.usage.cost_nano_usd, -each.usage.tokens, each.name))


def _of_run(said: Mapping[str, Any], known: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    control = said["control"]
    origin = known.get(control.get("origin", {}).get("run", ""), {})
    return {
        "mandate": control.get("mandate") or origin.get("mandate", ""),
        "customer": control.get("subjects") or origin.get("customer", ()),
    }


def _add(group: Metered, said: Mapping[str, Any], began: str | None) -> None:
    action = said["action"]
    group.usage += Usage.from_json(said.get("usage", {}))
    group.runs.add(said["run"])
    group.model_calls += action["kind"] == "model"
    group.tool_calls += action["kind"] == "tool"
    amount = action.get("amount")
    if amount and said.get("effect", {}).get("status") == "ok":
        group.moved[amount["currency"]] = group.moved.get(amount["currency"], 0) + amount["minor"]
    if began is not None:
        group.took.append(parse_time(said["at"]) - parse_time(began))


def _named(kind: str) -> Callable[[Mapping[str, Any], Mapping[str, Any]], Iterable[str]]:
    return lambda said, run: (said["action"]["name"],) if said["action"]["kind"] == kind else ()


_GROUP: Mapping[Grouping, Callable[[Mapping[str, Any], Mapping[str, Any]], Iterable[str]]] = {
    "call": lambda said, run: (said["id"],),
    "run": lambda said, run: (said["run"],),
    "agent": lambda said, run: (said["agent"]["id"],),
    "model": _named("model"),
    "tool": _named("tool"),
    "mandate": lambda said, run: (run.get("mandate") or NOBODY,),
    "customer": lambda said, run: tuple(run.get("customer", ())) or (NOBODY,),
    "asker": lambda said, run: (said.get("onBehalfOf") or NOBODY,),
    "tenant": lambda said, run: (said["tenant"],),
    "day": lambda said, run: (said["at"][:10],),
}
