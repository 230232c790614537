"""Every form of check and every requirement: met, broken, and not to be told."""

import pytest

from answerable.standing import ClauseVerdict, Specs, check_run
from answerable.standing._markdown import parse_document
from answerable.standing._specs import Spec
from answerable.standing._tests.record_of import HandMade, Writer

FRONT = '+++\nid = "t"\ntitle = "T"\nowner = "o"\n[governs]\nagents = ["*"]\n+++\n'


def verdict(record: HandMade, *blocks: str) -> ClauseVerdict:
    text = f"{FRONT}## T-1 Clause\n" + "".join(f"```check\n{block}\n```\n" for block in blocks)
    specs = Specs((Spec(document=parse_document(text, file="t.md"), path="t.md", text=text, digest="sha256:0"),))
    return check_run(specs, record.written, record=record.written)[0]


def test_never_is_broken_by_one_match_and_satisfied_by_none() -> None:
    record = HandMade()
    run = Writer(record)
    block = 'never = { phase = "outcome", name = "shop.*", status = "failed" }'
    before = verdict(record, block)
    action = run.action("shop.mail")
    failed = run.outcome("s1", run.intent("s1", action), action, status="failed")
    run.close()

    after = verdict(record, block)

    assert before.verdict == "satisfied"
    assert before.reason.endswith("so far: not every run is closed")
    assert (after.verdict, after.shown_by) == ("violated", (failed,))


def test_never_cannot_be_told_while_an_outcome_is_unknown() -> None:
    record = HandMade()
    run = Writer(record)
    intent = run.intent("s1", run.action("shop.mail"))

    found = verdict(record, 'never = { phase = "outcome", name = "shop.*", status = "failed" }')

    assert (found.verdict, found.shown_by) == ("undetermined", (intent,))


def test_sums_are_kept_per_group_and_the_one_that_passes_the_limit_is_named() -> None:
    record = HandMade()
    run = Writer(record, resources=["order:1", "order:2"])
    for step, target, minor in (("a", "order:1", 6000), ("b", "order:2", 6000), ("c", "order:1", 4001)):
        run.refund(step, target=target, minor=minor)
    of = 'of = { phase = "outcome", name = "shop.refund", status = "ok" }'
    last = [r.predicate["id"] for r in record.written if r.phase == "outcome"][-1]

    per_target = verdict(record, f'sum_at_most = "100.00 EUR"\n{of}\nper = "target"')
    enough = verdict(record, f'sum_at_most = "100.01 EUR"\n{of}\nper = "target"')
    together = verdict(record, f'sum_at_most = "100.01 EUR"\n{of}')

    assert (per_target.verdict, per_target.shown_by[0]) == ("violated", last)
    assert "brings it to 100.01 EUR for order:1 in the run, at most 100.00 EUR" in per_target.reason
    assert enough.verdict == "satisfied"
    assert together.verdict == "violated"


def test_a_sum_with_an_unknown_or_foreign_part_cannot_be_told() -> None:
    lost, foreign = HandMade(), HandMade()
    run = Writer(lost)
    run.intent("a", run.action("shop.refund", target="order:1001", minor=6000))
    run.refund("b", minor=6000)
    other = Writer(foreign)
    action = other.action("shop.refund", target="order:1001", minor=1, currency="USD")
    other.outcome("a", other.intent("a", action), action)
    block = 'sum_at_most = "100.00 EUR"\nof = { phase = "outcome", name = "shop.refund", status = "ok" }'

    assert verdict(lost, block).verdict == "undetermined"
    assert verdict(foreign, block).verdict == "undetermined"


def test_counts_by_target_cannot_be_told_without_a_target() -> None:
    record = HandMade()
    Writer(record).refund("a", target="")

    assert verdict(record, 'at_most = 5\nof = { phase = "intent" }\nper = "target"').verdict == "undetermined"


@pytest.mark.parametrize(("n", "said"), [(1, "satisfied"), (2, "violated")])
def test_n_approvals_are_of_n_different_people(n: int, said: str) -> None:
    record = HandMade()
    run = Writer(record)
    action = run.action("shop.refund", target="order:1001", minor=1)
    held = run.held("a", action)
    run.refund("a", minor=1, approvals=[run.approval(held, action), run.approval(held, action)])
    run.close()

    block = f'for = {{ phase = "intent" }}\nrequires.approval = {{ role = "support-lead", n = {n} }}'

    assert verdict(record, block).verdict == said


def test_what_must_follow_is_open_until_the_run_is_closed() -> None:
    record = HandMade()
    run = Writer(record)
    run.refund("a")
    block = (
        'for = { phase = "outcome", name = "shop.refund" }\n'
        'requires.followed_by = { phase = "outcome", name = "shop.mail" }'
    )
    while_open = verdict(record, block)
    mail = run.action("shop.mail")
    intent = run.intent("b", mail)
    while_in_doubt = verdict(record, block)
    run.outcome("b", intent, mail)
    followed = verdict(record, block)

    assert [each.verdict for each in (while_open, while_in_doubt, followed)] == [
        "undetermined",
        "undetermined",
        "satisfied",
    ]


def test_what_must_follow_and_did_not_is_broken_once_the_run_is_closed() -> None:
    record = HandMade()
    run = Writer(record)
    run.refund("a")
    run.close()

    block = 'for = { phase = "outcome" }\nrequires.followed_by = { phase = "outcome", name = "shop.mail" }'

    assert verdict(record, block).verdict == "violated"


def test_what_must_precede_is_asked_of_the_same_target() -> None:
    record = HandMade()
    run = Writer(record)
    look = run.action("shop.find_order", target="order:1001", effect="read")
    run.write("outcome", step="r", action=look, effect={"status": "ok", "observedBy": "gate"})
    run.refund("a", target="order:1001")
    block = (
        'for = { phase = "intent", name = "shop.refund" }\n'
        'requires.preceded_by = { phase = "outcome", name = "shop.find_order", same = "target" }'
    )
    looked = verdict(record, block)
    blind = run.refund("b", target="order:1002")

    found = verdict(record, block)

    assert looked.verdict == "satisfied"
    assert (found.verdict, found.shown_by) == ("violated", (blind,))


def test_what_comes_after_does_not_precede() -> None:
    record = HandMade()
    run = Writer(record)
    run.refund("a")
    mail = run.action("shop.mail", target="order:1001")
    run.outcome("b", run.intent("b", mail), mail)
    block = (
        'for = { phase = "outcome", name = "shop.refund" }\n'
        'requires.preceded_by = { phase = "outcome", name = "shop.mail" }'
    )

    assert verdict(record, block).verdict == "violated"


def test_an_effect_that_may_have_happened_may_have_followed_in_a_closed_run_too() -> None:
    record = HandMade()
    run = Writer(record)
    run.intent("m", run.action("shop.mail"))
    run.refund("a")
    run.close()
    block = (
        'for = { phase = "outcome", name = "shop.refund" }\n'
        'requires.followed_by = { phase = "outcome", name = "shop.mail" }'
    )

    assert verdict(record, block).verdict == "undetermined"


def test_rules_and_observers_are_required() -> None:
    record = HandMade()
    run = Writer(record)
    action = run.action("shop.refund")
    run.outcome("a", run.intent("a", action), action, observed_by="agent")
    run.close()
    of = 'for = { phase = "outcome" }\n'

    assert verdict(record, f'{of}requires.rule = "refund-*"').verdict == "satisfied"
    assert verdict(record, f'{of}requires.rule = "gift-*"').verdict == "violated"
    assert verdict(record, f'{of}requires.observed_by = ["gate", "counterparty"]').verdict == "violated"
    assert verdict(record, f'{of}requires.observed_by = "agent"').verdict == "satisfied"


def test_selectors_narrow_by_label_model_effect_and_environment() -> None:
    record = HandMade()
    run = Writer(record)
    run.model()
    action = run.action("shop.mail", effect="write")
    run.write("denied", step="d", action=action, labels=["untrusted:shop.read_ticket"], effect={"status": "refused"})

    def count(selector: str) -> int:
        return len(verdict(record, f"never = {{ {selector} }}").findings)

    assert count('phase = "outcome", model = "scripted:*"') == 1
    assert count('phase = "outcome", model = "openai:*"') == 0
    assert count('phase = "denied", label = "untrusted:*"') == 1
    assert count('phase = "denied", label = "secret"') == 0
    assert count('phase = "denied", effect = ["write", "irreversible"], environment = "demo", agent = "sup*"') == 1
    assert count('phase = "denied", effect = "irreversible"') == 0


def test_of_several_checks_the_worst_decides_and_without_any_a_person_has_to() -> None:
    record = HandMade()
    Writer(record).refund("a")
    fine, broken = 'never = { phase = "denied" }', 'never = { phase = "outcome" }'

    assert verdict(record, fine, broken).verdict == "violated"
    assert verdict(record, fine).verdict == "satisfied"
    assert verdict(record).verdict == "undetermined"
    assert "names no check" in verdict(record).reason
