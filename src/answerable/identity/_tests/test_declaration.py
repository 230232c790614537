"""In production nobody acts undeclared."""

from typing import Any

import pytest

from answerable.core import AgentId
from answerable.identity import AgentDeclaration, AgentUndeclared, check_may_start

WHOLE: dict[str, Any] = {
    "owner": "org:shop",
    "is_bounded": True,
    "stop": "ops-on-call",
    "escalation": "support-lead",
}


def declared(environment: str = "production", **said: Any) -> AgentDeclaration:
    return AgentDeclaration(id=AgentId("support"), environment=environment, **said)


@pytest.mark.requirement("GV-9")
def test_a_fully_declared_agent_may_start_in_production() -> None:
    check_may_start(declared(**WHOLE))


@pytest.mark.requirement("GV-9")
@pytest.mark.parametrize(
    ("member", "blank", "named"),
    [
        ("owner", " ", "liable owner"),
        ("is_bounded", False, "bounds"),
        ("stop", "", "stop"),
        ("escalation", "", "escalation path"),
    ],
)
def test_an_agent_that_lacks_one_of_them_does_not_start(member: str, blank: object, named: str) -> None:
    with pytest.raises(AgentUndeclared) as caught:
        check_may_start(declared(**{**WHOLE, member: blank}))

    assert caught.value.missing == named


@pytest.mark.requirement("GV-9")
def test_all_that_is_missing_is_named_at_once_however_production_is_spelled() -> None:
    with pytest.raises(AgentUndeclared) as caught:
        check_may_start(declared("Production "))

    assert caught.value.missing == "liable owner, no bounds, no stop, no escalation path"


def test_elsewhere_an_agent_may_start_undeclared() -> None:
    check_may_start(declared("development"))
