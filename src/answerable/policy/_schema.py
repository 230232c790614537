"""The words policies are written in: action ids, their groups, and the schema that types them.

| action | Cedar id | groups |
|---|---|---|
| tool `shop.refund` | `Action::"shop.refund"` | `Action::"tool"`, `Action::"shop.*"` |
| model `openai:gpt-5-mini` | `Action::"model:openai:gpt-5-mini"` | `Action::"model"`, `Action::"model:openai:*"` |
| a question to a person | `Action::"approval"` | `Action::"decision"` |
| another kind | `Action::"memory:NAME"` | `Action::"memory"` |

The principal is `Agent::"NAME"`, in the groups that it was declared with: `principal in Group::"finance"`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from answerable.core import ActionKind, Effect
from answerable.policy._errors import PolicyFailed

__all__ = [
    "CONTEXT",
    "KINDS",
    "QUESTION",
    "STANDINGS",
    "STAND_IN",
    "AttributeType",
    "KnownAction",
    "action_id",
    "groups_of",
    "schema_text",
]

AttributeType = Literal["Bool", "Long", "String"]

KINDS: frozenset[str] = frozenset(get_args(ActionKind))

CONTEXT: Mapping[str, str] = {
    "environment": "environment: String",
    "effect": "effect: String",
    "kind": "kind: String",
    "tier": "tier: String",
    "confidence": "confidence?: Long",
    "amount_minor": "amount_minor?: Long",
    "currency": "currency?: String",
    "labels": "labels: Set<String>",
    "tainted": "tainted: Bool",
    "target_named": "target_named: Bool",
    "prior_on_target": "prior_on_target: Long",
    "prior_approvals": "prior_approvals: Long",
    "amount_today_minor": "amount_today_minor: Long",
    "amount_7d_minor": "amount_7d_minor: Long",
    "amount_30d_minor": "amount_30d_minor: Long",
    "amount_run_minor": "amount_run_minor: Long",
    "count_today": "count_today: Long",
    "count_7d": "count_7d: Long",
    "count_30d": "count_30d: Long",
    "payees_today": "payees_today: Long",
    "initiator_roles": "initiator_roles: Set<String>",
    "hour": "hour: Long",
    "weekday": "weekday: Long",
    "labelled": "labelled: Bool",
    "untrusted_arguments": "untrusted_arguments: Set<String>",
    "sends": "sends: Set<String>",
    "clauses": "clauses: Clauses",
}
"""What every action tells policy, and its type; `attributes` is typed per action, `Clauses` by what is specified."""

STANDINGS = frozenset({"satisfied", "violated", "not applicable", "undetermined"})
"""What the record can say of a clause (`docs/concepts/specifications.md`)."""

assert {effect.value for effect in Effect} == {"read", "write", "irreversible"}  # as documented to policy authors


STAND_IN = "-"
"""Name of an action that stands for any of its group in the schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAction:
    """An action that exists, so that a policy which names another is caught when it loads.

    Args:
        attributes: what the tool's declaration exposes under `context.attributes`; a call may leave one out.
    """

    name: str
    kind: ActionKind = "tool"
    attributes: Mapping[str, AttributeType] = field(default_factory=dict)

    @classmethod
    def declared(cls, name: str, *, attributes: Mapping[str, bool | int | str]) -> "KnownAction":
        """A tool whose declaration exposes these values: policies may use them as what they are."""
        types: dict[type, AttributeType] = {bool: "Bool", int: "Long", str: "String"}
        return cls(name=name, attributes={key: types[type(value)] for key, value in attributes.items()})


QUESTION = KnownAction(name="approval", kind="decision", attributes={"role": "String"})


def action_id(kind: str, name: str) -> str:
    """The id of an action in policies.

    Raises:
        PolicyFailed: the tool's name would read as another kind's action, or as a group.
    """
    if kind == "tool":
        # SECURITY: a tool server chooses its tools' names; none may pass for a model, a question or a group.
        if ":" in name or name.endswith("*") or name == "approval" or name in KINDS:
            raise PolicyFailed(action=name, problem="no tool may have this name, which stands for something else")
        return name
    if kind == "decision" and name == "approval":
        return name
    return f"{kind}:{name}"


def groups_of(action: str) -> tuple[str, ...]:
    """The groups that an action belongs to, by its id alone, so that replay needs no list of tools."""
    if action == "approval":
        return ("decision",)
    kind, colon, name = action.partition(":")
    if not colon:
        server, dot, _ = action.rpartition(".")
        return ("tool", f"{server}.*") if dot else ("tool",)
    provider, colon, _ = name.partition(":")
    return (kind, f"{kind}:{provider}:*") if colon else (kind,)


def schema_text(actions: Iterable[KnownAction], clauses: Iterable[str] = ()) -> str:
    """The Cedar schema of what exists; `Attributes`, the type of undeclared attributes, is left to define.

    Args:
        clauses: ids of the clauses that there are.

    Raises:
        PolicyFailed: a tool's name is reserved.
    """
    # Stand-ins: a policy that names only a kind, or no action at all, must find something it applies to.
    stand_ins = [KnownAction(name=STAND_IN, kind=kind) for kind in get_args(ActionKind)]
    known = {action_id(each.kind, each.name): each for each in [*stand_ins, *actions, QUESTION]}
    context = ", ".join(CONTEXT.values())
    lines = [
        "entity Group;",
        "entity Agent in [Group];",
        "entity Resource;",
        f"type Clauses = {{ {', '.join(f'{json.dumps(clause)}: String' for clause in sorted(clauses))} }};",
        f"type Context = {{ {context}, attributes?: Attributes }};",
    ]
    for name, each in sorted(known.items()):
        typed = "Context"
        if each.attributes:
            inner = ", ".join(f"{json.dumps(key)}?: {kind}" for key, kind in sorted(each.attributes.items()))
            typed = f"{{ {context}, attributes?: {{ {inner} }} }}"
        lines.append(
            f"action {json.dumps(name)} in [{', '.join(map(json.dumps, groups_of(name)))}] "
            f"appliesTo {{ principal: [Agent], resource: [Resource], context: {typed} }};"
        )
    groups = {group for name in known for group in groups_of(name)}
    lines += [f"action {json.dumps(group)};" for group in sorted(groups | KINDS)]
    return "\n".join(lines)
