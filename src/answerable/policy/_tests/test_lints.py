"""What can be used and is still doubtful."""

from pathlib import Path

import pytest

from answerable.policy import check_policies
from answerable.policy._tests.conftest import write_policies

FINE = '@id("a-pays") permit (principal in Group::"finance", action == Action::"bank.pay", resource);'
ASKED = '@id("z-asks") @obligation("approve:role=lead") permit (principal, action == Action::"bank.{}", resource);'


def lints(directory: Path, authorize: str, obligations: str = "") -> list[tuple[str, str]]:
    found = check_policies(write_policies(directory, authorize, obligations))
    assert found.is_valid, found.problem
    return [(each.policy, each.kind) for each in found.lints]


def test_a_set_that_names_whom_it_means_is_in_order(tmp_path: Path) -> None:
    assert lints(tmp_path, FINE, ASKED.format("pay")) == []


@pytest.mark.requirement("GV-1")
@pytest.mark.parametrize(
    ("authorize", "obligations", "expected"),
    [
        (
            FINE + '@id("never") forbid (principal, action in Action::"bank.*", resource);',
            "",
            ("a-pays", "unreachable"),
        ),
        (
            FINE + '@id("n") permit (principal == Agent::"x", action == Action::"bank.pay", resource) when { false };',
            "",
            ("n", "unreachable"),
        ),
        (FINE + FINE.replace("a-pays", "b-pays"), "", ("b-pays", "repeated")),
        (FINE, ASKED.format("refund"), ("z-asks", "no permit")),
        (FINE.replace('principal in Group::"finance"', "principal"), "", ("a-pays", "wide")),
        (FINE.replace('action == Action::"bank.pay"', "action"), "", ("a-pays", "wide")),
    ],
)
def test_a_doubtful_rule_is_named(tmp_path: Path, authorize: str, obligations: str, expected: tuple[str, str]) -> None:
    assert lints(tmp_path, authorize, obligations) == [expected]


@pytest.mark.parametrize("condition", ['principal in Group::"finance"', 'context.initiator_roles.contains("clerk")'])
def test_a_permit_that_asks_who_in_its_condition_is_not_for_everybody(tmp_path: Path, condition: str) -> None:
    text = f'@id("a") permit (principal, action == Action::"bank.pay", resource) when {{ {condition} }};'

    assert lints(tmp_path, text) == []


def test_a_forbid_under_a_condition_hides_nothing(tmp_path: Path) -> None:
    night = '@id("night") forbid (principal, action, resource) when { context.hour < 6 };'

    assert lints(tmp_path, FINE + night) == []
