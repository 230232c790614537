"""From an action to a decision: what is asked, what is remembered, and that any doubt is a denial."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from answerable.core import Action, Decision, Description, Effect, TenantId
from answerable.ledger import Prepared
from answerable.policy import CedarAuthorizer, DecisionCache, PolicySet
from answerable.policy._tests.conftest import ALLOW, TENANT, StillClock, an_action, policies


def no_rows(statement: Prepared, /, **params: Any) -> Sequence[Sequence[Any]]:
    return ()


def decide(held: PolicySet, action: Action, **more: Any) -> Decision:
    more.setdefault("rows", no_rows)
    authorizer = CedarAuthorizer(held, more.pop("rows"), clock=StillClock(), **more)
    return asyncio.run(authorizer.authorize(action))


@pytest.mark.requirement("EV-4")
def test_the_request_on_record_is_what_was_evaluated_and_holds_only_what_policies_read(tmp_path: Path) -> None:
    held = policies(tmp_path, '@id("x") permit(principal, action, resource) when { context.target_named };')

    decision = decide(held, an_action())

    assert orjson.loads(decision.request) == {
        "principal": {"type": "Agent", "id": "support"},
        "action": {"type": "Action", "id": "shop.refund"},
        "resource": {"type": "Resource", "id": "order:1001"},
        "context": {"target_named": True},
    }
    assert (decision.verdict, decision.rules, decision.policy) == ("permit", ("x",), held.digest)
    assert held.evaluate(decision.request).verdict == "permit"


@pytest.mark.requirement("GV-4")
def test_a_target_that_the_run_did_not_name_and_an_untrusted_label_are_told_to_policy(tmp_path: Path) -> None:
    held = policies(
        tmp_path,
        ALLOW + '@id("no") forbid(principal, action, resource) when { context.tainted && !context.target_named };',
    )

    tainted = decide(held, an_action(labels=("untrusted:shop.find_order",), resources=("order:7",)))
    named = decide(held, an_action(labels=("untrusted:shop.find_order",)))

    assert (tainted.verdict, named.verdict) == ("deny", "permit")


@pytest.mark.requirement("GV-1")
def test_facts_that_cannot_be_read_are_a_denial(tmp_path: Path) -> None:
    def broken(statement: Prepared, /, **params: Any) -> Sequence[Sequence[Any]]:
        raise OSError("the disk says order 1001 of Alex is gone")

    held = policies(
        tmp_path, ALLOW + '@id("x") forbid(principal, action, resource) when { context.prior_on_target > 0 };'
    )

    decision = decide(held, an_action(), rows=broken)

    assert decision.verdict == "deny"
    assert decision.error is not None
    assert decision.error.code == "refused.policy_failed"
    assert "Alex" not in decision.error.message


@pytest.mark.requirement("GV-1")
def test_a_context_beyond_its_bound_is_a_denial(tmp_path: Path) -> None:
    held = policies(tmp_path, '@id("x") permit(principal, action, resource) unless { context.labels.contains("z") };')

    decision = decide(held, an_action(labels=tuple(f"untrusted:tool-{n:04}" for n in range(600))))

    assert decision.verdict == "deny"


@pytest.mark.requirement("GV-1")
def test_an_attribute_of_another_type_than_policy_expects_is_a_denial(tmp_path: Path) -> None:
    held = policies(
        tmp_path,
        ALLOW + '@id("x") forbid(principal, action, resource) when '
        "{ context has attributes.size && context.attributes.size > 3 };",
        schema="type Attributes = { size?: Long };",
    )

    assert decide(held, an_action(described={"attributes": {"size": 2}})).verdict == "permit"
    assert decide(held, an_action(described={"attributes": {"size": 4}})).verdict == "deny"
    assert decide(held, an_action(described={"attributes": {"size": "large"}})).verdict == "deny"


@pytest.mark.requirement("GV-1")
@pytest.mark.parametrize("name", ["approval", "model:openai:gpt", "model", "shop.*"])
def test_a_tool_whose_name_would_pass_for_something_else_is_denied(tmp_path: Path, name: str) -> None:
    assert decide(policies(tmp_path), an_action(name=name)).verdict == "deny"


def test_a_repeated_request_is_answered_from_the_cache_and_a_changed_one_is_not(tmp_path: Path) -> None:
    held = policies(
        tmp_path, '@id("x") permit(principal, action, resource) when { context.environment != "production" };'
    )
    cache = DecisionCache()

    first = decide(held, an_action(number=1), cache=cache)
    second = decide(held, an_action(number=2), cache=cache)
    other = decide(held, an_action(number=3, environment="production"), cache=cache)

    assert (cache.hits, cache.misses) == (1, 2)
    assert (first.verdict, second.verdict, other.verdict) == ("permit", "permit", "deny")


def test_a_stop_or_another_policy_makes_the_cache_forget(tmp_path: Path) -> None:
    cache = DecisionCache()
    permits, forbids = policies(tmp_path / "a"), policies(tmp_path / "b", ALLOW.replace("permit", "forbid"))

    decide(permits, an_action(), cache=cache)
    decide(permits, an_action(), cache=cache, generation=lambda: 1)
    denied = decide(forbids, an_action(), cache=cache)

    assert (cache.hits, denied.verdict) == (0, "deny")


def test_the_cache_keeps_no_more_than_its_bound(tmp_path: Path) -> None:
    cache = DecisionCache(most=2)
    held = policies(tmp_path)

    for target in ("order:1", "order:2", "order:3", "order:3", "order:1"):
        decide(held, an_action(described={"target": target}), cache=cache)

    assert (cache.hits, cache.misses) == (1, 4)


def test_a_tenant_with_policies_of_its_own_is_decided_by_them(tmp_path: Path) -> None:
    authorizer = CedarAuthorizer(policies(tmp_path / "a"), no_rows, cache=DecisionCache())
    authorizer.use(policies(tmp_path / "b", ALLOW.replace("permit", "forbid")), tenant=TenantId("strict"))

    ours = asyncio.run(authorizer.authorize(an_action()))
    theirs = asyncio.run(authorizer.authorize(an_action(tenant=TenantId("strict"))))

    assert (ours.verdict, theirs.verdict) == ("permit", "deny")


def question(**arguments: object) -> Action:
    return an_action(
        kind="decision",
        name="approval",
        arguments=orjson.dumps(arguments),
        described={"effect": Effect.READ, "target": "", "amount": None},
    )


@pytest.mark.requirement("GV-7")
def test_a_question_to_a_person_waits_for_the_role_it_names(tmp_path: Path) -> None:
    decision = decide(policies(tmp_path), question(question="ship it?", role="ops", timeout="2h"))

    (obligation,) = decision.obligations
    assert (decision.verdict, obligation.role, obligation.timeout.total_seconds()) == ("hold", "ops", 7200)


@pytest.mark.parametrize("arguments", [{}, {"role": "a,n=0"}, {"role": "ops", "timeout": "soon"}, {"role": 7}])
def test_a_question_that_nobody_could_answer_is_denied(tmp_path: Path, arguments: dict[str, object]) -> None:
    assert decide(policies(tmp_path), question(**arguments)).verdict == "deny"


def test_a_question_that_policy_does_not_permit_is_denied(tmp_path: Path) -> None:
    held = policies(tmp_path, '@id("x") permit(principal, action in Action::"tool", resource);')

    assert decide(held, question(role="ops")).verdict == "deny"
    assert decide(held, an_action()).verdict == "permit"


def test_an_action_without_target_or_amount_asks_about_no_resource(tmp_path: Path) -> None:
    bare = an_action(described={"target": "", "amount": None})
    assert bare.described == Description(effect=Effect.IRREVERSIBLE)
    assert bare.tenant == TENANT

    asked = orjson.loads(decide(policies(tmp_path), bare).request)

    assert asked["resource"] == {"type": "Resource", "id": "none"}


@pytest.mark.requirement("GV-1")
def test_only_groups_that_some_policy_names_are_in_the_request(tmp_path: Path) -> None:
    held = policies(tmp_path, '@id("g") permit(principal in Group::"finance", action, resource);')
    groups = {"support": ("finance", "night-shift")}

    member = decide(held, an_action(), groups=groups)
    stranger = decide(held, an_action(agent="ops"), groups=groups)

    assert (member.verdict, stranger.verdict) == ("permit", "deny")
    assert orjson.loads(member.request)["principal"] == {"type": "Agent", "id": "support", "groups": ["finance"]}
    assert orjson.loads(stranger.request)["principal"] == {"type": "Agent", "id": "ops"}
