"""What a policy reads is taken from Cedar's own form of it, and never too little."""

import pytest

from answerable.policy._cedar import PRESENCE, WHOLE, parse_policies, read_policy


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
