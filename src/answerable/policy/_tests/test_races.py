"""Many at once: one approval lets one action through, one answer settles it, and nothing follows a stop."""

import asyncio

import pytest

from answerable.core import AnswerableError, Effect, RunId
from answerable.policy import ApprovalClosed, ApproverAnswered
from answerable.policy._tests.conftest import AtDesk, Desk, an_action

ASK = '@id("ask") @obligation("approve:role=lead") permit(principal, action, resource);'
MANY = 50


@pytest.mark.requirement("GV-2")
def test_of_fifty_who_take_an_approval_at_once_one_gets_it(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        action = an_action(run, 1)
        held = await desk.open(action)
        await desk.approvals.decide(held.wait, "approve", by="kim", roles=["lead"])
        decisions = await asyncio.gather(*(desk.authorizer.authorize(action) for _ in range(MANY)))

        taken = await asyncio.gather(*(desk.journals[run].open(action, each) for each in decisions))

        assert [each.status for each in taken].count("admitted") == 1
        assert {each.status for each in taken} == {"admitted", "doubt"}
        intents = [each for each in desk.ledger.reader.receipts(run=RunId(run)) if each.phase == "intent"]
        assert len(intents) == 1

    at_desk(body, obligations=ASK)


@pytest.mark.requirement("GV-2")
def test_of_fifty_people_who_answer_at_once_one_settles_it_whatever_the_others_say(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run, 1))

        async def answer(number: int) -> str:
            try:
                said = "approve" if number % 2 else "reject"
                await desk.approvals.decide(held.wait, said, by=f"p{number}", roles=["lead"])  # type: ignore[arg-type]
            except (ApprovalClosed, ApproverAnswered) as late:
                return late.code
            return "settled"

        answers = await asyncio.gather(*(answer(number) for number in range(MANY)))

        assert answers.count("settled") == 1
        on_record = [each for each in desk.ledger.reader.receipts(run=RunId(run)) if each.phase == "approval"]
        assert len(on_record) == 1
        expected = {"approve": "admitted", "reject": "refused"}[on_record[0].predicate["control"]["decision"]]
        assert (await desk.do(an_action(run, 1))).status == expected

    at_desk(body, obligations=ASK)


@pytest.mark.requirement("GV-3")
@pytest.mark.parametrize("scope", ["agent:support", "tool:shop.refund", "tenant", "all"])
def test_under_load_nothing_is_let_through_after_a_stop(at_desk: AtDesk, scope: str) -> None:
    async def body(desk: Desk) -> None:
        runs = [await desk.run() for _ in range(10)]

        async def work(run: str, number: int) -> str:
            described = {"effect": Effect.WRITE, "target": f"order:{run}{number}", "amount": None}
            try:
                return (await desk.do(an_action(run, number, described=described))).status
            except AnswerableError as error:
                return error.code

        early = [work(run, number) for number in range(8) for run in runs]
        late = [work(run, number) for number in range(8, 16) for run in runs]
        said = await asyncio.gather(*early, desk.stops.stop(scope, reason="enough", by="dana"), *late)

        receipts = desk.ledger.reader.receipts()
        (stop,) = [n for n, each in enumerate(receipts) if each.predicate.get("control", {}).get("do") == "stop"]
        assert [each for each in receipts[stop:] if each.phase == "intent"] == []
        statuses = [each for each in said if each is not None]
        assert set(statuses) <= {"admitted", "refused"}
        assert statuses.count("refused") >= len(late)

    at_desk(body)
