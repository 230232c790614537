"""Policy sets: what loads, what refuses to, and what each request comes to."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answerable.core import ApprovalObligation
from answerable.policy import KnownAction, ObligationInvalid, PolicyInvalid, PolicySet, Request
from answerable.policy._tests.conftest import ALLOW, policies, write_policies

EXAMPLE = Path(__file__).parents[4] / "examples" / "support" / "policy"


def request(action: str = "shop.refund", agent: str = "support", target: str = "order:1", **context: object) -> bytes:
    return Request(agent=agent, action=action, target=target, context=context).to_json()


@pytest.mark.requirement("GV-1")
def test_what_no_policy_permits_is_denied(tmp_path: Path) -> None:
    held = policies(tmp_path, '@id("one") permit(principal == Agent::"other", action, resource);')

    evaluation = held.evaluate(request())

    assert (evaluation.verdict, evaluation.rules) == ("deny", ())
    assert evaluation.error is not None
    assert evaluation.error.code == "refused.policy_denied"


@pytest.mark.requirement("GV-1")
def test_one_forbid_outweighs_every_permit(tmp_path: Path) -> None:
    held = policies(tmp_path, ALLOW + '@id("no") forbid(principal, action == Action::"shop.refund", resource);')

    assert held.evaluate(request()).rules == ("no",)
    assert held.evaluate(request("shop.read")).verdict == "permit"


@pytest.mark.requirement("GV-1")
def test_an_obligation_alone_permits_nothing(tmp_path: Path) -> None:
    held = policies(
        tmp_path,
        '@id("one") permit(principal == Agent::"other", action, resource);',
        '@id("ask") @obligation("approve:role=lead") permit(principal, action, resource);',
    )

    evaluation = held.evaluate(request())

    assert (evaluation.verdict, evaluation.rules, evaluation.obligations) == ("deny", (), ())


@pytest.mark.requirement("GV-2")
def test_an_obligation_that_applies_turns_a_permit_into_a_hold(tmp_path: Path) -> None:
    held = policies(
        tmp_path,
        ALLOW,
        '@id("ask") @obligation("approve:role=lead") permit(principal, action, resource) when { context.tainted };',
    )

    assert held.evaluate(request(tainted=False)).verdict == "permit"
    evaluation = held.evaluate(request(tainted=True))
    assert (evaluation.verdict, evaluation.rules) == ("hold", ("allow", "ask"))
    assert evaluation.obligations == (ApprovalObligation(role="lead", not_initiator=False),)


@pytest.mark.requirement("GV-1")
@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_a_policy_that_fails_to_evaluate_denies_even_where_another_permits(tmp_path: Path, effect: str) -> None:
    held = policies(
        tmp_path,
        ALLOW + f'@id("sum") {effect}(principal, action, resource) when {{ context.prior_on_target + 1 > 9 }};',
    )

    evaluation = held.evaluate(request(prior_on_target=2**63 - 1))

    assert evaluation.verdict == "deny"
    assert evaluation.error is not None
    assert evaluation.error.code == "refused.policy_failed"
    assert held.evaluate(request()).verdict == "deny"


def test_two_approvals_by_one_role_merge_into_the_stricter(tmp_path: Path) -> None:
    held = policies(
        tmp_path,
        ALLOW,
        '@id("a") @obligation("approve:role=lead,timeout=2h") permit(principal, action, resource);'
        '@id("b") @obligation("approve:role=lead,not=initiator,timeout=3d") permit(principal, action, resource);',
    )

    (obligation,) = held.evaluate(request()).obligations

    assert (obligation.not_initiator, obligation.timeout.total_seconds()) == (True, 7200)


@pytest.mark.requirement("GV-1")
def test_approvals_by_two_roles_at_once_are_denied_rather_than_halved(tmp_path: Path) -> None:
    held = policies(
        tmp_path,
        ALLOW,
        '@id("a") @obligation("approve:role=lead") permit(principal, action, resource);'
        '@id("b") @obligation("approve:role=finance") permit(principal, action, resource);',
    )

    assert held.evaluate(request()).verdict == "deny"


@pytest.mark.parametrize(
    ("authorize", "obligations", "says"),
    [
        ("permit(principal, action, resource);", "", "no `@id`"),
        (ALLOW + ALLOW, "", "`allow` stands twice"),
        (ALLOW, '@id("allow") @obligation("approve:role=lead") permit(principal, action, resource);', "stands twice"),
        ("permit(principal, action", "", "unexpected end of input"),
        ('@id("t") permit(principal == ?principal, action, resource);', "", "templates are not supported"),
        (ALLOW, '@id("f") @obligation("approve:role=lead") forbid(principal, action, resource);', "is a `forbid`"),
        (ALLOW, '@id("o") permit(principal, action, resource);', "has no `@obligation`"),
        ('@id("o") @obligation("approve:role=a") permit(principal, action, resource);', "", "move it to `obligations`"),
        ('@id("x") permit(principal, action, resource) when { context.ammount > 1 };', "", "ammount"),
        ('@id("x") permit(principal, action, resource) when { context.labels > 1 };', "", "`x`"),
        ('@id("x") permit(principal, action, resource) when { context.amount_minor > 1 };', "", "optional attribute"),
        ('@id("x") permit(principal == User::"u", action, resource);', "", "User"),
        ('@id("a b") permit(principal, action, resource);', "", "letters, digits"),
        ('@id("x") forbid(principal, action, resource) when { context has ammount };', "", "no `context.ammount`"),
        (
            '@id("x") forbid(principal, action, resource) when { context has attributes.q };',
            "",
            "`context.attributes.q`",
        ),
        (
            '@id("x") forbid(principal, action == Action::"a.b", resource) when { context has attributes.role };',
            "",
            "`context.attributes.role`",
        ),
        ("", "", "no `authorize` policy"),
    ],
)
def test_a_set_that_is_not_sound_refuses_to_load(tmp_path: Path, authorize: str, obligations: str, says: str) -> None:
    write_policies(tmp_path, authorize, obligations)

    with pytest.raises(PolicyInvalid) as caught:
        PolicySet.load(tmp_path)

    assert says in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "approve",
        "approve:role=lead,n=0",
        "approve:role=lead,edit=yes",
        "approve:role=lead,on_timeout=escalate:Boss!",
        "approve:role=lead,not=owner",
        "approve:role=lead,timeout=soon",
        "approve:role=lead,role=boss",
        "approve:role=lead,quick",
        "redact:pii",
        "dance",
        "",
    ],
)
def test_an_obligation_that_nobody_would_enforce_refuses_to_load(tmp_path: Path, text: str) -> None:
    write_policies(tmp_path, ALLOW, f'@id("o") @obligation("{text}") permit(principal, action, resource);')

    with pytest.raises(ObligationInvalid):
        PolicySet.load(tmp_path)


@pytest.mark.parametrize("stray", ["limits.cedar", "authorize/limits.ceder", "obligations/team/limits.cedar"])
def test_a_policy_file_that_would_be_passed_over_is_refused(tmp_path: Path, stray: str) -> None:
    write_policies(tmp_path)
    (tmp_path / stray).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / stray).write_text('@id("no") forbid(principal, action, resource);')

    with pytest.raises(PolicyInvalid):
        PolicySet.load(tmp_path)


def test_a_policy_that_names_an_unknown_tool_refuses_to_load(tmp_path: Path) -> None:
    write_policies(tmp_path, '@id("x") permit(principal, action == Action::"shop.refnd", resource);')

    with pytest.raises(PolicyInvalid) as caught:
        PolicySet.load(tmp_path, actions=[KnownAction(name="shop.refund")])

    assert "shop.refnd" in caught.value.message


def test_attributes_are_typed_by_the_tools_that_declare_them(tmp_path: Path) -> None:
    text = '@id("x") permit(principal, action == Action::"shop.refund", resource) when { %s };'
    reads = "context has attributes.express && context.attributes.express"
    known = [KnownAction.declared("shop.refund", attributes={"express": True})]
    write_policies(tmp_path, text % reads)

    held = PolicySet.load(tmp_path, actions=known)

    assert held.evaluate(request(attributes={"express": True})).verdict == "permit"
    assert held.evaluate(request(attributes={})).verdict == "deny"
    write_policies(tmp_path, text % reads.replace("express", "expres"))
    with pytest.raises(PolicyInvalid):
        PolicySet.load(tmp_path, actions=known)


def test_a_schema_of_ones_own_types_the_attributes_of_tools_that_declare_none(tmp_path: Path) -> None:
    reads = '@id("x") permit(principal, action, resource) when { context has attributes.region };'

    held = policies(tmp_path, reads, schema="type Attributes = { region?: String };")

    assert held.evaluate(request(attributes={"region": "eu"})).verdict == "permit"
    for wrong in ("type Attributes = { region: Strin };", "type Attributes = { area?: String };"):
        write_policies(tmp_path, reads, schema=wrong)
        with pytest.raises(PolicyInvalid):
            PolicySet.load(tmp_path)


def test_groups_cover_a_kind_a_server_and_a_provider(tmp_path: Path) -> None:
    held = policies(
        tmp_path,
        '@id("m") permit(principal, action in Action::"model:openai:*", resource);'
        '@id("s") permit(principal, action in Action::"shop.*", resource);'
        '@id("q") permit(principal, action in Action::"decision", resource);',
    )

    verdicts = {
        action: held.evaluate(request(action)).verdict
        for action in ("model:openai:gpt-5-mini", "model:other:x", "shop.refund", "shopping.refund", "approval", "shop")
    }

    assert verdicts == {
        "model:openai:gpt-5-mini": "permit",
        "model:other:x": "deny",
        "shop.refund": "permit",
        "shopping.refund": "deny",
        "approval": "permit",
        "shop": "deny",
    }


@pytest.mark.requirement("EV-4", "EV-6")
def test_a_snapshot_decides_as_the_set_it_was_taken_from_and_bears_its_digest() -> None:
    held = PolicySet.load(EXAMPLE)
    asked = request(amount_minor=20001, currency="EUR", target_named=True, prior_on_target=0)

    again = PolicySet.from_snapshot(held.snapshot())

    assert again.digest == held.digest
    assert again.evaluate(asked) == held.evaluate(asked)


def test_layout_and_comments_do_not_change_the_digest_and_meaning_does(tmp_path: Path) -> None:
    plain = policies(tmp_path / "a").digest
    spaced = policies(
        tmp_path / "b", '// all of it\n@id("allow")\npermit (\n  principal, action, resource\n);\n'
    ).digest
    other = policies(tmp_path / "c", ALLOW.replace("permit", "forbid")).digest

    assert plain == spaced
    assert plain != other


@pytest.mark.parametrize("snapshot", [b"", b"[]", b"{}", b'{"format":"answerable-policy-9"}', b'{"format":1}'])
def test_what_is_no_snapshot_is_refused(snapshot: bytes) -> None:
    with pytest.raises(PolicyInvalid):
        PolicySet.from_snapshot(snapshot)


_ACTIONS = ["shop.refund", "shop.read", "desk.note", "model:openai:a", "approval", "note"]
_SCOPES = [
    "action",
    'action == Action::"shop.refund"',
    'action in [Action::"shop.read", Action::"model"]',
    'action in Action::"shop.*"',
    'action in [Action::"model:openai:*", Action::"decision"]',
    'action == Action::"note"',
]
_CONDITIONS = [
    "",
    "when { context.tainted }",
    "unless { context.tainted }",
    "when { context has amount_minor && context.amount_minor + 9223372036854775000 > 10 }",
    'when { action in Action::"tool" && context.labels.contains("untrusted:x") }',
    'when { resource == Resource::"order:1" || context.prior_on_target > 0 }',
    'when { context has attributes && context.attributes has region && context.attributes.region == "eu" }',
    "when { context has attributes }",
    'unless { {"Value": context.target_named} == {"Value": true} }',
]
_POLICY = st.tuples(st.sampled_from(["permit", "forbid"]), st.sampled_from(_SCOPES), st.sampled_from(_CONDITIONS))
_CONTEXT = st.fixed_dictionaries(
    {
        "tainted": st.booleans(),
        "target_named": st.booleans(),
        "labels": st.lists(st.sampled_from(["untrusted:x", "y"]), unique=True),
        "prior_on_target": st.integers(0, 2),
    },
    optional={
        "amount_minor": st.sampled_from([1, 900]),
        "attributes": st.fixed_dictionaries({}, optional={"region": st.sampled_from(["eu", "us"])}),
    },
)


@given(
    authorize=st.lists(_POLICY, min_size=1, max_size=8),
    obligations=st.lists(
        st.tuples(st.just("permit"), st.sampled_from(_SCOPES), st.sampled_from(_CONDITIONS)), max_size=3
    ),
    action=st.sampled_from(_ACTIONS),
    context=_CONTEXT,
)
def test_a_partition_decides_as_the_whole_set_does(
    tmp_path_factory: pytest.TempPathFactory,
    authorize: list[tuple[str, str, str]],
    obligations: list[tuple[str, str, str]],
    action: str,
    context: dict[str, Any],
) -> None:
    held = policies(
        tmp_path_factory.mktemp("policy"),
        "\n".join(f'@id("a{n}") {e}(principal, {s}, resource) {c};' for n, (e, s, c) in enumerate(authorize)),
        "\n".join(
            f'@id("o{n}") @obligation("approve:role=lead") {e}(principal, {s}, resource) {c};'
            for n, (e, s, c) in enumerate(obligations)
        ),
        schema="type Attributes = { region?: String };",
    )
    reads = held.partition(action).reads
    heads = {read.partition(".")[0].rstrip("?") for read in reads}
    trimmed = {name: value for name, value in context.items() if name in heads}

    whole = held.whole(action).evaluate(request(action, **context))
    part = held.partition(action).evaluate(request(action, **trimmed))

    assert (part.verdict, part.rules, part.obligations) == (whole.verdict, whole.rules, whole.obligations)


def test_a_question_may_be_permitted_by_the_role_it_asks(tmp_path: Path) -> None:
    held = policies(
        tmp_path,
        '@id("x") permit(principal, action == Action::"approval", resource) '
        'when { context has attributes.role && context.attributes.role == "ops" };',
    )

    assert held.evaluate(request("approval", attributes={"role": "ops"})).verdict == "permit"
    assert held.evaluate(request("approval", attributes={"role": "cfo"})).verdict == "deny"


@pytest.mark.requirement("GV-1")
def test_what_a_group_may_do_its_agents_may_and_the_record_says_so(tmp_path: Path) -> None:
    held = policies(tmp_path, '@id("g") permit(principal in Group::"finance", action, resource);')
    asked = Request(agent="ops", action="bank.pay", target="", context={}, groups=("finance",)).to_json()

    verdicts = [
        held.evaluate(asked).verdict,
        held.evaluate(Request(agent="ops", action="bank.pay", target="", context={}).to_json()).verdict,
        PolicySet.from_snapshot(held.snapshot()).evaluate(asked).verdict,
    ]

    assert verdicts == ["permit", "deny", "permit"]
    assert held.partition("bank.pay").groups == {"finance"}
