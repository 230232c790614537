"""Claim, open and close: each answered from the disk, each at most once."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from answerable.action import Step
from answerable.core import Decision, Effect, Money, Outcome, stable_json
from answerable.ledger import Again, Draft, Ledger, Parked, RunJournal, Slice, SliceLost
from answerable.ledger._tests.conftest import PERMIT, TENANT, a_run, an_action

WithLedger = Callable[[Callable[[Ledger], Awaitable[None]]], None]
DONE = Outcome(status="ok", value=stable_json({"refunded": True}))


@pytest.mark.requirement("EV-1", "RT-3")
def test_a_write_leaves_an_intent_before_and_an_outcome_after(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, _, journal = await a_run(ledger)

        step = await journal.open(an_action(run), PERMIT)
        phases_before = [receipt.phase for receipt in ledger.reader.receipts(run=run)]
        outcome = await journal.close(step, DONE)

        assert phases_before == ["run.open", "intent"]
        assert [receipt.phase for receipt in ledger.reader.receipts(run=run)] == ["run.open", "intent", "outcome"]
        assert (outcome.seq, outcome.result) == (2, {"refunded": True})

    with_ledger(body)


def test_a_read_leaves_one_receipt_with_its_input_and_authority(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, _, journal = await a_run(ledger)

        step = await journal.open(an_action(run, effect=Effect.READ), PERMIT)
        await journal.close(step, DONE)

        receipt = ledger.reader.receipts(run=run)[-1]
        assert receipt.phase == "outcome"
        assert set(receipt.predicate["commitments"]) == {"input", "output"}
        assert receipt.predicate["authority"]["rules"] == ["allow"]
        assert ledger.reader.text(receipt).input == b'{"order":1}'

    with_ledger(body)


@pytest.mark.requirement("RT-3")
def test_a_second_outcome_of_a_step_is_not_recorded_and_the_first_comes_back(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, _, journal = await a_run(ledger)
        step = await journal.open(an_action(run), PERMIT)
        await journal.close(step, DONE)

        late = await journal.close(step, Outcome(status="ok", value=b'"again"'))

        assert late.result == {"refunded": True}
        assert len(ledger.reader.receipts(run=run)) == 3

    with_ledger(body)


@pytest.mark.requirement("RT-3")
def test_an_intent_without_an_outcome_is_in_doubt_after_a_restart(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, taken, journal = await a_run(ledger)
        step = await journal.open(an_action(run), PERMIT)

        again = await ledger.journal(taken)
        claim = await again.claim(an_action(run))

        assert claim.doubt is not None
        assert (claim.doubt.attempt, claim.doubt.intent) == (1, step.intent)

    with_ledger(body)


def test_an_attempt_that_was_written_off_may_be_opened_again_as_the_next(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, taken, journal = await a_run(ledger)
        await journal.open(an_action(run), PERMIT)
        again = await ledger.journal(taken)
        doubt = (await again.claim(an_action(run))).doubt
        assert doubt is not None

        await again.write_off(doubt, "the probe found nothing")
        claim = await again.claim(an_action(run))
        step = await again.open(an_action(run), PERMIT)

        assert claim.doubt is None
        assert (step.status, step.attempt) == ("admitted", 2)

    with_ledger(body)


@pytest.mark.requirement("GV-1")
def test_a_denied_action_leaves_a_receipt_that_is_final_for_its_step(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, taken, journal = await a_run(ledger)

        step = await journal.open(an_action(run), Decision(verdict="deny", policy="sha256:00"))
        claim = await (await ledger.journal(taken)).claim(an_action(run))

        assert step.status == "refused"
        assert [receipt.phase for receipt in ledger.reader.receipts(run=run)] == ["run.open", "denied"]
        assert claim.outcome is not None
        assert claim.outcome.status == "refused"

    with_ledger(body)


def test_a_hold_that_nobody_can_answer_is_a_refusal(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, _, journal = await a_run(ledger)

        step = await journal.open(an_action(run), Decision(verdict="hold"))

        assert step.status == "refused"

    with_ledger(body)


def test_a_stale_slice_opens_nothing_but_its_outcome_is_still_taken(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, taken, journal = await a_run(ledger)
        step = await journal.open(an_action(run, 1), PERMIT)
        await ledger.leases.release(taken)
        await ledger.leases.claim(run)

        with pytest.raises(SliceLost):
            await journal.open(an_action(run, 2), PERMIT)
        outcome = await journal.close(step, DONE)

        assert outcome.seq == 2

    with_ledger(body)


async def in_doubt(ledger: Ledger) -> tuple[Slice, RunJournal, Step]:
    """The slice that has a run, and the one that lost it with a step under way: to the new one it is in doubt."""
    run, lost, journal = await a_run(ledger)
    step = await journal.open(an_action(run), PERMIT)
    await ledger.leases.release(lost)
    taken = await ledger.leases.claim(run)
    assert isinstance(taken, Slice)
    claim = await (await ledger.journal(taken)).claim(an_action(run))
    assert claim.doubt is not None
    return taken, journal, step


@pytest.mark.requirement("RT-1", "RT-5")
def test_an_outcome_that_comes_after_its_slice_was_lost_wakes_a_run_parked_in_doubt(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        taken, lost, step = await in_doubt(ledger)
        assert isinstance(await ledger.leases.park(taken, None), Parked)

        await lost.close(step, DONE)

        assert ledger.leases.unserved(10) == [taken.run]

    with_ledger(body)


@pytest.mark.requirement("RT-1", "RT-5")
def test_a_run_in_doubt_is_not_parked_past_an_outcome_that_came_in_meanwhile(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        taken, lost, step = await in_doubt(ledger)

        await lost.close(step, DONE)

        assert isinstance(await ledger.leases.park(taken, None), Again)

    with_ledger(body)


@pytest.mark.requirement("RT-1")
def test_an_outcome_of_the_slice_that_has_the_run_wakes_nobody(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, taken, journal = await a_run(ledger)

        await journal.close(await journal.open(an_action(run), PERMIT), DONE)

        assert isinstance(await ledger.leases.park(taken, None), Parked)

    with_ledger(body)


def test_work_that_raises_fails_alone_and_leaves_its_batch_whole(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, _, journal = await a_run(ledger)

        def broken(tx: object) -> None:
            raise ZeroDivisionError

        results = await asyncio.gather(
            journal.open(an_action(run, 1), PERMIT),
            ledger.writer.submit(broken),
            journal.open(an_action(run, 2), PERMIT),
            return_exceptions=True,
        )

        assert isinstance(results[1], ZeroDivisionError)
        assert [receipt.predicate["seq"] for receipt in ledger.reader.receipts(run=run)] == [0, 1, 2]

    with_ledger(body)


def test_a_name_appended_once_is_not_appended_twice(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, _, _ = await a_run(ledger)
        draft = Draft(
            tenant=TENANT, run=run, phase="signal", agent="clerk", once="s:1", members={"control": {"name": "go"}}
        )

        first, second = await asyncio.gather(ledger.append(draft), ledger.append(draft))

        assert (first.status, second.status) == ("ok", "dup")
        assert [receipt.predicate["seq"] for receipt in ledger.reader.receipts(run=run)] == [0, 1]

    with_ledger(body)


@pytest.mark.requirement("GV-2")
def test_the_action_digest_follows_a_changed_amount_though_the_arguments_are_the_same(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, _, _ = await a_run(ledger)
        action = an_action(run)
        dearer = replace(action, described=replace(action.described, amount=Money(30000, "EUR")))

        digests = [ledger.committed_input(each)[2] for each in (action, dearer, action)]

        assert digests[0] == digests[2] != digests[1]

    with_ledger(body)


@pytest.mark.requirement("RT-3")
def test_an_outcome_that_comes_after_the_run_was_closed_is_an_observation_once(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, _, journal = await a_run(ledger)
        step = await journal.open(an_action(run), PERMIT)
        await ledger.append(Draft(tenant=TENANT, run=run, phase="run.close", agent="clerk", once=f"c:{run}"))

        await journal.close(step, DONE)
        await journal.close(step, DONE)

        phases = [receipt.phase for receipt in ledger.reader.receipts(run=run)]
        assert phases == ["run.open", "intent", "run.close", "observation"]

    with_ledger(body)
