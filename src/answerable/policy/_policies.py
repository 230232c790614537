"""A policy set: loaded whole or not at all, evaluated a partition at a time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cedarpy
import orjson

from answerable.core import quickly_made, sha256_name, stable_json
from answerable.policy._cedar import CedarPolicy, ask_cedar, policy_text
from answerable.policy._errors import PolicyDenied, PolicyFailed, PolicyInvalid
from answerable.policy._evaluation import Evaluation, stricter, within_tier
from answerable.policy._layers import read_layers, with_layers
from answerable.policy._loading import SETS, actions_mentioned, files_of, read_into, schema_of, text_of, validate
from answerable.policy._obligations import merge_obligations
from answerable.policy._schema import KnownAction, groups_of

__all__ = ["Evaluation", "Partition", "PolicySet", "Request"]

_FORMAT = "answerable-policy-1"
_MOST_KEPT = 10_000


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What policy is asked, exactly as it goes on the record.

    Args:
        agent: the principal is `Agent::"<agent>"`.
        action: the action is `Action::"<action>"`, by `action_id`.
        target: the resource is `Resource::"<target>"`, `none` where the action has none.
        context: only what some policy of the action's partition reads.
        groups: those of the agent's groups that some policy of the partition names.
        autonomy: tier of the agent and the role that is asked, where it is less than `execute`.
        declared: name of the sources and sinks on the record, where the context says something that follows from them.
    """

    agent: str
    action: str
    target: str
    context: Mapping[str, Any]
    groups: tuple[str, ...] = ()
    autonomy: tuple[str, str] | None = None
    declared: str = ""

    @property
    def parts(self) -> dict[str, Any]:
        """Principal, action, resource, context, autonomy, declared."""
        principal: dict[str, Any] = {"type": "Agent", "id": self.agent}
        if self.groups:
            principal["groups"] = list(self.groups)
        said: dict[str, Any] = {
            "principal": principal,
            "action": {"type": "Action", "id": self.action},
            "resource": {"type": "Resource", "id": self.target or "none"},
            "context": self.context,
        }
        if self.autonomy:
            said["autonomy"] = dict(zip(("tier", "role"), self.autonomy, strict=True))
        if self.declared:
            said["declared"] = self.declared
        return said

    def to_json(self) -> bytes:
        """Its parts as stable JSON."""
        return stable_json(self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """The policies that can apply to one action, parsed."""

    action: str
    policies: Mapping[str, CedarPolicy]
    handle: cedarpy.PolicySet
    entities: cedarpy.Entities
    reads: frozenset[str]
    groups: frozenset[str]
    clauses: frozenset[str]
    _members: dict[tuple[str, ...], cedarpy.Entities] = field(default_factory=dict, repr=False)
    _verdicts: dict[tuple[bool, tuple[str, ...]], Evaluation] = field(default_factory=dict, repr=False)

    def evaluate(self, request: bytes) -> Evaluation:
        """Decide a request (`Request.to_json`). Whatever goes wrong is a denial."""
        return self.decide(orjson.loads(request))

    def decide(self, parts: Mapping[str, Any]) -> Evaluation:
        """Decide a request that goes on the record as these parts (`Request.parts`)."""
        principal, context = parts["principal"], parts["context"]
        found = self._ask(parts, context)
        if "confidence" in context:
            # SECURITY: what an agent says of itself may only tighten, so the answer without it must hold, too.
            unsaid = {name: value for name, value in context.items() if name != "confidence"}
            found = stricter(found, self._ask(parts, unsaid), action=self.action)
        if "autonomy" not in parts:
            return found
        return within_tier(found, parts["autonomy"], action=self.action, agent=principal["id"])

    def _ask(self, parts: Mapping[str, Any], context: Mapping[str, Any]) -> Evaluation:
        """One Cedar call over both sets."""
        principal = parts["principal"]
        groups = principal.get("groups")
        asked = {
            "principal": {"type": principal["type"], "id": principal["id"]},
            "action": parts["action"],
            "resource": parts["resource"],
            "context": orjson.dumps(context).decode(),
        }
        entities = self._with(principal["id"], groups) if groups else self.entities
        is_allowed, reasons, errors = ask_cedar(asked, self.handle, entities)
        rules = tuple(sorted(reasons))
        if errors:
            # SECURITY: Cedar skips a policy that fails; a skipped `forbid` would widen authority.
            return Evaluation(verdict="deny", rules=rules, error=PolicyFailed(action=self.action, problem=errors[0]))
        known = self._verdicts.get((is_allowed, rules))
        if known is None:
            known = self._verdict(rules, is_allowed=is_allowed)
            if len(self._verdicts) < _MOST_KEPT:
                self._verdicts[is_allowed, rules] = known
        return known

    def _verdict(self, rules: tuple[str, ...], *, is_allowed: bool) -> Evaluation:
        """What it means that these policies decided.

        Obligations are permits too, so the answer is a permit only if a policy of the authorize set is
        among the reasons.
        """
        if not is_allowed or not any(not self.policies[rule].obligations for rule in rules):
            named = "no policy permits it" if is_allowed or not rules else "forbidden by " + ", ".join(rules)
            denied = PolicyDenied(action=self.action, reason=named)
            return Evaluation(verdict="deny", rules=() if is_allowed else rules, error=denied)
        merged = merge_obligations(each for rule in rules for each in self.policies[rule].obligations)
        if merged is None:
            problem = "it would need approvals by different roles: " + ", ".join(rules)
            return Evaluation(verdict="deny", rules=rules, error=PolicyFailed(action=self.action, problem=problem))
        return Evaluation(verdict="hold" if merged else "permit", rules=rules, obligations=merged)

    def _with(self, agent: str, groups: list[str]) -> cedarpy.Entities:
        """The entities, and the agent in its groups."""
        found = self._members.get((agent, *groups))
        if found is None:
            found = _entities(self.action, agent, groups)
            if len(self._members) < _MOST_KEPT:
                self._members[agent, *groups] = found
        return found


@dataclass(frozen=True, kw_only=True)
class PolicySet:
    """Who may do what (`authorize`), and what must be met first (`obligations`).

    Args:
        where: where it was read, for messages.
        known: the actions it was validated against.
        layers: of each policy that is not the platform's own, the layer.
    """

    where: str
    policies: Mapping[str, CedarPolicy]
    schema: str = ""
    known: tuple[KnownAction, ...] = ()
    layers: Mapping[str, str] = field(default_factory=dict)
    _partitions: dict[str, Partition] = field(default_factory=dict, repr=False)

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        actions: Iterable[KnownAction] | None = None,
        clauses: Iterable[str] | None = None,
        tenant: str = "default",
    ) -> "PolicySet":
        """Read `authorize/*.cedar`, `obligations/*.cedar` (or one file of each name), `schema.cedarschema` and layers.

        `actions` and `clauses` are what exists, so that a policy naming anything else is caught; None takes
        what the policies name as existing.

        Raises:
            PolicyInvalid: nothing there, not Cedar, an `@id` missing or doubled, a template, a name or
                attribute that the schema lacks, a `forbid` among the obligations, a layer beyond its bounds.
            ObligationInvalid: an obligation nobody would enforce.
        """
        return cls.load_all(directory, actions=actions, clauses=clauses, tenants=[tenant])[tenant]

    @classmethod
    def load_all(
        cls,
        directory: Path,
        *,
        actions: Iterable[KnownAction] | None = None,
        clauses: Iterable[str] | None = None,
        tenants: Iterable[str] = ("default",),
    ) -> dict[str, "PolicySet"]:
        """The policies of these tenants and of all that a layer names, each with its layers; read once.

        Raises:
            PolicyInvalid, ObligationInvalid: as for `load`.
        """
        base, schema_file = _read_base(directory), directory / "schema.cedarschema"
        layers = read_layers(directory)
        own = text_of(schema_file) if schema_file.exists() else ""
        read = [*base.values(), *(policy for layer in layers for policy in layer.policies.values())]
        known = tuple(actions) if actions is not None else actions_mentioned(read)
        named = {clause for policy in read for clause in policy.clauses} - {""} if clauses is None else clauses
        schema = schema_of(known, own, clauses=named, where=str(directory))
        validate(base, schema, known, where=str(directory))
        for layer in layers:
            validate(layer.policies, schema, known, where=str(layer.where))
        made: dict[str, PolicySet] = {}
        for tenant in dict.fromkeys([*tenants, *(name for layer in layers for name in layer.tenants or ())]):
            its = [layer for layer in layers if layer.covers(tenant)]
            made[tenant] = cls(
                where=str(directory),
                policies=with_layers(base, its),
                schema=own,
                known=known,
                layers={name: layer.name for layer in its for name in layer.policies},
            )
        return made

    @classmethod
    def from_snapshot(cls, snapshot: bytes, *, where: str = "snapshot") -> "PolicySet":
        """The policy set that `snapshot` wrote.

        Raises:
            PolicyInvalid: not a snapshot this version can read.
        """
        try:
            said = orjson.loads(snapshot)
            if said["format"] != _FORMAT:
                raise PolicyInvalid(where=where, problem=f"unknown format `{said['format']}`")
            read: dict[str, CedarPolicy] = {}
            for name in SETS:
                for text in said[name].values():
                    read_into(read, text, where=where, obliges=name == "obligations")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise PolicyInvalid(where=where, problem=f"not a policy snapshot ({type(error).__name__})") from None
        return cls(where=where, policies=read, schema=said.get("schema", ""), layers=said.get("layers", {}))

    def snapshot(self) -> bytes:
        """The policies as stable JSON, each as Cedar prints it: what `digest` names and replay evaluates."""
        return self._snapshot

    @cached_property
    def _snapshot(self) -> bytes:
        obliges = {policy.id: policy.est for policy in self.policies.values() if policy.obligations}
        decides = {policy.id: policy.est for policy in self.policies.values() if not policy.obligations}
        content = {"format": _FORMAT, "authorize": policy_text(decides), "obligations": policy_text(obliges)}
        more = {"schema": self.schema, "layers": dict(self.layers)}
        return stable_json(content | {name: value for name, value in more.items() if value})

    @cached_property
    def digest(self) -> str:
        """`sha256:` name of the snapshot: the same for the same meaning, whatever the layout of the files."""
        return sha256_name(self._snapshot)

    def partition(self, action: str) -> Partition:
        """The policies that can apply to an action, by its id; parsed once."""
        found = self._partitions.get(action)
        if found is None:
            groups = groups_of(action)
            found = _compile(action, [p for p in self.policies.values() if p.can_apply(action, groups)])
            if len(self._partitions) < _MOST_KEPT:  # a tool server that invents names must not fill the memory
                self._partitions[action] = found
        return found

    def whole(self, action: str) -> Partition:
        """All policies as one partition: slower, and equal to `partition` in every answer."""
        return _compile(action, self.policies.values())

    def evaluate(self, request: bytes) -> Evaluation:
        """Decide a request, as `Request.to_json` wrote it, without any cache."""
        return self.partition(orjson.loads(request)["action"]["id"]).evaluate(request)


def _read_base(directory: Path) -> dict[str, CedarPolicy]:
    """The platform's own policies."""
    if not directory.is_dir():
        raise PolicyInvalid(where=str(directory), problem="no such directory")
    read: dict[str, CedarPolicy] = {}
    for name in SETS:
        for file in files_of(directory, name):
            read_into(read, text_of(file), where=str(file), obliges=name == "obligations")
    if not any(not policy.obligations for policy in read.values()):
        raise PolicyInvalid(where=str(directory), problem="no `authorize` policy, so everything would be denied")
    return read


def _compile(action: str, policies: Iterable[CedarPolicy]) -> Partition:
    kept = {policy.id: policy for policy in policies}
    bare = {id: {**policy.est, "annotations": {}} for id, policy in kept.items()}
    body = {"templates": {}, "staticPolicies": bare, "templateLinks": []}
    return Partition(
        action=action,
        policies=kept,
        handle=cedarpy.PolicySet.from_json_str(orjson.dumps(body).decode()),
        entities=_entities(action),
        reads=frozenset(read for policy in kept.values() for read in policy.reads),
        groups=frozenset(group for policy in kept.values() for group in policy.groups),
        clauses=frozenset(clause for policy in kept.values() for clause in policy.clauses),
    )


def _entities(action: str, agent: str = "", groups: Iterable[str] = ()) -> cedarpy.Entities:
    parents = [{"type": "Action", "id": group} for group in groups_of(action)]
    said = [{"uid": {"type": "Action", "id": action}, "attrs": {}, "parents": parents}]
    if agent:
        member = [{"type": "Group", "id": group} for group in groups]
        said.append({"uid": {"type": "Agent", "id": agent}, "attrs": {}, "parents": member})
    return cedarpy.Entities.from_json_str(orjson.dumps(said).decode())
