"""Cedar's own view of a policy: its JSON form, what it can apply to, and what it reads.

Source: Cedar JSON policy format (`docs.cedarpolicy.com/policies/json-format.html`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cedarpy
import orjson
from cedarpy import _internal

from answerable.core import Obligation
from answerable.policy._obligations import parse_obligations

__all__ = ["PRESENCE", "WHOLE", "CedarPolicy", "ask_cedar", "parse_policies", "policy_text", "read_policy"]

WHOLE = "*"
"""A policy uses the context as a whole: every attribute of it is read."""

PRESENCE = "attributes?"
"""A policy asks only whether there are attributes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CedarPolicy:
    """One policy.

    Args:
        est: its JSON form.
        actions: ids of the actions and groups its scope names; None where it names none and so applies to all.
        mentions: every action id it names anywhere.
        reads: context attributes it may read: `amount_minor`, `attributes`, `attributes.region`, `PRESENCE` or `WHOLE`.
        groups: of agents, that it names anywhere.
        clauses: of specifications, whose standing it reads; an empty name for all of them as one value.
        standings: what it compares a clause's standing with.
        obligations: what it asks for; empty in the authorize set.
    """

    id: str
    est: Mapping[str, Any]
    actions: frozenset[str] | None
    mentions: frozenset[str]
    reads: frozenset[str]
    groups: frozenset[str] = frozenset()
    clauses: frozenset[str] = frozenset()
    standings: frozenset[str] = frozenset()
    obligations: tuple[Obligation, ...] = ()

    @property
    def is_permit(self) -> bool:
        return bool(self.est["effect"] == "permit")

    def can_apply(self, action: str, groups: tuple[str, ...]) -> bool:
        """Whether its scope can match the action."""
        return self.actions is None or action in self.actions or not self.actions.isdisjoint(groups)


def ask_cedar(
    request: dict[str, Any], policies: cedarpy.PolicySet, entities: cedarpy.Entities
) -> tuple[bool, list[str], list[str]]:
    """Whether Cedar allows a request, the policies that decided, and what went wrong.

    MEASURED: `cedarpy.is_authorized` makes four objects of the answer and parses it with `json`, which is
    4 in 10 of what a decision takes of the interpreter. So its inner function is called, as it calls it itself; that
    both say the same is tested, so that another version of the library cannot change it unnoticed.
    """
    (said,) = _internal.is_authorized_batch([request], policies, entities._inner, None, False)
    answer = orjson.loads(said)
    diagnostics = answer.get("diagnostics", {})
    return answer["decision"] == "Allow", diagnostics.get("reason", []), diagnostics.get("errors", [])


def parse_policies(text: str) -> Iterator[tuple[str, dict[str, str], Mapping[str, Any]]]:
    """Each policy's generated name, its annotations and its JSON form.

    Raises:
        ValueError: Cedar cannot parse it, or it holds a template.
    """
    parsed = orjson.loads(cedarpy.policies_to_json_str(text))
    if parsed["templates"]:
        raise ValueError("templates are not supported: write the principal and resource out")
    for name, est in parsed["staticPolicies"].items():
        annotations = {key: value or "" for key, value in est.get("annotations", {}).items()}
        yield name, annotations, est


def read_policy(policy: str, annotations: Mapping[str, str], est: Mapping[str, Any]) -> CedarPolicy:
    """What a policy can apply to, reads and asks for."""
    scope = est["action"]
    entities = scope.get("entities", [scope["entity"]] if "entity" in scope else [])
    named = frozenset(entity["id"] for entity in entities)
    conditions = [condition["body"] for condition in est["conditions"]]
    asked = annotations.get("obligation")
    return CedarPolicy(
        id=policy,
        est=est,
        actions=None if scope["op"] == "All" else named,
        mentions=named | frozenset(_named_in(conditions, "Action")),
        reads=frozenset(read for body in conditions for read in _reads_of(body)),
        groups=frozenset(_named_in([est["principal"], conditions], "Group")),
        clauses=frozenset(_clauses_in(conditions)),
        standings=frozenset(_standings_in(conditions)),
        obligations=parse_obligations(asked, policy=policy) if asked is not None else (),
    )


def _reads_of(node: Any) -> Iterator[str]:
    """Context attributes an expression can read; any use not understood reads the whole."""
    if path := _path_of(node):
        if path == ["attributes"]:
            yield PRESENCE if "has" in node else "attributes"
        else:
            yield ".".join(path[:2]) if path[0] == "attributes" else path[0]
        return
    if isinstance(node, dict):
        if node == {"Var": "context"}:
            yield WHOLE
            return
        for inner in node.values():
            yield from _reads_of(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _reads_of(inner)


def _clauses_in(node: Any) -> Iterator[str]:
    """Ids of the clauses whose standing an expression reads."""
    path = _path_of(node)
    if path and path[0] == "clauses":
        yield path[1] if len(path) > 1 else ""
    elif isinstance(node, dict | list):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from _clauses_in(inner)


def _standings_in(node: Any) -> Iterator[str]:
    """Texts that an expression compares a clause's standing with."""
    if isinstance(node, list):
        for inner in node:
            yield from _standings_in(inner)
    elif isinstance(node, dict):
        sides = [node.get("left"), node.get("right")]
        if any((_path_of(side) or [""])[0] == "clauses" for side in sides):
            yield from _texts_in(sides)
        for inner in node.values():
            yield from _standings_in(inner)


def _texts_in(node: Any) -> Iterator[str]:
    if isinstance(node, dict) and isinstance(node.get("Value"), str):
        yield node["Value"]
    elif isinstance(node, dict | list):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from _texts_in(inner)


def _path_of(node: Any) -> list[str] | None:
    """`["attributes", "region"]` for `context.attributes.region` or `context.attributes has region`."""
    if not isinstance(node, dict) or len(node) != 1:
        return None
    (operator, body), *_ = node.items()
    if operator not in (".", "has") or not isinstance(body, dict) or "attr" not in body:
        return None
    if body["left"] == {"Var": "context"}:
        return [body["attr"]]
    inner = _path_of(body["left"]) if isinstance(body["left"], dict) and "." in body["left"] else None
    return [*inner, body["attr"]] if inner else None


def _named_in(node: Any, type: str) -> Iterator[str]:
    """Ids of the entities of a type, in a scope or an expression."""
    if isinstance(node, dict):
        if node.get("type") == type and isinstance(node.get("id"), str):
            yield node["id"]
        for inner in node.values():
            yield from _named_in(inner, type)
    elif isinstance(node, list):
        for inner in node:
            yield from _named_in(inner, type)


def policy_text(policies: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Each policy as Cedar prints it: one text for one meaning, comments and layout gone."""
    return {
        policy: cedarpy.policies_from_json_str(
            orjson.dumps({"templates": {}, "staticPolicies": {policy: dict(est)}, "templateLinks": []}).decode()
        ).strip()
        for policy, est in sorted(policies.items())
    }
