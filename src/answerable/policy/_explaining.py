"""Why a decision came out as it did, and what would have changed it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from answerable.core import TenantId, stable_json
from answerable.policy._cedar import policy_text
from answerable.policy._errors import DecisionNotFound
from answerable.policy._evaluation import Evaluation
from answerable.policy._policies import Partition, PolicySet
from answerable.policy._ports import Found
from answerable.policy._schema import CONTEXT, STANDINGS

__all__ = ["Change", "Explanation", "Rule", "explain"]

_MOST_CHANGES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A policy that decided: its id, its Cedar text, what it asks for, and its layer if it is not the platform's."""

    id: str
    text: str
    obligations: tuple[str, ...]
    layer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One fact that, had it been otherwise, would have changed the verdict: `was`, and the value tried."""

    fact: str
    was: Any
    value: Any
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A recorded decision, told.

    Args:
        recorded: what became of the action: `permit`, `hold` or `deny`.
        refused_by: the code of what refused it, policy or other.
        verdict: what policy said.
        facts: what it was decided on, as recorded.
        changes: single facts that would have changed the verdict, of those that a policy compares with something.
    """

    receipt: str
    action: str
    principal: str
    resource: str
    recorded: str
    refused_by: str
    verdict: str
    rules: tuple[Rule, ...]
    facts: Mapping[str, Any]
    changes: tuple[Change, ...]


def explain(reader: Found, receipt_id: str, *, tenant: TenantId = TenantId("default")) -> Explanation:
    """Why the decision on a receipt came out so.

    Raises:
        DecisionNotFound: no such receipt, or policy was not asked there.
    """
    receipt = reader.find(receipt_id)
    if receipt is None or receipt.predicate["tenant"] != tenant:
        raise DecisionNotFound(receipt=receipt_id, problem="it is not on the record")
    said = receipt.predicate
    authority = said.get("authority", {})
    stored = reader.stored(authority["request"]) if "request" in authority else None
    snapshot = reader.stored(authority["policy"]) if "policy" in authority else None
    if stored is None or stored[0] == b"{}" or snapshot is None:
        raise DecisionNotFound(receipt=receipt_id, problem="it carries no decision of policy")
    policies = PolicySet.from_snapshot(snapshot[0], where=authority["policy"])
    request = orjson.loads(stored[0])
    partition = policies.partition(request["action"]["id"])
    found = partition.evaluate(stored[0])
    return Explanation(
        receipt=receipt_id,
        action=request["action"]["id"],
        principal=request["principal"]["id"],
        resource=request["resource"]["id"],
        recorded=authority["decision"],
        refused_by=authority.get("reason", ""),
        verdict=found.verdict,
        rules=_rules(partition, found, policies.layers),
        facts=request["context"],
        changes=tuple(_changes(partition, request, found)),
    )


def _rules(partition: Partition, found: Evaluation, layers: Mapping[str, str]) -> tuple[Rule, ...]:
    texts = policy_text({id: partition.policies[id].est for id in found.rules})
    asked = {id: tuple(map(str, partition.policies[id].obligations)) for id in found.rules}
    return tuple(Rule(id=id, text=texts[id], obligations=asked[id], layer=layers.get(id, "")) for id in found.rules)


def _changes(partition: Partition, request: dict[str, Any], found: Evaluation) -> Iterator[Change]:
    """Try, one fact at a time, the values around which policies decide."""
    literals = {type(value): set[Any]() for value in (True, 1, "")}
    for policy in partition.policies.values():
        for value in _literals(policy.est["conditions"]):
            literals[type(value)].add(value)
    told: set[tuple[str, str]] = set()
    for fact, was, value, context in _otherwise(request["context"], partition.reads, literals):
        verdict = partition.evaluate(stable_json({**request, "context": context})).verdict
        if verdict != found.verdict and (fact, verdict) not in told and len(told) < _MOST_CHANGES:
            told.add((fact, verdict))
            yield Change(fact=fact, was=was, value=value, verdict=verdict)


def _otherwise(
    context: dict[str, Any], reads: frozenset[str], literals: Mapping[type, set[Any]]
) -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """Each fact with what it was, another value, and the context with that one."""
    for fact in sorted(context.keys() - {"attributes", "clauses"} | {"amount_minor", "currency"} & reads):
        for value in _others(fact, context.get(fact), literals):
            yield fact, context.get(fact), value, {**context, fact: value}
    clauses = context.get("clauses", {})
    for clause, stands in sorted(clauses.items()):
        for value in sorted(STANDINGS - {stands}):
            yield f"clauses.{clause}", stands, value, {**context, "clauses": {**clauses, clause: value}}


def _others(fact: str, was: Any, literals: Mapping[type, set[Any]]) -> Iterator[Any]:
    """Values of a fact worth trying, the nearest first."""
    kind = CONTEXT[fact].partition(": ")[2]
    if kind == "Bool":
        yield not was
    elif kind == "Long":
        near = {each + by for each in literals[int] for by in (-1, 0, 1)} | {0}
        yield from sorted((each for each in near if each >= 0 and each != was), key=lambda each: abs(each - (was or 0)))
    elif kind == "String":
        yield from sorted(each for each in literals[str] if each != was)
    elif was:
        yield []


def _literals(node: Any) -> Iterator[bool | int | str]:
    if isinstance(node, dict):
        if set(node) == {"Value"} and isinstance(node["Value"], bool | int | str):
            yield node["Value"]
        else:
            for inner in node.values():
                yield from _literals(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _literals(inner)
