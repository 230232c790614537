"""From any artefact back to the specification."""

import pytest

from answerable.core import TenantId
from answerable.standing import ArtefactUnknown, Specs, trail_lines, why
from answerable.standing._markdown import parse_document
from answerable.standing._specs import Spec
from answerable.standing._tests.record_of import LEAD, OPENER, HandMade, Writer
from answerable.standing._tests.test_demo_clauses import EXAMPLE

TEXT = (EXAMPLE / "refunds.md").read_text(encoding="utf-8")


def the_specs(commit: str = "3f2a1b0c9d8e7f60") -> Specs:
    document = parse_document(TEXT, file="refunds.md")
    return Specs((Spec(document=document, path="refunds.md", text=TEXT, digest="sha256:0", commit=commit, blob="b"),))


@pytest.fixture
def record() -> HandMade:
    """A model is heard, a large refund is held, approved and done; another is refused."""
    record = HandMade()
    run = Writer(record)
    run.model()
    look = run.action("shop.find_order", target="order:1001", effect="read")
    run.write("outcome", step="r", action=look, effect={"status": "ok", "observedBy": "gate"})
    run.approved_refund("s1", name="Dana")
    other = run.action("shop.refund", target="order:1012", minor=99_000)
    authority = {"decision": "deny", "rules": ["not-named"], "policy": "sha256:beef", "reason": "refused.policy"}
    run.write(
        "denied", step="s2", action=other, authority=authority, effect={"status": "refused", "observedBy": "gate"}
    )
    run.close()
    return record


def receipt_of(record: HandMade, phase: str) -> str:
    return next(str(r.predicate["id"]) for r in record.written if r.phase == phase)


@pytest.mark.requirement("EV-4")
def test_an_order_leads_to_action_decision_person_clause_and_model(record: HandMade) -> None:
    trail = why(record, "order:1001", specs=the_specs())

    (action,) = trail.actions
    assert (trail.found_as, trail.reads) == ("artefact", (("shop.find_order", 1),))
    assert (action.name, action.amount, action.status, action.observed_by) == (
        "shop.refund",
        "250.00 EUR",
        "ok",
        "gate",
    )
    assert [decision.decision for decision in action.decisions] == ["hold", "permit"]
    assert action.decisions[1].rules == ("refund-small",)
    assert action.decisions[1].policy == "sha256:feedfacefeedface"
    (approval,) = action.approvals
    assert (approval.decision, approval.role, approval.is_taken) == ("approve", "support-lead", True)
    assert str(approval.person) == f"Dana ({LEAD})"
    assert action.initiator.party == OPENER
    assert [(c.clause, c.verdict) for c in action.clauses] == [
        ("REFUND-1", "satisfied"),
        ("REFUND-2", "satisfied"),
        ("REFUND-3", "satisfied"),
    ]
    assert "refunds@3f2a1b0c9d8e" in action.clauses[0].version
    assert action.model is not None
    assert (action.model.provider, action.model.is_own) == ("scripted", False)


@pytest.mark.requirement("EV-4")
@pytest.mark.parametrize("phase", ["intent", "outcome", "held", "approval"])
def test_every_receipt_of_a_step_leads_to_the_same_action(record: HandMade, phase: str) -> None:
    ids = [str(r.predicate["id"]) for r in record.written if r.phase == phase]

    trail = why(record, ids[-1], specs=the_specs())

    assert trail.found_as == "receipt"
    assert [action.name for action in trail.actions] == ["shop.refund"]


def test_a_refusal_leads_to_the_rule_that_refused(record: HandMade) -> None:
    (action,) = why(record, "order:1012").actions

    assert (action.status, action.decisions[0].rules) == ("refused", ("not-named",))


def test_a_run_leads_to_all_that_it_did(record: HandMade) -> None:
    trail = why(record, "run_1")

    assert [action.target for action in trail.actions] == ["order:1001", "order:1012"]
    assert trail.reads == (("scripted:support", 1), ("shop.find_order", 1))


@pytest.mark.parametrize("asked", ["appr_s1", "sha256:feedfacefeedface", "REFUND-2", "not-named"])
def test_approvals_policies_clauses_and_rules_lead_to_their_actions(record: HandMade, asked: str) -> None:
    assert why(record, asked).actions


def test_a_receipt_without_an_action_is_said_for_what_it_is(record: HandMade) -> None:
    trail = why(record, receipt_of(record, "run.close"))

    assert trail.actions == ()
    assert trail.said.startswith("run.close of run_1")


def test_names_stay_sealed_where_that_is_asked_for(record: HandMade) -> None:
    trail = why(record, "order:1001", is_disclosing=False)

    assert "Dana" not in str(trail)
    assert LEAD in str(trail)


def test_an_action_whose_outcome_was_lost_reads_unknown_and_a_written_off_one_does_not() -> None:
    record = HandMade()
    run = Writer(record)
    lost = run.intent("a", run.action("shop.refund", target="order:1", minor=1))
    run.intent("b", run.action("shop.refund", target="order:2", minor=1))
    run.write("control", step="a", control={"do": "write-off", "intent": lost})

    statuses = [action.status for action in why(record, "run_1").actions]

    assert statuses == ["written off", "unknown"]


def test_a_model_that_was_heard_later_or_in_another_branch_is_not_named() -> None:
    record = HandMade()
    run = Writer(record)
    run.write(
        "outcome",
        step="b",
        branch="other",
        action={"kind": "model", "name": "scripted:x", "effect": "read"},
        basis={"model": {"provider": "scripted", "id": "x"}},
        effect={"status": "ok"},
    )
    run.refund("a", target="order:1")
    run.model()

    (action,) = why(record, "order:1").actions

    assert action.model is None


def test_a_held_action_that_nobody_answered_is_waiting() -> None:
    record = HandMade()
    run = Writer(record)
    run.held("a", run.action("shop.refund", target="order:1", minor=25_000))

    (action,) = why(record, "order:1").actions

    assert action.status == "held"
    assert [approval.decision for approval in action.approvals] == ["waiting"]


@pytest.mark.requirement("EV-4")
def test_clauses_are_read_in_the_version_recorded_with_the_run() -> None:
    record = HandMade()
    then = the_specs()
    run = Writer(record, specs={"refunds": record.store(then.snapshot().replace(b'"sha256:0"', _digest()))})
    run.refund("a")

    (action,) = why(record, "order:1001", specs=the_specs(commit="ffffffffffff")).actions

    assert {clause.version for clause in action.clauses} == {"refunds@3f2a1b0c9d8e"}


def _digest() -> bytes:
    from answerable.core import sha256_name

    return b'"' + sha256_name(TEXT.encode()).encode() + b'"'


@pytest.mark.parametrize(
    ("asked", "near"), [("order:1010", "`order:1001`"), ("zebra", "nothing comes near"), ("run_11", "`run_1`")]
)
def test_what_is_not_on_the_record_is_said_with_what_comes_near(record: HandMade, asked: str, near: str) -> None:
    with pytest.raises(ArtefactUnknown) as unknown:
        why(record, asked)

    assert near in unknown.value.message


def test_a_receipt_may_be_found_by_how_its_id_begins(record: HandMade) -> None:
    intent = receipt_of(record, "intent")

    with pytest.raises(ArtefactUnknown) as unknown:
        why(record, intent[:14])

    assert intent in unknown.value.near


def test_another_tenants_record_is_not_searched(record: HandMade) -> None:
    with pytest.raises(ArtefactUnknown):
        why(record, "order:1001", tenant=TenantId("other"))


@pytest.mark.requirement("EV-4")
def test_the_trail_as_text_names_every_receipt_it_rests_on(record: HandMade) -> None:
    trail = why(record, "order:1001", specs=the_specs())

    text = "\n".join(trail_lines(trail))

    for phase in ("run.open", "held", "approval", "intent", "outcome"):
        assert [r for r in record.written if r.phase == phase and r.predicate["id"] in text]
    for said in (
        "└─ also read or asked: shop.find_order",
        "shop.refund (irreversible) 250.00 EUR on order:1001 — done",
        "approve by Dana (party_00000000000000bb) as support-lead",
        "REFUND-1 A refund above 200 EUR is approved by a support lead [refunds@3f2a1b0c9d8e",
        "model      scripted:support, heard last before it",
    ):
        assert said in text


def test_the_trail_as_json_has_what_the_text_has(record: HandMade) -> None:
    said = why(record, "order:1001", specs=the_specs()).to_json()

    assert said["foundAs"] == "artefact"
    assert said["actions"][0]["approvals"][0]["person"] == {"party": LEAD, "name": "Dana"}
    assert said["actions"][0]["observedBy"] == "gate"
    assert said["reads"] == {"shop.find_order": 1}
