"""Approvals by several people: distinct, independent, in time; edited, repeated and signed."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from answerable.core import Action, AnswerableError, Money, RunId, parse_time
from answerable.identity import (
    PersonUnknown,
    SignatureInvalid,
    SignerKeyInvalid,
    SignerKeyUnknown,
    read_public_key,
    sign_with_file,
)
from answerable.policy import (
    AnswerUnsigned,
    Approval,
    ApprovalClosed,
    ApproverAnswered,
    ApproverIsInitiator,
    ApproverIsInLine,
    ApproverLacksRole,
    EditNotPossible,
    RepeatNotAllowed,
)
from answerable.policy._tests.conftest import AtDesk, Desk, an_action, refusal

pytestmark = pytest.mark.requirement("GV-2")


def asks(terms: str) -> str:
    """An obligation on every action above five euro."""
    return (
        f'@id("ask") @obligation("approve:role=lead,{terms}") permit(principal, action, resource) '
        "when { context has amount_minor && context.amount_minor > 500 };"
    )


async def yes(desk: Desk, approval: str, by: str, **more: Any) -> Approval:
    return await desk.approvals.decide(approval, "approve", by=by, roles=["lead"], **more)


def with_cents(action: Action, cents: int) -> Action:
    """The action as the runtime makes it once an approver has edited it."""
    return replace(
        action,
        arguments=b'{"cents":%d}' % cents,
        described=replace(action.described, amount=Money(cents, "EUR")),
    )


def a_key(path: Path) -> Path:
    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem)
    return path


def test_two_of_a_role_must_say_yes_and_both_are_cited(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        first = await yes(desk, held.wait, "robin")
        between = await desk.open(an_action(run))
        second = await yes(desk, held.wait, "kim")
        step = await desk.open(an_action(run))

        assert (first.state, first.votes, between.status) == ("waiting", 1, "held")
        assert (second.state, second.votes, step.status) == ("approved", 2, "admitted")
        receipts = desk.ledger.reader.receipts(run=RunId(run))
        cited = receipts[-1].predicate["authority"]["approvals"]
        assert cited == sorted(each.predicate["id"] for each in receipts if each.phase == "approval")
        assert len(cited) == 2

    at_desk(body, obligations=asks("n=2,distinct"))


def test_one_person_is_not_two_however_they_write_their_name(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        await yes(desk, held.wait, "robin")
        again = await yes(desk, held.wait, "person:robin")
        with pytest.raises(ApproverAnswered):
            await desk.approvals.decide(held.wait, "reject", by="robin", roles=["lead"])

        assert (again.state, again.votes) == ("waiting", 1)

    at_desk(body, obligations=asks("n=2"))


def test_one_no_is_enough_to_refuse_it(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        await yes(desk, held.wait, "robin")
        await desk.approvals.decide(held.wait, "reject", by="kim", roles=["lead"], reason="too much")
        step = await desk.open(an_action(run))

        assert refusal(step) == "refused.approval_rejected"
        with pytest.raises(ApprovalClosed):
            await yes(desk, held.wait, "lee")

    at_desk(body, obligations=asks("n=3"))


def test_of_fifty_who_answer_at_once_exactly_as_many_count_as_were_asked(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        answers = await asyncio.gather(*(yes(desk, held.wait, f"person{n}") for n in range(50)), return_exceptions=True)
        steps = await asyncio.gather(*(desk.open(an_action(run)) for _ in range(10)))

        assert sum(isinstance(each, Approval) for each in answers) == 3
        assert sum(isinstance(each, ApprovalClosed) for each in answers) == 47
        assert [step.status for step in steps].count("admitted") == 1
        phases = [each.phase for each in desk.ledger.reader.receipts(run=RunId(run))]
        assert (phases.count("approval"), phases.count("intent")) == (3, 1)

    at_desk(body, obligations=asks("n=3"))


def test_an_answer_given_again_after_its_response_was_lost_is_told_and_not_counted_twice(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        first = await yes(desk, held.wait, "robin")
        again = await yes(desk, held.wait, "robin")

        assert first == again
        assert [each.phase for each in desk.ledger.reader.receipts(run=RunId(run))].count("approval") == 1

    at_desk(body, obligations=asks("n=1"))


def test_silence_escalates_along_the_chain_and_at_its_end_denies(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        asked = []
        for _ in range(3):
            desk.clock.move(hours=1)
            denied = await desk.approvals.expire_due()
            found = desk.approvals.show(held.wait).approval
            asked.append((found.role, found.state, list(denied)))
        step = await desk.open(an_action(run))

        assert asked == [
            ("manager", "waiting", []),
            ("director", "waiting", []),
            ("director", "timed-out", [held.wait]),
        ]
        assert refusal(step) == "refused.approval_timed_out"

    at_desk(body, obligations=asks("timeout=1h,on_timeout=escalate:manager>director"))


def test_once_escalated_the_next_role_decides_and_the_first_no_more(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))
        desk.clock.move(hours=2)

        with pytest.raises(ApproverLacksRole):
            await desk.approvals.decide(held.wait, "approve", by="robin", roles=["lead"])
        found = await desk.approvals.decide(held.wait, "approve", by="max", roles=["manager"])
        step = await desk.open(an_action(run))

        assert (found.state, found.role, step.status) == ("approved", "manager", "admitted")

    at_desk(body, obligations=asks("timeout=1h,on_timeout=escalate:manager"))


def test_only_registered_people_answer_in_the_roles_they_are_registered_for(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))
        await desk.people.set("robin", ["clerk"])
        await desk.people.set("kim", ["lead"])

        with pytest.raises(ApproverLacksRole):
            await yes(desk, held.wait, "robin")
        with pytest.raises(PersonUnknown):
            await yes(desk, held.wait, "stranger")
        found = await desk.approvals.decide(held.wait, "approve", by="kim", roles=[])

        assert found.state == "approved"

    at_desk(body, obligations=asks("n=1"))


def test_a_deputy_answers_in_the_roles_of_the_one_they_stand_in_for_until_then(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))
        until = desk.clock.now() + timedelta(hours=1)
        await desk.people.set("kim", ["lead"], deputy="robin", deputy_until=until)
        await desk.people.set("robin", ["clerk"])

        found = await yes(desk, held.wait, "robin")
        desk.clock.move(hours=2)
        other = await desk.open(an_action(run, 2))
        with pytest.raises(ApproverLacksRole):
            await yes(desk, other.wait, "robin")

        assert found.state == "approved"

    at_desk(body, obligations=asks("n=1"))


def test_nobody_in_the_initiators_line_of_command_is_a_second_opinion(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))
        for name, boss in (("boss", ""), ("alex", "boss"), ("helper", "alex"), ("robin", "")):
            await desk.people.set(name, ["lead"], reports_to=boss)

        with pytest.raises(ApproverIsInitiator):
            await yes(desk, held.wait, "alex")
        for name in ("boss", "helper"):
            with pytest.raises(ApproverIsInLine):
                await yes(desk, held.wait, name)
        found = await yes(desk, held.wait, "robin")

        assert found.state == "approved"

    at_desk(body, obligations=asks("not=chain"))


def test_an_edit_voids_earlier_answers_and_counts_as_the_first_of_the_edited_action(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        action = an_action(run)
        held = await desk.open(action)
        await yes(desk, held.wait, "robin")

        edited = await yes(desk, held.wait, "kim", arguments=b'{"cents": 900}')
        smaller = with_cents(action, 900)
        waits = await desk.open(smaller)
        with pytest.raises(ApproverAnswered):
            await yes(desk, waits.wait, "kim")
        last = await yes(desk, waits.wait, "robin")
        step = await desk.open(smaller)

        assert edited.state == "edited"
        assert (waits.status, last.state, step.status) == ("held", "approved", "admitted")
        assert waits.wait != held.wait
        intent = desk.ledger.reader.receipts(run=RunId(run))[-1].predicate
        assert intent["action"]["amount"] == {"minor": 900, "currency": "EUR"}
        assert intent["authority"]["approvals"] == sorted([edited.decided, last.decided])

    at_desk(body, obligations=asks("n=2,edit"))


def test_one_persons_edit_is_their_approval_where_one_is_enough_and_policy_may_need_none(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        for number, cents in ((1, 900), (2, 300)):
            action = an_action(run, number)
            held = await desk.open(action)
            await yes(desk, held.wait, "kim", arguments=b'{"cents": %d}' % cents)

            step = await desk.open(with_cents(action, cents))

            assert step.status == "admitted"
        assert desk.approvals.list() == []

    at_desk(body, obligations=asks("n=1,edit"))


@pytest.mark.parametrize(
    ("terms", "arguments", "says"),
    [
        ("n=1", b'{"cents": 900}', "does not say `edit`"),
        ("edit", b"[900]", "no JSON object"),
        ("edit", b'{"cents": 9000}', "no refund is that large"),
        ("edit", b'{"number": 1}', "are the old ones"),
    ],
)
def test_an_edit_that_policy_or_the_tool_does_not_take_changes_nothing(
    at_desk: AtDesk, terms: str, arguments: bytes, says: str
) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        with pytest.raises(EditNotPossible, match=says):
            await yes(desk, held.wait, "kim", arguments=arguments)

        assert [each.state for each in desk.approvals.list(state=None)] == ["waiting"]

    at_desk(body, obligations=asks(terms))


def test_the_same_decision_holds_for_the_rest_of_the_run_on_this_target_up_to_this_amount(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run, other_run = await desk.run(), await desk.run()
        held = await desk.open(an_action(run))
        decided = await yes(desk, held.wait, "robin", scope="run")

        smaller = await desk.open(an_action(run, 2, described={"amount": Money(900, "EUR")}))
        larger = await desk.open(an_action(run, 3, described={"amount": Money(1001, "EUR")}))
        elsewhere = await desk.open(an_action(run, 4, described={"target": "order:2"}))
        foreign = await desk.open(an_action(run, 5, described={"amount": Money(900, "USD")}))
        another = await desk.open(an_action(other_run))

        assert smaller.status == "admitted"
        intent = desk.ledger.reader.find(smaller.intent)
        assert intent is not None
        assert intent.predicate["authority"]["approvals"] == [decided.decided]
        assert [each.status for each in (larger, elsewhere, foreign, another)] == ["held"] * 4

    at_desk(body, obligations=asks("repeat"))


def test_a_decision_for_the_rest_of_the_run_needs_a_rule_that_says_so(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        with pytest.raises(RepeatNotAllowed):
            await yes(desk, held.wait, "robin", scope="run")
        await yes(desk, held.wait, "robin")
        second = await desk.open(an_action(run, 2))

        assert second.status == "held"

    at_desk(body, obligations=asks("n=1"))


def test_who_has_a_key_answers_with_it_or_not_at_all(at_desk: AtDesk, tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))
        own, foreign = a_key(tmp_path / "own.pem"), a_key(tmp_path / "foreign.pem")
        key = await desk.keys.add("kim", read_public_key(own))

        def signed(path: Path, **said: Any) -> dict[str, str]:
            id = hashlib.sha256(read_public_key(path)).hexdigest()
            return sign_with_file(path, desk.approvals.statement(held.wait, "approve", key=id, **said))

        with pytest.raises(AnswerUnsigned):
            await yes(desk, held.wait, "kim")
        with pytest.raises(SignerKeyUnknown):
            await yes(desk, held.wait, "kim", signature=signed(foreign))
        with pytest.raises(SignatureInvalid):
            await yes(desk, held.wait, "kim", reason="another", signature=signed(own, reason="one"))
        with pytest.raises(SignerKeyInvalid):
            await desk.keys.add("robin", read_public_key(own))
        found = await yes(desk, held.wait, "kim", reason="one", signature=signed(own, reason="one"))

        receipt = desk.ledger.reader.find(found.decided)
        assert receipt is not None
        assert receipt.predicate["control"]["signature"]["key"] == key.id
        await desk.keys.revoke(key.id[:12])
        assert (await yes(desk, (await desk.open(an_action(run, 2))).wait, "kim")).state == "approved"

    at_desk(body, obligations=asks("n=1"))


def test_where_policy_says_signed_nobody_answers_without_a_key(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        with pytest.raises(AnswerUnsigned, match="policy says"):
            await yes(desk, held.wait, "kim")

    at_desk(body, obligations=asks("signed"))


def test_when_who_may_answer_cannot_be_known_nobody_may(at_desk: AtDesk) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("the directory is away")

    async def body(desk: Desk) -> None:
        run = await desk.run()
        held = await desk.open(an_action(run))

        with pytest.raises(RuntimeError):
            await replace(desk.approvals, approvers=Broken()).decide(held.wait, "approve", by="robin", roles=["lead"])

        assert (await desk.open(an_action(run))).status == "held"

    at_desk(body, obligations=asks("n=1"))


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"])
def test_a_file_without_a_p256_key_is_named(tmp_path: Path, pem: bytes) -> None:
    path = tmp_path / "me.pem"
    path.write_bytes(pem)

    for use in (read_public_key, lambda place: sign_with_file(place, b"")):
        with pytest.raises(AnswerableError, match=r"me\.pem"):
            use(path)


def test_a_circle_of_command_ends(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        for name, boss in (("ann", "ben"), ("ben", "ann"), ("cat", "")):
            await desk.people.set(name, ["lead"], reports_to=boss)
        ann, ben, cat = map(desk.people.called, ("ann", "ben", "cat"))

        assert desk.people.is_in_line(ann, ben)
        assert not desk.people.is_in_line(ann, cat)
        assert [each.name for each in desk.people.list()] == ["person:ann", "person:ben", "person:cat"]
        await desk.people.remove("ann")
        assert len(desk.people.list()) == 2
        assert parse_time("2026-11-21T09:00:00.000000Z") == desk.clock.now()

    at_desk(body)
