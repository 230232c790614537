"""Permits that reach further than anything declared: agents, groups, roles, and the money that budgets give.

Decided on what a policy says plainly; where that is not enough, nothing is reported (`docs/guides/write-policies.md`,
"Wider than anything declared").
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from answerable.core import Money
from answerable.policy._budgets import Budget
from answerable.policy._cedar import CedarPolicy
from answerable.policy._schema import groups_of

__all__ = ["Declared", "too_wide"]

_AMOUNT = {".": {"left": {"Var": "context"}, "attr": "amount_minor"}}
_HAS_AMOUNT = {"has": {"left": {"Var": "context"}, "attr": "amount_minor"}}
_ROLES = {".": {"left": {"Var": "context"}, "attr": "initiator_roles"}}
_CURRENCY = {".": {"left": {"Var": "context"}, "attr": "currency"}}
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_SUMS = ("amount_today_minor", "amount_7d_minor", "amount_30d_minor", "amount_run_minor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What an application declares, as far as a permit can be wider than it.

    Args:
        agents: the groups of each agent, by its id.
        moves: tools that move money, and in which currency; empty where the call says so.
        budgets: of agents, mandates and the tenant.
        roles: those that somebody is registered for; None where nobody is registered at all.
    """

    agents: Mapping[str, frozenset[str]]
    moves: Mapping[str, str] = field(default_factory=dict)
    budgets: Sequence[Budget] = ()
    roles: frozenset[str] | None = None


def too_wide(permit: CedarPolicy, forbids: Sequence[CedarPolicy], declared: Declared) -> Iterator[str]:
    """What of a permit nothing declared covers, in words.

    Args:
        forbids: those that apply to all that the permit applies to.
    """
    agents, nobody = _agents(permit, declared)
    if nobody:
        yield nobody
    if declared.roles is not None:
        for role in sorted({*_required(permit, "contains", _ROLES)} - declared.roles):
            yield f"it is for those in the role `{role}`, and nobody is registered for it"
    moved = {declared.moves[tool] for tool in declared.moves if _names(permit, tool)}
    if moved and agents:
        yield from _too_much(permit, forbids, declared, agents, moved)


def _agents(permit: CedarPolicy, declared: Declared) -> tuple[frozenset[str], str]:
    """The declared agents that it may be for; and, in words, that there is none where it names somebody."""
    scope = permit.est["principal"]
    entity = scope.get("entity") or scope.get("in", {}).get("entity") or {}
    named, every = entity.get("id", ""), frozenset(declared.agents)
    if entity.get("type") == "Agent":
        problem = f"it is for the agent `{named}`, and none of that name is declared"
        return every & {named}, "" if named in every else problem
    if entity.get("type") == "Group":
        members = frozenset(agent for agent, groups in declared.agents.items() if named in groups)
        return members, "" if members else f"it is for the group `{named}`, and no agent is declared in it"
    return every, ""


def _names(permit: CedarPolicy, tool: str) -> bool:
    return permit.can_apply(tool, groups_of(tool))


def _too_much(
    permit: CedarPolicy, forbids: Sequence[CedarPolicy], declared: Declared, agents: frozenset[str], moved: set[str]
) -> Iterator[str]:
    reading = _Reading()
    most = min([reading.permitted(permit), *(reading.left_by(forbid) for forbid in forbids)])
    if reading.is_unsure:
        return
    said = set(_required(permit, "==", _CURRENCY))
    for currency in sorted((said if moved & {*said, ""} else set()) if said else moved):
        given = max(_given(agent, currency, declared.budgets) for agent in agents)
        if most > given:
            asked = "any amount" if most == math.inf else _money(most, currency)
            limit = _money(given, currency)
            yield f"it permits {asked} in one call, and no budget of agent, mandate or tenant gives more than {limit}"
        elif most == math.inf:
            yield "it permits any amount of money: neither its conditions nor a budget sets a limit"


def _money(minor: float, currency: str) -> str:
    return str(Money(int(minor), currency)) if currency else f"{int(minor)} minor units"


def _given(agent: str, currency: str, budgets: Sequence[Budget]) -> float:
    """The most money that an agent can have for one call: its budget and the tenant's, else the largest mandate."""

    def most(scope: str) -> list[int]:
        # Of several tenants' budgets the widest. A budget in another currency lets nothing go.
        money = [each.amount for each in budgets if each.amount is not None and _is_of(each.scope, scope)]
        return [max((each.minor for each in money if currency in ("", each.currency)), default=0)] if money else []

    return min([*most(f"agent:{agent}"), *most("tenant")] or most("mandate:"), default=math.inf)


def _is_of(scope: str, named: str) -> bool:
    return scope.startswith(named) if named.endswith(":") else scope == named


def _required(permit: CedarPolicy, operator: str, attribute: Mapping[str, Any]) -> Iterator[str]:
    """Texts that an attribute of the context must be compared with by this operator, in every case."""
    nodes = [each["body"] for each in permit.est["conditions"] if each["kind"] == "when"]
    while nodes:
        node = nodes.pop()
        if "&&" in node:
            nodes += [node["&&"]["left"], node["&&"]["right"]]
        elif node.get(operator, {}).get("left") == attribute and isinstance(
            text := node[operator]["right"].get("Value"), str
        ):
            yield text


class _Reading:
    """Reads out of conditions the most that `context.amount_minor` can be where they hold.

    Attributes:
        is_unsure: something was said of the amount that is not understood: the most may be less.
    """

    def __init__(self) -> None:
        self.is_unsure = False

    def permitted(self, permit: CedarPolicy) -> float:
        """Where the permit applies."""
        return min(
            (self._most(each["body"], each["kind"] == "when") for each in permit.est["conditions"]), default=math.inf
        )

    def left_by(self, forbid: CedarPolicy) -> float:
        """Where the forbid does not apply: one of its conditions does not hold."""
        return max((self._most(each["body"], each["kind"] != "when") for each in forbid.est["conditions"]), default=0)

    def _most(self, node: Any, holds: bool) -> float:
        """The most that the amount can be where the expression is true, or false."""
        ((operator, body),) = node.items()
        if operator in ("&&", "||"):
            sides = [self._most(body[side], holds) for side in ("left", "right")]
            return min(sides) if (operator == "&&") == holds else max(sides)
        if operator == "!":
            return self._most(body["arg"], not holds)
        if operator == "Value" and isinstance(body, bool):
            return math.inf if body == holds else -math.inf
        if node == _HAS_AMOUNT:
            return math.inf if holds else 0
        if operator in _FLIPPED and (compared := self._compared(operator, body)) is not None:
            word, number = compared if holds else (_NEGATED[compared[0]], compared[1])
            return {"<": number - 1, "<=": number, "==": number}.get(word, math.inf)
        if _mentions(node):
            self.is_unsure = True
        return math.inf

    def _compared(self, operator: str, body: Mapping[str, Any]) -> tuple[str, int] | None:
        """Operator and number with which an expression bounds the amount, the amount on the left."""
        for left, right, word in (
            (body["left"], body["right"], operator),
            (body["right"], body["left"], _FLIPPED[operator]),
        ):
            # What was moved before is never below zero, so what both together may be, the amount may be at most.
            if type(number := right.get("Value")) is int and (left == _AMOUNT or _is_sum(left)):
                return word, number
        return None


def _is_sum(node: Any) -> bool:
    """Whether an expression adds the amount and sums of what was moved before."""
    if not isinstance(node, dict) or "+" not in node:
        return False
    terms, left = [], [node]
    while left:
        each = left.pop()
        if "+" in each:
            left += [each["+"]["left"], each["+"]["right"]]
        else:
            terms.append(each)
    sums = [{".": {"left": {"Var": "context"}, "attr": name}} for name in _SUMS]
    return _AMOUNT in terms and all(each == _AMOUNT or each in sums for each in terms)


def _mentions(node: Any) -> bool:
    if isinstance(node, dict):
        return node == _AMOUNT or any(map(_mentions, node.values()))
    return isinstance(node, list) and any(map(_mentions, node))
