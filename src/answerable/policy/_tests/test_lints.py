"""What can be used and is still doubtful."""

from pathlib import Path

import pytest

from answerable.core import Money
from answerable.policy import Budget, Declared, check_policies
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


def paying(condition: str, who: str = 'principal in Group::"finance"') -> str:
    return f'@id("a-pays") permit ({who}, action == Action::"bank.pay", resource) {condition};'


def budget(scope: str, minor: int, currency: str = "EUR") -> Budget:
    return Budget(scope=scope, amount=Money(minor, currency))


UP_TO_100 = "when { context has amount_minor && context.amount_minor <= 10000 }"
IN_EURO = 'when { context has currency && context.currency == "EUR" && context has amount_minor && %s }'
ABOVE_50 = '@id("z-most") forbid (principal, action == Action::"bank.pay", resource) when { %s };'


def widths(
    directory: Path,
    authorize: str,
    *budgets: Budget,
    agents: dict[str, frozenset[str]] | None = None,
    moves: dict[str, str] | None = None,
    roles: frozenset[str] | None = None,
) -> list[str]:
    declared = Declared(
        agents=agents if agents is not None else {"ops": frozenset({"finance"}), "desk": frozenset({"support"})},
        moves=moves if moves is not None else {"bank.pay": "EUR"},
        budgets=budgets,
        roles=roles,
    )
    found = check_policies(write_policies(directory, authorize), declared=declared)
    assert found.is_valid, found.problem
    assert all((each.policy, each.kind) == ("a-pays", "wide") for each in found.lints)
    return [each.problem for each in found.lints]


@pytest.mark.requirement("GV-1")
@pytest.mark.parametrize(
    ("condition", "budgets", "reported"),
    [
        (UP_TO_100, [budget("agent:ops", 5000)], "permits 100.00 EUR in one call"),
        (UP_TO_100, [budget("tenant", 9999)], "gives more than 99.99 EUR"),
        (UP_TO_100, [budget("mandate:a", 5000), budget("mandate:b", 7000)], "gives more than 70.00 EUR"),
        (UP_TO_100, [budget("agent:ops", 50000), budget("tenant", 5000)], "gives more than 50.00 EUR"),
        (UP_TO_100, [budget("tenant", 50000, "USD")], "gives more than 0.00 EUR"),
        ("", [budget("agent:ops", 5000)], "permits any amount in one call"),
        (
            "when { context has amount_minor && !(context.amount_minor >= 9) }",
            [budget("tenant", 1)],
            "permits 0.08 EUR",
        ),
        ("", [], "neither its conditions nor a budget"),
        ("when { context.hour > 6 }", [], "neither its conditions nor a budget"),
        (IN_EURO % "context.amount_minor < 20001", [budget("agent:ops", 5000)], "permits 200.00 EUR"),
        (IN_EURO % "10000 >= context.amount_minor", [budget("agent:ops", 5000)], "permits 100.00 EUR"),
        ("unless { context has amount_minor && context.amount_minor > 10000 }", [budget("tenant", 1)], "100.00 EUR"),
        (
            "when { context has amount_minor && (context.tainted || context.labelled && context.amount_minor < 9) }",
            [budget("tenant", 1)],
            "permits any amount",
        ),
    ],
)
def test_a_permit_for_more_money_than_anything_declared_gives_is_named(
    tmp_path: Path, condition: str, budgets: list[Budget], reported: str
) -> None:
    (problem,) = widths(tmp_path, paying(condition), *budgets)

    assert reported in problem


@pytest.mark.requirement("GV-1")
@pytest.mark.parametrize(
    ("authorize", "budgets"),
    [
        (paying(UP_TO_100), []),
        (paying(UP_TO_100), [budget("agent:ops", 10000)]),
        (paying(UP_TO_100), [budget("agent:ops", 10000), budget("mandate:small", 500)]),
        (paying(UP_TO_100), [budget("agent:desk", 500)]),
        (paying(UP_TO_100), [budget("mandate:a", 500), budget("mandate:b", 10000)]),
        (paying("") + ABOVE_50 % "context has amount_minor && context.amount_minor > 5000", [budget("tenant", 5000)]),
        (
            paying("when { context has amount_minor && context.amount_today_minor + context.amount_minor <= 5000 }"),
            [budget("tenant", 5000)],
        ),
        # What it says of the amount is beyond this reading, so nothing is claimed.
        (paying("when { context has amount_minor && context.amount_minor * 2 < 100000 }"), [budget("tenant", 5000)]),
        (paying(IN_EURO.replace("EUR", "USD") % "context.amount_minor < 9"), [budget("tenant", 5)]),
    ],
)
def test_a_permit_that_something_declared_covers_is_not_named(
    tmp_path: Path, authorize: str, budgets: list[Budget]
) -> None:
    assert widths(tmp_path, authorize, *budgets) == []


@pytest.mark.requirement("GV-1")
@pytest.mark.parametrize(
    ("who", "condition", "reported"),
    [
        ('principal == Agent::"ghost"', UP_TO_100, "the agent `ghost`"),
        ('principal in Group::"ghosts"', UP_TO_100, "the group `ghosts`"),
        (
            'principal in Group::"finance"',
            'when { context.initiator_roles.contains("cfo") && context has amount_minor && context.amount_minor < 9 }',
            "the role `cfo`",
        ),
    ],
)
def test_a_permit_for_an_agent_a_group_or_a_role_that_nobody_is_in_is_named(
    tmp_path: Path, who: str, condition: str, reported: str
) -> None:
    (problem,) = widths(tmp_path, paying(condition, who), roles=frozenset({"treasurer"}))

    assert reported in problem


def test_a_role_that_is_not_needed_in_every_case_or_that_somebody_has_is_not_named(tmp_path: Path) -> None:
    either = 'when { context.initiator_roles.contains("cfo") || context has amount_minor && context.amount_minor < 9 }'
    has = (
        'when { context.initiator_roles.contains("treasurer") && context has amount_minor && context.amount_minor < 9 }'
    )
    without = (
        'when { !context.initiator_roles.contains("cfo") && context has amount_minor && context.amount_minor < 9 }'
    )

    found = [
        widths(tmp_path / str(number), paying(condition), moves={}, roles=frozenset({"treasurer"}))
        for number, condition in enumerate((either, has, without))
    ]

    assert found == [[], [], []]
