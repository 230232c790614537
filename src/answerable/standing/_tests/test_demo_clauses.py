"""The three clauses of the support example: each holds when it should, and each planted violation is named."""

from pathlib import Path
from typing import Any

import pytest

from answerable.standing import ClauseVerdict, Specs, check_run, load_specs
from answerable.standing._tests.record_of import LEAD, OPENER, HandMade, Writer

EXAMPLE = Path(__file__).parents[4] / "examples" / "support" / ".answerable" / "specs"


@pytest.fixture(scope="module")
def specs() -> Specs:
    return load_specs(EXAMPLE)


def judged(specs: Specs, record: HandMade, clause: str, run: str = "") -> ClauseVerdict:
    receipts = [r for r in record.written if not run or r.predicate["run"] == run]
    return next(v for v in check_run(specs, receipts, record=record.written) if v.clause == clause)


@pytest.mark.requirement("EV-5")
def test_an_ordinary_run_satisfies_every_clause(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record)
    approval, intent = run.approved_refund("s1")
    run.close()

    verdicts = check_run(specs, record.written, record=record.written)

    assert [(v.clause, v.verdict) for v in verdicts] == [
        ("REFUND-1", "satisfied"),
        ("REFUND-2", "satisfied"),
        ("REFUND-3", "satisfied"),
    ]
    assert verdicts[0].shown_by == (intent, approval)


@pytest.mark.requirement("EV-5")
def test_a_run_without_refunds_is_none_of_the_clauses_business(specs: Specs) -> None:
    record = HandMade()
    Writer(record).close()

    assert {v.verdict for v in check_run(specs, record.written, record=record.written)} == {"not applicable"}


def test_runs_of_other_agents_are_not_judged(specs: Specs) -> None:
    record = HandMade()
    Writer(record, agent="billing").refund("s1", minor=90_000)

    verdict = judged(specs, record, "REFUND-1")

    assert (verdict.verdict, verdict.runs) == ("not applicable", ())


@pytest.mark.requirement("EV-5")
def test_a_large_refund_without_approval_violates_and_is_named(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record)
    run.refund("s1", minor=20_000)
    intent = run.refund("s2", minor=20_001)
    run.close()

    verdict = judged(specs, record, "REFUND-1")

    assert verdict.verdict == "violated"
    assert verdict.shown_by == (intent,)
    assert "shop.refund of 200.01 EUR on order:1001" in verdict.reason


@pytest.mark.requirement("EV-5")
@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ({"by": OPENER}, "given by the one who asked for the run"),
        ({"role": "intern"}, "given in the role `intern`"),
        ({"decision": "reject"}, "was not granted"),
        ({"decision": "timeout", "by": ""}, "was not granted"),
        ({"by": ""}, "names nobody"),
    ],
)
def test_an_approval_that_is_not_one_violates(specs: Specs, planted: dict[str, Any], said: str) -> None:
    record = HandMade()
    run = Writer(record)
    approval, intent = run.approved_refund("s1", **planted)
    run.close()

    verdict = judged(specs, record, "REFUND-1")

    assert verdict.verdict == "violated"
    assert verdict.shown_by == (intent, approval)
    assert said in verdict.reason


def test_an_approval_of_a_smaller_refund_does_not_cover_a_larger_one(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record)
    smaller = run.action("shop.refund", target="order:1001", minor=21_000)
    approval = run.approval(run.held("s1", smaller), smaller)
    run.refund("s1", minor=99_000, approvals=[approval])
    run.close()

    verdict = judged(specs, record, "REFUND-1")

    assert verdict.verdict == "violated"
    assert "is for another action" in verdict.reason


def test_an_approval_after_the_intent_does_not_count(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record)
    action = run.action("shop.refund", target="order:1001", minor=25_000)
    held = run.held("s1", action)
    intent = run.intent("s1", action, approvals=[run.id_after_next()])
    approval = run.approval(held, action)
    run.close()

    verdict = judged(specs, record, "REFUND-1")

    assert verdict.verdict == "violated"
    assert verdict.shown_by == (intent, approval)
    assert "came after the intent" in verdict.reason


def test_an_approval_that_is_nowhere_on_the_record_does_not_count(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record)
    run.refund("s1", minor=25_000, approvals=["rcpt_made_up"])
    run.close()

    assert judged(specs, record, "REFUND-1").verdict == "violated"


def test_an_approval_that_is_missing_from_the_receipts_at_hand_leaves_it_undetermined(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record)
    approval, _ = run.approved_refund("s1")
    run.close()

    verdict = next(iter(check_run(specs, record.without(approval), record=record.written)))

    assert verdict.verdict == "undetermined"
    assert "receipts of the run are missing" in verdict.findings[0].said


def test_a_violation_outweighs_what_cannot_be_told(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record)
    action = run.action("shop.refund", target="order:1001", minor=90_000, currency="USD")
    run.intent("s1", action)
    intent = run.refund("s2", minor=90_000)

    verdict = judged(specs, record, "REFUND-1")

    assert (verdict.verdict, verdict.shown_by) == ("violated", (intent,))


def test_an_approval_lying_around_that_the_intent_did_not_take_lends_nothing(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record)
    action = run.action("shop.refund", target="order:1001", minor=25_000)
    run.approval(run.held("s1", action), action)
    run.refund("s1", minor=25_000)
    run.close()

    assert judged(specs, record, "REFUND-1").verdict == "violated"


def test_with_nobody_named_as_initiator_it_cannot_be_told_whether_someone_else_approved(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record, initiator="")
    run.approved_refund("s1", by=LEAD)
    run.close()

    assert judged(specs, record, "REFUND-1").verdict == "undetermined"


def test_people_named_in_different_ways_cannot_be_told_apart(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record, initiator="person:dana")
    run.approved_refund("s1", by=LEAD)
    run.close()

    verdict = judged(specs, record, "REFUND-1")

    assert verdict.verdict == "undetermined"
    assert "may be the same person" in verdict.reason


def test_an_amount_in_another_currency_cannot_be_compared(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record)
    action = run.action("shop.refund", target="order:1001", minor=90_000, currency="USD")
    run.intent("s1", action)
    run.close()

    verdict = judged(specs, record, "REFUND-1")

    assert verdict.verdict == "undetermined"
    assert "900.00 USD cannot be compared with 200.00 EUR" in verdict.reason


@pytest.mark.requirement("EV-5")
def test_a_second_refund_of_an_order_by_another_run_violates_there_and_not_in_the_first(specs: Specs) -> None:
    record = HandMade()
    Writer(record, "run_1").refund("s1")
    Writer(record, "run_2").refund("s2")

    first, second = (judged(specs, record, "REFUND-2", run) for run in ("run_1", "run_2"))

    assert first.verdict == "satisfied"
    assert second.verdict == "violated"
    outcomes = [r.predicate["id"] for r in record.written if r.phase == "outcome"]
    assert second.shown_by == (outcomes[1], outcomes[0])


def test_a_refund_that_failed_does_not_count_as_one(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record)
    action = run.action("shop.refund", target="order:1001", minor=5000)
    run.outcome("s1", run.intent("s1", action), action, status="failed")
    run.refund("s2")

    assert judged(specs, record, "REFUND-2").verdict == "satisfied"


@pytest.mark.requirement("EV-5")
def test_a_refund_whose_outcome_was_lost_leaves_the_second_one_undetermined(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record)
    lost = run.intent("s1", run.action("shop.refund", target="order:1001", minor=5000))
    run.refund("s2")

    verdict = judged(specs, record, "REFUND-2")

    assert verdict.verdict == "undetermined"
    assert lost in verdict.shown_by
    assert "it may have happened" in verdict.reason


def test_a_lost_refund_counts_beside_one_that_another_run_made_since(specs: Specs) -> None:
    record = HandMade()
    first = Writer(record, "run_1")
    first.intent("s1", first.action("shop.refund", target="order:1001", minor=5000))
    Writer(record, "run_2").refund("s1")

    assert judged(specs, record, "REFUND-2", "run_1").verdict == "undetermined"
    assert judged(specs, record, "REFUND-2", "run_2").verdict == "undetermined"


def test_a_lost_attempt_that_was_written_off_no_longer_counts(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record)
    action = run.action("shop.refund", target="order:1001", minor=5000)
    lost = run.intent("s1", action)
    run.write("control", step="s1", control={"do": "write-off", "intent": lost})
    run.outcome("s1", run.intent("s1", action, attempt=2), action)

    assert judged(specs, record, "REFUND-2").verdict == "satisfied"


def test_a_clause_over_the_whole_record_is_not_satisfied_by_one_run_alone(specs: Specs) -> None:
    record = HandMade()
    Writer(record).refund("s1")

    verdict = next(v for v in check_run(specs, record.written) if v.clause == "REFUND-2")

    assert verdict.verdict == "undetermined"
    assert "the whole record was not" in verdict.reason


@pytest.mark.requirement("EV-5")
def test_a_refund_of_an_order_that_the_ticket_did_not_name_violates(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record, resources=["order:1001"])
    run.refund("s1", target="order:1001")
    intent = run.refund("s2", target="order:1012")
    run.close()

    verdict = judged(specs, record, "REFUND-3")

    assert verdict.verdict == "violated"
    assert verdict.shown_by == (intent, run.opened)


def test_a_run_with_a_missing_receipt_satisfies_nothing(specs: Specs) -> None:
    record = HandMade()
    run = Writer(record)
    run.model()
    intent = run.refund("s1")
    run.close()
    gone = next(r.predicate["id"] for r in record.written if r.predicate.get("step") == "m1")

    verdicts = check_run(specs, record.without(gone), record=record.written)

    assert intent
    assert {v.verdict for v in verdicts} == {"undetermined"}


def test_the_same_receipts_in_any_order_give_the_same_verdicts(specs: Specs) -> None:
    record = HandMade()
    for number in range(3):
        Writer(record, f"run_{number}").refund("s1", minor=15_000 * (number + 1))

    straight = check_run(specs, record.written, record=record.written)
    turned = check_run(specs, record.written[::-1], record=record.written[::-1])

    assert turned == straight
