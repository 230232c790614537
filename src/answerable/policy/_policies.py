"""A policy set: loaded whole or not at all, evaluated a partition at a time."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cedarpy
import orjson

from answerable.core import AnswerableError, Obligation, Verdict, sha256_name, stable_json
from answerable.policy._cedar import PRESENCE, WHOLE, CedarPolicy, parse_policies, policy_text, read_policy
from answerable.policy._errors import PolicyDenied, PolicyFailed, PolicyInvalid
from answerable.policy._obligations import merge_obligations
from answerable.policy._schema import CONTEXT, KINDS, STAND_IN, KnownAction, groups_of, schema_text

__all__ = ["Evaluation", "Partition", "PolicySet", "Request"]

_FORMAT = "answerable-policy-1"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FILES = ("authorize", "obligations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What policy is asked, exactly as it goes on the record.

    Args:
        agent: the principal is `Agent::"<agent>"`.
        action: the action is `Action::"<action>"`, by `action_id`.
        target: the resource is `Resource::"<target>"`, `none` where the action has none.
        context: only what some policy of the action's partition reads.
    """

    agent: str
    action: str
    target: str
    context: Mapping[str, Any]

    def to_json(self) -> bytes:
        """Stable JSON: principal, action, resource, context."""
        return stable_json(
            {
                "principal": {"type": "Agent", "id": self.agent},
                "action": {"type": "Action", "id": self.action},
                "resource": {"type": "Resource", "id": self.target or "none"},
                "context": self.context,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a policy set says of a request.

    Args:
        rules: the policies that decided, sorted: those that permit, or those that forbid.
    """

    verdict: Verdict
    rules: tuple[str, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    error: AnswerableError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """The policies that can apply to one action, parsed."""

    action: str
    policies: Mapping[str, CedarPolicy]
    handle: cedarpy.PolicySet
    entities: cedarpy.Entities
    reads: frozenset[str]

    def evaluate(self, request: bytes) -> Evaluation:
        """Decide a request (`Request.to_json`). Whatever goes wrong is a denial.

        One Cedar call over both sets: obligations are permits too, so the answer is a permit only if
        a policy of the authorize set is among the reasons.
        """
        parts = orjson.loads(request)
        parts["context"] = orjson.dumps(parts["context"]).decode()
        said = cedarpy.is_authorized(parts, self.handle, self.entities)
        rules = tuple(sorted(said.diagnostics.reasons))
        if errors := said.diagnostics.errors:
            # SECURITY: Cedar skips a policy that fails; a skipped `forbid` would widen authority.
            return Evaluation(verdict="deny", rules=rules, error=PolicyFailed(action=self.action, problem=errors[0]))
        if not said.allowed or not any(not self.policies[rule].obligations for rule in rules):
            named = "no policy permits it" if said.allowed or not rules else "forbidden by " + ", ".join(rules)
            denied = PolicyDenied(action=self.action, reason=named)
            return Evaluation(verdict="deny", rules=() if said.allowed else rules, error=denied)
        merged = merge_obligations(each for rule in rules for each in self.policies[rule].obligations)
        if merged is None:
            problem = "it would need approvals by different roles: " + ", ".join(rules)
            return Evaluation(verdict="deny", rules=rules, error=PolicyFailed(action=self.action, problem=problem))
        return Evaluation(verdict="hold" if merged else "permit", rules=rules, obligations=merged)


@dataclass(frozen=True, kw_only=True)
class PolicySet:
    """Who may do what (`authorize`), and what must be met first (`obligations`).

    Args:
        where: where it was read, for messages.
        known: the actions it was validated against.
    """

    where: str
    policies: Mapping[str, CedarPolicy]
    schema: str = ""
    known: tuple[KnownAction, ...] = ()
    _partitions: dict[str, Partition] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, directory: Path, *, actions: Iterable[KnownAction] | None = None) -> "PolicySet":
        """Read `authorize/*.cedar`, `obligations/*.cedar` (or one file of each name) and `schema.cedarschema`.

        `actions` is what exists, so that a policy naming anything else is caught; None takes what the
        policies name as existing.

        Raises:
            PolicyInvalid: nothing there, not Cedar, an `@id` missing or doubled, a template, a name or
                attribute that the schema lacks, a `forbid` among the obligations.
            ObligationInvalid: an obligation nobody would enforce.
        """
        if not directory.is_dir():
            raise PolicyInvalid(where=str(directory), problem="no such directory")
        read: dict[str, CedarPolicy] = {}
        for name in _FILES:
            for file in _files_of(directory, name):
                _read_into(read, _text_of(file), where=str(file), obliges=name == "obligations")
        if not any(not policy.obligations for policy in read.values()):
            raise PolicyInvalid(where=str(directory), problem="no `authorize` policy, so everything would be denied")
        own = directory / "schema.cedarschema"
        schema = _text_of(own) if own.exists() else ""
        known = tuple(actions) if actions is not None else _mentioned(read.values())
        _validate(read, schema, known, where=str(directory))
        return cls(where=str(directory), policies=read, schema=schema, known=known)

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
            for name in _FILES:
                for text in said[name].values():
                    _read_into(read, text, where=where, obliges=name == "obligations")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise PolicyInvalid(where=where, problem=f"not a policy snapshot ({type(error).__name__})") from None
        return cls(where=where, policies=read, schema=said.get("schema", ""))

    def snapshot(self) -> bytes:
        """The policies as stable JSON, each as Cedar prints it: what `digest` names and replay evaluates."""
        return self._snapshot

    @cached_property
    def _snapshot(self) -> bytes:
        obliges = {policy.id: policy.est for policy in self.policies.values() if policy.obligations}
        decides = {policy.id: policy.est for policy in self.policies.values() if not policy.obligations}
        content = {"format": _FORMAT, "authorize": policy_text(decides), "obligations": policy_text(obliges)}
        return stable_json(content | ({"schema": self.schema} if self.schema else {}))

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
            if len(self._partitions) < 10_000:  # a tool server that invents names must not fill the memory
                self._partitions[action] = found
        return found

    def whole(self, action: str) -> Partition:
        """All policies as one partition: slower, and equal to `partition` in every answer."""
        return _compile(action, self.policies.values())

    def evaluate(self, request: bytes) -> Evaluation:
        """Decide a request, as `Request.to_json` wrote it, without any cache."""
        return self.partition(orjson.loads(request)["action"]["id"]).evaluate(request)


def _files_of(directory: Path, name: str) -> list[Path]:
    """The files of one set. SECURITY: a stray file is refused, because a `forbid` in it would silently not hold."""
    known = {f"{each}.cedar" for each in _FILES}
    for file in directory.glob("*.cedar"):
        if file.name not in known:
            raise PolicyInvalid(where=str(file), problem="it belongs in `authorize` or in `obligations`")
    files = [directory / f"{name}.cedar"] if (directory / f"{name}.cedar").exists() else []
    for file in sorted((directory / name).iterdir()) if (directory / name).is_dir() else ():
        if file.name.startswith("."):
            continue
        if file.suffix != ".cedar" or not file.is_file():
            raise PolicyInvalid(where=str(file), problem="only `*.cedar` files stand here, and no directories")
        files.append(file)
    return files


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyInvalid(where=str(file), problem=f"cannot be read ({type(error).__name__})") from None


def _read_into(read: dict[str, CedarPolicy], text: str, *, where: str, obliges: bool) -> None:
    try:
        parsed = list(parse_policies(text))
    except ValueError as error:
        raise PolicyInvalid(where=where, problem=str(error)) from None
    for _, annotations, est in parsed:
        policy = annotations.get("id", "")
        if not _ID.fullmatch(policy):
            problem = (
                f"`@id({policy!r})` is not letters, digits, `.`, `_` and `-`" if policy else "a policy has no `@id`"
            )
            raise PolicyInvalid(where=where, problem=problem)
        if policy in read:
            raise PolicyInvalid(where=where, problem=f"`@id` `{policy}` stands twice")
        found = read_policy(policy, annotations, est)
        if obliges and not found.is_permit:
            problem = f"`{policy}` is a `forbid`: obligations add conditions to a permit, they forbid nothing"
            raise PolicyInvalid(where=where, problem=problem)
        if obliges != bool(found.obligations):
            problem = "has no `@obligation`" if obliges else "carries an `@obligation`: move it to `obligations`"
            raise PolicyInvalid(where=where, problem=f"`{policy}` {problem}")
        read[policy] = found


def _mentioned(policies: Iterable[CedarPolicy]) -> tuple[KnownAction, ...]:
    ids = {id for policy in policies for id in policy.mentions} - KINDS - {"approval"}
    return tuple(_known(id) for id in sorted(ids))


def _known(id: str) -> KnownAction:
    name = id[:-1] + STAND_IN if id.endswith("*") else id  # a group needs a member to be checked against
    kind, colon, rest = name.partition(":")
    return KnownAction(name=rest, kind=kind) if colon and kind in KINDS else KnownAction(name=name)  # type: ignore[arg-type]


def _validate(read: Mapping[str, CedarPolicy], own: str, known: Sequence[KnownAction], *, where: str) -> None:
    text = "\n".join(policy_text({policy.id: policy.est for policy in read.values()}).values())
    try:
        schema = _schema_of(known, own)
    except (ValueError, PolicyFailed) as error:
        raise PolicyInvalid(where=where, problem=f"schema: {error}") from None
    said = cedarpy.validate_policies(text, schema)
    if not said.validation_passed:
        named = said.id_annotations_by_policy_id
        problems = {f"`{named.get(error.policy_id, '?')}`: {_plain(error)}": None for error in said.errors}
        raise PolicyInvalid(where=where, problem="; ".join(problems))
    declared = {f"attributes.{name}" for each in known for name in each.attributes}
    for policy in read.values():
        for name in sorted(policy.reads - declared - CONTEXT.keys() - {WHOLE, PRESENCE, "attributes"}):
            # SECURITY: to Cedar `context has ammount` is merely false, and a `forbid` behind it never applies.
            head, _, attribute = name.partition(".")
            if head != "attributes" or not _is_typed(attribute, schema):
                raise PolicyInvalid(where=where, problem=f"`{policy.id}`: there is no `context.{name}`")


def _is_typed(attribute: str, schema: cedarpy.Schema) -> bool:
    """Whether the schema's `Attributes` has it: Cedar then accepts a bare access, or complains that it is optional."""
    read = f"context.attributes[{json.dumps(attribute)}]"
    when = f"context has attributes && {read} == {read}"
    probe = f'permit(principal, action == Action::"{STAND_IN}", resource) when {{ {when} }};'
    said = cedarpy.validate_policies(probe, schema)
    return said.validation_passed or all("optional attribute" in error.error for error in said.errors)


def _schema_of(known: Iterable[KnownAction], own: str) -> cedarpy.Schema:
    text = schema_text(known) + "\n" + own
    try:
        return cedarpy.Schema.from_str(text + "\ntype Attributes = {};")
    except ValueError:
        # Either `own` types the attributes itself, or it is wrong and this says how.
        return cedarpy.Schema.from_str(text)


def _plain(error: cedarpy.ValidationError) -> str:
    return error.error.removeprefix(f"for policy `{error.policy_id}`, ")


def _compile(action: str, policies: Iterable[CedarPolicy]) -> Partition:
    kept = {policy.id: policy for policy in policies}
    bare = {id: {**policy.est, "annotations": {}} for id, policy in kept.items()}
    body = {"templates": {}, "staticPolicies": bare, "templateLinks": []}
    parents = [{"type": "Action", "id": group} for group in groups_of(action)]
    entity = {"uid": {"type": "Action", "id": action}, "attrs": {}, "parents": parents}
    return Partition(
        action=action,
        policies=kept,
        handle=cedarpy.PolicySet.from_json_str(orjson.dumps(body).decode()),
        entities=cedarpy.Entities.from_json_str(orjson.dumps([entity]).decode()),
        reads=frozenset(read for policy in kept.values() for read in policy.reads),
    )
