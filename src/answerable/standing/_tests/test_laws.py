"""What holds of verdicts on any record, whatever is on it."""

from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answerable.standing import Specs, check_run
from answerable.standing._markdown import parse_document
from answerable.standing._specs import Spec
from answerable.standing._tests.record_of import HandMade, Writer

_REFUNDED = '{ phase = "outcome", name = "shop.refund", status = "ok" }'
_CHECKS = (
    f'at_most = 1\nof = {_REFUNDED}\nper = "target"\nwithin = "record"',
    f"at_most = 1\nof = {_REFUNDED}",
    f'sum_at_most = "5 EUR"\nof = {_REFUNDED}\nper = "target"\nwithin = "record"',
    'never = { phase = "outcome", name = "shop.refund", status = "failed" }',
    f'for = {_REFUNDED}\nrequires.target = "named"',
    f'for = {_REFUNDED}\nrequires.approval = {{ role = "support-lead", other_than = "initiator" }}',
    f'for = {_REFUNDED}\nrequires.preceded_by = {{ phase = "outcome", name = "shop.mail", same = "target" }}',
    f'for = {_REFUNDED}\nrequires.followed_by = {{ phase = "outcome", name = "shop.mail", status = "ok" }}',
    'for = { phase = "outcome", name = "shop.mail" }\nrequires.observed_by = "gate"',
)
_TEXT = '+++\nid = "t"\ntitle = "T"\nowner = "o"\n[governs]\nagents = ["*"]\n+++\n' + "".join(
    f"## T-{number} Clause\n```check\n{block}\n```\n" for number, block in enumerate(_CHECKS)
)
SPECS = Specs((Spec(document=parse_document(_TEXT, file="t.md"), path="t.md", text=_TEXT, digest="sha256:0"),))
_ENDS = ("ok", "failed", "written off")


@dataclass(frozen=True)
class Deed:
    """A step of a run; `end` is how it ended, or empty if its outcome is not known yet."""

    run: int
    name: str
    order: int
    minor: int
    is_approved: bool
    end: str


_deeds = st.lists(
    st.builds(
        Deed,
        run=st.integers(0, 1),
        name=st.sampled_from(["shop.refund", "shop.mail"]),
        order=st.integers(1, 2),
        minor=st.integers(100, 400),
        is_approved=st.booleans(),
        end=st.sampled_from([*_ENDS, "", ""]),
    ),
    max_size=6,
)


def finish(run: Writer, step: str, end: str) -> None:
    intent = next(r for r in run.record.written if r.phase == "intent" and _is(r.predicate, run.run, step))
    if end == "written off":
        run.write("control", step=step, control={"do": "write-off", "intent": intent.predicate["id"]})
    else:
        run.outcome(step, intent.predicate["id"], intent.predicate["action"], status=end)


def _is(predicate: dict[str, object], run: str, step: str) -> bool:
    return (predicate["run"], predicate.get("step")) == (run, step)


def verdicts(record: HandMade) -> dict[tuple[str, str], str]:
    """The verdict on all runs together and on each by itself."""
    found = {("all", v.clause): v.verdict for v in check_run(SPECS, record.written, record=record.written)}
    for run in ("run_0", "run_1"):
        receipts = [r for r in record.written if r.predicate["run"] == run]
        found |= {(run, v.clause): v.verdict for v in check_run(SPECS, receipts, record=record.written)}
    return {key: str(verdict) for key, verdict in found.items()}


@pytest.mark.requirement("EV-5")
@settings(max_examples=300, deadline=None)
@given(_deeds, st.lists(st.sampled_from(_ENDS), min_size=6, max_size=6), st.randoms(use_true_random=False))
def test_a_verdict_once_determined_stands_however_the_open_intents_turn_out(
    deeds: list[Deed], ends: list[str], order: Random
) -> None:
    record = HandMade()
    runs = [Writer(record, f"run_{number}", resources=["order:1"]) for number in range(2)]
    for number, deed in enumerate(deeds):
        run, step = runs[deed.run], f"s{number}"
        action = run.action(deed.name, target=f"order:{deed.order}", minor=deed.minor)
        approvals = [run.approval(run.held(step, action), action)] if deed.is_approved else []
        run.intent(step, action, approvals=approvals)
        if deed.end:
            finish(run, step, deed.end)
    before = verdicts(record)
    left = [(number, deed) for number, deed in enumerate(deeds) if not deed.end]
    order.shuffle(left)

    for number, deed in left:
        finish(runs[deed.run], f"s{number}", ends[number])

    may_become = {
        "satisfied": {"satisfied", "not applicable"},
        "violated": {"violated"},
        "not applicable": {"not applicable"},
        "undetermined": {"satisfied", "violated", "not applicable", "undetermined"},
    }
    after = verdicts(record)
    assert {key: (was, after[key]) for key, was in before.items() if after[key] not in may_become[was]} == {}
