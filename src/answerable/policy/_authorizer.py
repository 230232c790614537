"""Authorize: from an action to a decision. Whatever goes wrong on the way is a denial."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import orjson

from answerable.core import (
    Action,
    AnswerableError,
    ApprovalObligation,
    Clock,
    Decision,
    FactScope,
    SystemClock,
    TenantId,
    stable_json,
)
from answerable.policy._autonomy import AutonomyProjection
from answerable.policy._cedar import PRESENCE, WHOLE
from answerable.policy._errors import PolicyFailed
from answerable.policy._evaluation import Evaluation
from answerable.policy._facts import FACTS, Facts, read_facts
from answerable.policy._labels import Flows
from answerable.policy._obligations import merge_obligations, parse_duration, parse_obligations
from answerable.policy._policies import Partition, PolicySet, Request
from answerable.policy._ports import Clauses, Rows
from answerable.policy._schema import CONTEXT, action_id

__all__ = ["CedarAuthorizer", "DecisionCache"]

_MOST_CONTEXT_BYTES = 8192
_FLOW = frozenset({"labelled", "untrusted_arguments", "sends"})
_NO_FACTS = Facts()
_NO_GROUPS: frozenset[str] = frozenset()
_TIER = frozenset({"tier"})


class DecisionCache:
    """Evaluations of exact requests, the least recently used dropped first.

    Never a source of truth: facts are read afresh for every request and are part of it, and a stop
    or another policy changes the key.

    Args:
        most: entries kept, at most 2 KB each.
    """

    def __init__(self, most: int = 4096) -> None:
        self.hits = 0
        self.misses = 0
        self._most = most
        self._kept: OrderedDict[tuple[str, int, bytes], Evaluation] = OrderedDict()

    def get(self, key: tuple[str, int, bytes]) -> Evaluation | None:
        """The evaluation under this key, if it is still kept."""
        found = self._kept.get(key)
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
            self._kept.move_to_end(key)
        return found

    def put(self, key: tuple[str, int, bytes], evaluation: Evaluation) -> None:
        """Keep an evaluation."""
        if self._most <= 0:
            return
        self._kept[key] = evaluation
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Policies:
    held: PolicySet
    name: str


class CedarAuthorizer:
    """Decides actions by the policy set of their tenant.

    Args:
        policies: for every tenant that has none of its own.
        rows: reads the facts; `open` compares their versions again in its transaction.
        stored_as: under which name the policies' snapshot is on the record, where that is not its digest.
        generation: moves with every stop and lift.
        flows: where arguments come from; None where nothing is declared a source or a sink.
        cache: None for none at all.
        groups: of agents, by their id.
        called: what the record of a tenant calls a person of a name.
        autonomy: knows whether any agent has a tier; without it none has.
        clauses: knows how clauses stand; without it every one is undetermined.
    """

    def __init__(
        self,
        policies: PolicySet,
        rows: Rows,
        *,
        stored_as: str = "",
        clock: Clock | None = None,
        generation: Callable[[], int] = lambda: 0,
        flows: Flows | None = None,
        cache: DecisionCache | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        called: Callable[[TenantId, str], str] = lambda tenant, name: name,
        autonomy: AutonomyProjection | None = None,
        clauses: Clauses | None = None,
    ) -> None:
        self.cache = cache
        self._rows = rows
        self._clock = clock or SystemClock()
        self._generation = generation
        self._flows = flows
        self._groups = {agent: frozenset(named) for agent, named in (groups or {}).items()}
        self._called = called
        self._autonomy = autonomy
        self._clauses = clauses
        self._default = _Policies(policies, stored_as or policies.digest)
        self._of_tenant: dict[str, _Policies] = {}

    def use(self, policies: PolicySet, *, tenant: TenantId | None = None, stored_as: str = "") -> None:
        """Decide by these policies from the next action on: a tenant's, or everybody's."""
        named = _Policies(policies, stored_as or policies.digest)
        if tenant is None:
            self._default = named
        else:
            self._of_tenant[tenant] = named

    async def authorize(self, action: Action) -> Decision:
        """The decision on this action now. Any doubt or error is a denial."""
        policies = self._of_tenant.get(action.tenant, self._default)
        request, facts = b"{}", _NO_FACTS
        try:
            partition = policies.held.partition(action_id(action.kind, action.name))
            wanted = FACTS if WHOLE in partition.reads else partition.reads & FACTS
            if self._autonomy is not None and not self._autonomy.is_empty(self._rows):
                wanted |= _TIER
            if wanted:
                initiator = self._initiator(action) if "initiator_roles" in wanted else ""
                facts = read_facts(self._rows, action, wanted, self._clock.now(), initiator=initiator)
                if partition.clauses:
                    facts = await self._with_clauses(facts, action, partition.clauses)
            if self._flows is not None and (WHOLE in partition.reads or not _FLOW.isdisjoint(partition.reads)):
                facts = replace(facts, flow=await self._flows.of(action))
            groups = partition.groups & self._groups.get(action.agent, _NO_GROUPS) if partition.groups else _NO_GROUPS
            parts, request = _request(action, partition, facts, groups)
            evaluation = self._evaluate(policies, partition, parts, request)
            if action.kind == "decision":
                evaluation = _asked(action, evaluation)
        except Exception as error:  # noqa: BLE001 - the port's outer edge: becomes a denial with a receipt
            failed = error if isinstance(error, PolicyFailed) else _failed(action, error)
            evaluation = Evaluation(verdict="deny", error=failed)
        return Decision(
            verdict=evaluation.verdict,
            rules=evaluation.rules,
            request=request,
            policy=policies.name,
            obligations=evaluation.obligations,
            facts=facts.scopes,
            provenance=facts.flow.provenance,
            error=evaluation.error,
        )

    async def _with_clauses(self, facts: Facts, action: Action, names: frozenset[str]) -> Facts:
        if self._clauses is None:
            return replace(facts, values={**facts.values, "clauses": dict.fromkeys(names, "undetermined")})
        standing, seq = await self._clauses.now(action.run, names)
        read = FactScope(f"run:{action.run}", seq)
        return replace(facts, values={**facts.values, "clauses": dict(standing)}, scopes=(*facts.scopes, read))

    def _initiator(self, action: Action) -> str:
        # SECURITY: a system that is called like a person is not that person.
        asked = action.on_behalf_of
        return self._called(action.tenant, asked) if asked.startswith("person:") else ""

    def _evaluate(
        self, policies: _Policies, partition: Partition, parts: Mapping[str, Any], request: bytes
    ) -> Evaluation:
        if self.cache is None:
            return partition.decide(parts)
        # Short requests are their own key; long ones are hashed, so that the cache stays small.
        name = request if len(request) <= 1024 else hashlib.sha256(request).digest()
        key = (policies.held.digest, self._generation(), name)
        known = self.cache.get(key)
        if known is None:
            known = partition.decide(parts)
            self.cache.put(key, known)
        return known


def _failed(action: Action, error: Exception) -> PolicyFailed:
    # Only errors of our own say what happened in words fit for the record; others could quote an argument.
    return PolicyFailed(
        action=action.name, problem=str(error) if isinstance(error, AnswerableError) else type(error).__name__
    )


def _request(
    action: Action, partition: Partition, facts: Facts, groups: frozenset[str]
) -> tuple[Mapping[str, Any], bytes]:
    """What is decided, and the same as it goes on the record."""
    context = _context(action, partition.reads, facts)
    parts = Request(
        agent=action.agent,
        action=partition.action,
        target=action.described.target,
        context=context,
        groups=tuple(sorted(groups)),
        autonomy=facts.values.get("autonomy"),
        declared=facts.flow.declared,
    ).parts
    body = stable_json(parts)
    if len(body) > _MOST_CONTEXT_BYTES and len(orjson.dumps(context)) > _MOST_CONTEXT_BYTES:
        problem = f"its context is over {_MOST_CONTEXT_BYTES} bytes: policies decide on booleans and counts"
        raise PolicyFailed(action=action.name, problem=problem)
    return parts, body


def _context(action: Action, reads: frozenset[str], facts: Facts) -> dict[str, Any]:
    """Only what some policy reads: the fewer attributes, the more requests are the same request."""
    context: dict[str, Any] = {}
    for name in CONTEXT if WHOLE in reads else reads:
        reader = _READERS.get(name)
        if reader is not None:
            value = reader(action, facts)
            if value is not None:
                context[name] = value
    if action.confidence is not None:
        # Read or not: asked again under other policies, the agent cannot have been surer than it said.
        context["confidence"] = action.confidence
    attributes = action.described.attributes
    if attributes:
        if WHOLE in reads or "attributes" in reads:
            context["attributes"] = attributes
        else:
            read = {name: value for name, value in attributes.items() if f"attributes.{name}" in reads}
            if read or PRESENCE in reads or any(each.startswith("attributes.") for each in reads):
                context["attributes"] = read
    return context


def _told(name: str) -> Callable[[Action, Facts], Any]:
    return lambda action, facts: facts.values[name]


_READERS: Mapping[str, Callable[[Action, Facts], Any]] = {
    "environment": lambda action, facts: action.environment,
    "effect": lambda action, facts: str(action.described.effect),
    "kind": lambda action, facts: action.kind,
    "amount_minor": lambda action, facts: action.described.amount.minor if action.described.amount else None,
    "currency": lambda action, facts: action.described.amount.currency if action.described.amount else None,
    "labels": lambda action, facts: list(action.labels),
    "confidence": lambda action, facts: action.confidence,
    "tainted": lambda action, facts: any(label.startswith("untrusted:") for label in action.labels),
    "target_named": lambda action, facts: action.described.target in action.resources,
    **{name: _told(name) for name in FACTS},
    "clauses": lambda action, facts: facts.values.get("clauses"),
    "labelled": lambda action, facts: facts.flow.is_labelled,
    "untrusted_arguments": lambda action, facts: list(facts.flow.untrusted),
    "sends": lambda action, facts: list(facts.flow.sends),
}
assert _READERS.keys() == CONTEXT.keys()


def _asked(action: Action, evaluation: Evaluation) -> Evaluation:
    """A question to a person waits for the role that the question names, if policy lets it be asked."""
    if evaluation.verdict == "deny":
        return evaluation
    said = orjson.loads(action.arguments)
    role = said.get("role")
    timeout = said.get("timeout", said.get("timeout_s"))
    lasts = parse_duration(timeout) if isinstance(timeout, str) else None
    if isinstance(timeout, int | float) and timeout > 0:
        lasts = timedelta(seconds=timeout)
    if not isinstance(role, str) or (timeout is not None and lasts is None):
        raise PolicyFailed(action=action.name, problem="the question names no role, or its time-out is no duration")
    # Parsed like a policy's own: the question may name no role that a policy could not.
    (asked,) = parse_obligations(f"approve:role={role},not=initiator", policy="approval")
    bounded = ApprovalObligation(role=asked.role, not_initiator=True, timeout=lasts or asked.timeout)
    merged = merge_obligations((*evaluation.obligations, bounded))
    if merged is None:
        raise PolicyFailed(action=action.name, problem=f"policy asks for another role than `{role}`")
    return Evaluation(verdict="hold", rules=evaluation.rules, obligations=merged)
