"""What a policy reads is taken from Cedar's own form of it, and never too little."""

import cedarpy
import pytest

from answerable.policy._cedar import PRESENCE, WHOLE, ask_cedar, parse_policies, read_policy


@pytest.mark.parametrize(
    ("condition", "reads"),
    [
        ("true", set()),
        ("context.tainted", {"tainted"}),
        ("context has currency", {"currency"}),
        ("context has attributes", {PRESENCE}),
        ("context has attributes.size", {PRESENCE, "attributes.size"}),
        ("context.attributes == {size: 1}", {"attributes"}),
        ("context == {size: 1}", {WHOLE}),
        ("{list: [context]} == {list: [context]}", {WHOLE}),
        ('{"Value": context.tainted, ".": 1} == {"Value": true, ".": 1}', {"tainted"}),
        ('(if context.tainted then context.labels.contains("x") else resource == principal)', {"tainted", "labels"}),
    ],
)
def test_every_attribute_a_condition_can_read_is_found(condition: str, reads: set[str]) -> None:
    ((_, annotations, est),) = parse_policies(f"permit(principal, action, resource) when {{ {condition} }};")

    assert read_policy("x", annotations, est).reads == reads


def test_every_action_a_policy_names_is_found() -> None:
    text = 'permit(principal, action in [Action::"a"], resource) unless { action in [Action::"b", Action::"c"] };'
    ((_, annotations, est),) = parse_policies(text)

    policy = read_policy("x", annotations, est)

    assert policy.actions == frozenset({"a"})
    assert policy.mentions == {"a", "b", "c"}


@pytest.mark.parametrize("principal", ["a", "b"])
@pytest.mark.parametrize("context", ['{"n": 1}', '{"n": 9}', '{"n": 9223372036854775807}', "{}", "no JSON"])
def test_what_cedar_is_asked_directly_it_answers_as_through_its_library(principal: str, context: str) -> None:
    held = cedarpy.PolicySet.from_str(
        """@id("permits") permit(principal == Agent::"a", action, resource);
        @id("forbids") forbid(principal, action, resource) when { context.n + 1 > 5 };"""
    )
    nobody = cedarpy.Entities.from_json_str("[]")
    asked = {
        "principal": {"type": "Agent", "id": principal},
        "action": {"type": "Action", "id": "act"},
        "resource": {"type": "Resource", "id": "r"},
        "context": context,
    }

    allowed, reasons, errors = ask_cedar(asked, held, nobody)

    said = cedarpy.is_authorized(asked, held, nobody)
    assert (allowed, reasons, errors) == (said.allowed, said.diagnostics.reasons, said.diagnostics.errors)
    assert not (allowed and not errors) or (principal == "a" and context == '{"n": 1}')
