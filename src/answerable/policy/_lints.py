"""What a sound policy set still gets wrong: rules that never apply, or that reach further than meant."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from answerable.policy._cedar import CedarPolicy
from answerable.policy._schema import groups_of
from answerable.policy._width import Declared, too_wide

__all__ = ["Lint", "lint_policies"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lint:
    """One thing to look at.

    Args:
        kind: `unreachable` (it can never decide anything), `repeated` (another says the same), `no permit` (an
            obligation for what nothing permits), or `wide` (a permit that is nobody's in particular, or that reaches
            further than anything declared).
    """

    policy: str
    kind: Literal["unreachable", "repeated", "no permit", "wide"]
    problem: str


def lint_policies(policies: Mapping[str, CedarPolicy], declared: Declared | None = None) -> tuple[Lint, ...]:
    """What is doubtful, by policy. A set without any is not thereby right: `policy test` holds it to what is meant.

    Args:
        declared: agents, tools, budgets and roles; without it no permit is too wide for them.
    """
    ordered = [policies[name] for name in sorted(policies)]
    return tuple(lint for policy in ordered for lint in _of(policy, ordered, declared))


def _of(policy: CedarPolicy, every: list[CedarPolicy], declared: Declared | None) -> Iterator[Lint]:
    if any(condition == {"kind": "when", "body": {"Value": False}} for condition in policy.est["conditions"]):
        yield Lint(policy=policy.id, kind="unreachable", problem="its condition is `false`")
    for other in every:
        if other.id == policy.id:
            continue
        if not other.is_permit and not other.est["conditions"] and _covers(other, policy):
            if policy.is_permit or policy.id > other.id or policy.est["conditions"]:
                problem = f"`{other.id}` forbids all that it applies to"
                yield Lint(policy=policy.id, kind="unreachable", problem=problem)
        elif other.id < policy.id and _meaning(other) == _meaning(policy):
            yield Lint(policy=policy.id, kind="repeated", problem=f"it says what `{other.id}` says")
    permits = [each for each in every if each.is_permit and not each.obligations]
    if policy.obligations and not any(_meet(policy, each) for each in permits):
        yield Lint(policy=policy.id, kind="no permit", problem="nothing permits what it asks something for")
    if policy in permits:
        yield from _wide(policy)
        if declared is not None:
            forbids = [each for each in every if not each.is_permit and _covers(each, policy)]
            for problem in too_wide(policy, forbids, declared):
                yield Lint(policy=policy.id, kind="wide", problem=problem)


def _wide(permit: CedarPolicy) -> Iterator[Lint]:
    if permit.est["principal"]["op"] == "All" and not _asks_who(permit.est["conditions"]):
        problem = "it permits every agent, those that come later too: name an agent or a group"
        yield Lint(policy=permit.id, kind="wide", problem=problem)
    if permit.actions is None:
        problem = "it permits every action, those of tools that come later too: name actions or their groups"
        yield Lint(policy=permit.id, kind="wide", problem=problem)


def _asks_who(node: Any) -> bool:
    """Whether an expression looks at the principal, or at who asked for the run."""
    if isinstance(node, dict):
        if node == {"Var": "principal"} or node.get("attr") == "initiator_roles":
            return True
        return any(_asks_who(inner) for inner in node.values())
    return isinstance(node, list) and any(_asks_who(inner) for inner in node)


def _meaning(policy: CedarPolicy) -> tuple[bytes, tuple[str, ...]]:
    said = {name: value for name, value in policy.est.items() if name != "annotations"}
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS), tuple(map(str, policy.obligations))


def _covers(wide: CedarPolicy, narrow: CedarPolicy) -> bool:
    """Whether the scope of one holds all of the other's."""
    if wide.actions is not None and (
        narrow.actions is None or not all(_is_among(action, wide.actions) for action in narrow.actions)
    ):
        return False
    return all(_holds(wide.est[part], narrow.est[part]) for part in ("principal", "resource"))


def _meet(one: CedarPolicy, other: CedarPolicy) -> bool:
    """Whether something could fall under both scopes."""
    if one.actions is not None and other.actions is not None:
        related = any(_is_among(action, other.actions) for action in one.actions)
        if not related and not any(_is_among(action, one.actions) for action in other.actions):
            return False
    return all(_may_meet(one.est[part], other.est[part]) for part in ("principal", "resource"))


def _is_among(action: str, named: Iterable[str]) -> bool:
    return action in named or not set(groups_of(action)).isdisjoint(named)


def _holds(wide: Mapping[str, Any], narrow: Mapping[str, Any]) -> bool:
    return wide["op"] == "All" or wide == narrow


def _may_meet(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Of two that name somebody each, only different names part them; who is in a group is not known here."""
    return not (one["op"] == other["op"] == "==" and one != other)
