"""Why a decision came out as it did, and what would have changed it."""

import itertools
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
_MOST_PAIRS = 5
_MOST_TRIED = 2000
_ANOTHER = "any other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A policy that decided: its id, its Cedar text, what it asks for, and its layer if it is not the platform's."""

    id: str
    text: str
    obligations: tuple[str, ...]
    layer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A fact that, had it been otherwise, would have changed what policy said.

    Args:
        fact: `amount_minor`, `attributes.region`, `clauses.PAY-1`, `agent`, its `groups` or `tier`, `resource`.
        was, value: what it was, None where the record says nothing; and the value tried: `any other` is one that
            no policy names.
        verdict: what policy would have said; `obligations` what it would have asked for.
        also: a second fact that would have had to be otherwise too, as `(fact, was, value)`.
    """

    fact: str
    was: Any
    value: Any
    verdict: str
    obligations: tuple[str, ...] = ()
    also: tuple[str, Any, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A recorded decision, told.

    Args:
        at: when it was recorded, RFC 3339; `policy` is the name of the policies then, on the record.
        recorded: what became of the action: `permit`, `hold` or `deny`.
        refused_by: the code of what refused it, policy or other.
        verdict: what policy said.
        obligations: what had to be met first, an agent's own question to a person included.
        approvals: receipts of the answers that it was let through by.
        groups: of the agent, of those that policy names; `tier` is what it may do by itself, empty where nobody said.
        facts: what it was decided on, as recorded.
        changes: single facts that would have changed what policy said, of those that a policy compares with something;
            pairs of them where no single one would have.
    """

    receipt: str
    run: str
    at: str
    policy: str
    action: str
    principal: str
    groups: tuple[str, ...]
    tier: str
    resource: str
    recorded: str
    refused_by: str
    verdict: str
    obligations: tuple[str, ...]
    approvals: tuple[str, ...]
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
        run=said["run"],
        at=said["at"],
        policy=authority["policy"],
        groups=tuple(request["principal"].get("groups", ())),
        tier=request.get("autonomy", {}).get("tier", ""),
        obligations=tuple(authority.get("obligations", ())),
        approvals=tuple(authority.get("approvals", ())),
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
    """Try the values around which policies decide: one fact at a time, and in pairs where none would have done."""
    others = list(_otherwise(partition, request))
    told: set[tuple[str, str]] = set()
    for other in others:
        now = partition.evaluate(stable_json(_with(request, other)))
        if (change := _change(found, now, other)) is None or len(told) == _MOST_CHANGES:
            continue
        is_more = isinstance(change.value, int) and change.value > (change.was or 0)
        if (named := (change.fact, f"{change.verdict} {change.obligations} {is_more}")) not in told:
            told.add(named)
            yield change
    if told:
        return
    pairs = ((one, two) for one, two in itertools.combinations(others, 2) if one[0] != two[0])
    for one, two in itertools.islice(pairs, _MOST_TRIED):
        change = _change(found, partition.evaluate(stable_json(_with(_with(request, one), two))), one, two)
        if change is not None and (change.fact, two[0]) not in told and len(told) < _MOST_PAIRS:
            told.add((change.fact, two[0]))
            yield change


_WHO = {"agent": ("principal", "id"), "groups": ("principal", "groups"), "resource": ("resource", "id")}
_Other = tuple[str, Any, Any]
"""A fact, what it was, and another value."""


def _change(was: Evaluation, now: Evaluation, other: _Other, also: _Other | None = None) -> Change | None:
    asked = tuple(map(str, now.obligations))
    if (was.verdict, sorted(map(str, was.obligations))) == (now.verdict, sorted(asked)):
        return None
    return Change(fact=other[0], was=other[1], value=other[2], verdict=now.verdict, obligations=asked, also=also)


def _with(request: dict[str, Any], other: _Other) -> dict[str, Any]:
    """The request, had that fact been so."""
    fact, _, value = other
    head, _, name = fact.partition(".")
    if head in _WHO:
        part, key = _WHO[head]
        return {**request, part: {**request[part], key: value}}
    if head == "tier" and "autonomy" in request:
        request = {key: said for key, said in request.items() if key != "autonomy"}
        if "tier" not in request["context"]:
            return request
    context = request["context"]
    changed = {**context.get(head, {}), name: value} if name else value
    return {**request, "context": {**context, head: changed}}


def _otherwise(partition: Partition, request: dict[str, Any]) -> Iterator[_Other]:
    """Every fact that policies look at, with other values of it."""
    literals = {type(value): set[Any]() for value in (True, 1, "")}
    for policy in partition.policies.values():
        for value in _literals(policy.est["conditions"]):
            literals[type(value)].add(value)
    context = request["context"]
    own: dict[str, Any] = context.get("attributes", {})
    for fact in sorted(
        context.keys() - {"attributes", "clauses", "tier"} | {"amount_minor", "currency"} & partition.reads
    ):
        for value in _others(CONTEXT[fact].partition(": ")[2], context.get(fact), literals):
            yield fact, context.get(fact), value
    for name, was in sorted(own.items()):
        for value in _others({bool: "Bool", int: "Long"}.get(type(was), "String"), was, literals):
            yield f"attributes.{name}", was, value
    for clause, stands in sorted(context.get("clauses", {}).items()):
        for value in sorted(STANDINGS - {stands}):
            yield f"clauses.{clause}", stands, value
    yield from _others_named(partition, request)
    groups = request["principal"].get("groups", [])
    for group in sorted(partition.groups):
        yield "groups", groups, sorted({*groups} ^ {group})
    tier = request.get("autonomy", {}).get("tier", context.get("tier"))
    if tier not in (None, "execute"):
        yield "tier", tier, "execute"


def _others_named(partition: Partition, request: dict[str, Any]) -> Iterator[_Other]:
    """Agents and resources that a policy's scope names, and one that none does."""
    for fact, part, type_ in (("agent", "principal", "Agent"), ("resource", "resource", "Resource")):
        scopes = [policy.est[part] for policy in partition.policies.values() if policy.est[part]["op"] == "=="]
        named = {each["entity"]["id"] for each in scopes if each["entity"]["type"] == type_}
        was = request[part]["id"]
        for value in (*sorted(named - {was}), *([_ANOTHER] if was in named else [])):
            yield fact, was, value


def _others(kind: str, was: Any, literals: Mapping[type, set[Any]]) -> Iterator[Any]:
    """Values of a fact worth trying, the nearest first."""
    if kind == "Bool":
        yield not was
    elif kind == "Long":
        near = {each + by for each in literals[int] for by in (-1, 0, 1)} | {0}
        yield from sorted((each for each in near if each >= 0 and each != was), key=lambda each: abs(each - (was or 0)))
    elif kind == "String":
        yield from (*sorted(literals[str] - {was}), *([_ANOTHER] if was in literals[str] else []))
    else:
        held = set(was or ())
        yield from ([] for _ in range(bool(held)))
        yield from (sorted(held ^ {each}) for each in sorted(literals[str]))


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
