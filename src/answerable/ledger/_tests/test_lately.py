"""What a process remembers of the runs it opened and ended lately."""

from answerable.core import RunId, TenantId, canonical_json
from answerable.ledger._lately import Lately
from answerable.ledger._receipt import Draft, Phase

BODY = canonical_json(
    {
        "predicate": {
            "agent": {"id": "clerk"},
            "at": "2026-01-01T00:00:00.000Z",
            "id": "rcpt_1",
            "phase": "run.open",
            "run": "run_1",
            "seq": 0,
        }
    }
)


def draft(phase: Phase, run: str = "run_1", *, text: bytes = b'"text"', **control: object) -> Draft:
    return Draft(
        tenant=TenantId("default"),
        run=RunId(run),
        phase=phase,
        agent="clerk",
        members={"control": control},
        input=text,
        output=text,
    )


def test_the_history_of_a_run_that_was_just_opened_is_given_once() -> None:
    lately = Lately()
    lately.opened(draft("run.open"), BODY)

    history = lately.history("run_1")

    assert history is not None
    assert (history.run, history.seen, history.input, history.opened["id"]) == ("run_1", 0, b'"text"', "rcpt_1")
    assert lately.history("run_1") is None
    assert lately.place("run_1") == ("default", 5)


def test_a_fork_is_read_since_it_shares_receipts_with_another_run() -> None:
    lately = Lately()
    lately.opened(draft("run.open", origin={"how": "fork", "run": "run_0"}), BODY)

    assert lately.history("run_1") is None


def test_texts_that_were_erased_are_not_remembered() -> None:
    lately = Lately()
    lately.opened(draft("run.open"), BODY)
    lately.ended(draft("run.close", "run_2", state="done"))
    assert lately.ending("run_2") == ("done", b'"text"')

    lately.forget_texts()

    assert lately.history("run_1") is None
    assert lately.ending("run_2") is None


def test_where_others_may_erase_texts_none_are_remembered() -> None:
    lately = Lately(keeps_texts=False)
    lately.opened(draft("run.open", priority=2), BODY)
    lately.ended(draft("run.close", state="done"))

    assert lately.history("run_1") is None
    assert lately.ending("run_1") is None
    assert lately.place("run_1") == ("default", 2)


def test_long_texts_and_runs_of_long_ago_are_not_remembered() -> None:
    lately = Lately()
    lately.ended(draft("run.close", "long", text=b'"' + b"x" * (1 << 20) + b'"', state="done"))
    for number in range(1025):
        lately.ended(draft("run.close", f"run_{number}", state="done"))

    assert lately.ending("long") is None
    assert lately.ending("run_0") is None
    assert lately.ending("run_1024") == ("done", b'"text"')
