"""Sessions: the same call is the same step until its answer was delivered, through crashes and doubts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable.action import OutcomeUnknown
from answerable.core import ApprovalObligation, Decision, Outcome
from answerable.runtime import AgentSpec, Held, Limits, Session, Sessions, SessionsProjection, SessionUnknown
from answerable.runtime._tests.house import House, Shed, until

ARGUMENTS = b'{"order":"1001"}'


async def no_code(run: Any, given: Any) -> None:
    raise AssertionError("a session's agent has no code here")


@contextlib.asynccontextmanager
async def office(
    directory: Path, shed: Shed, *, limits: Limits | None = None, patience: timedelta = timedelta(milliseconds=20)
) -> AsyncIterator[tuple[House, Sessions]]:
    async with House(directory, shed, projections=(SessionsProjection(),)) as house:
        house.agents.add(AgentSpec(name="clerk", fn=no_code, limits=limits or Limits(identical_calls=None)))
        sessions = Sessions(house.gate, house.agents, patience=patience)
        await sessions.start()
        house.serve()
        yield house, sessions
        await sessions.stop()


def through(
    directory: Path, story: Callable[[House, Sessions, Session], Coroutine[Any, Any, None]], shed: Shed, **more: Any
) -> None:
    async def run() -> None:
        async with asyncio.timeout(30), office(directory, shed, **more) as (house, sessions):
            await story(house, sessions, await sessions.get("clerk"))

    asyncio.run(run())


def deny() -> Decision:
    return Decision(verdict="deny", rules=("no",))


async def write(session: Session, name: str = "write", **more: Any) -> Outcome:
    return await session.perform("tool", name, ARGUMENTS, **more)


def test_a_call_whose_answer_was_delivered_is_a_new_one_when_it_comes_again(tmp_path: Path) -> None:
    shed = Shed()

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        session.delivered(await write(session))
        await write(session)

    through(tmp_path, story, shed)

    assert sum(shed.books.values()) == 2


def test_a_retry_whose_answer_was_not_delivered_gets_the_recorded_outcome(tmp_path: Path) -> None:
    shed = Shed()
    seen: list[Outcome] = []

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        seen.extend([await write(session), await write(session)])

    through(tmp_path, story, shed)

    assert sum(shed.books.values()) == 1
    assert seen[0].receipt == seen[1].receipt


def test_a_retry_joins_the_call_that_is_still_under_way(tmp_path: Path) -> None:
    shed = Shed()
    shed.gates["write"] = asyncio.Event()

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        first = asyncio.create_task(write(session))
        await until(lambda: shed.calls == ["write"])
        second = asyncio.create_task(write(session))
        await asyncio.sleep(0)
        shed.gates["write"].set()
        assert (await first).receipt == (await second).receipt

    through(tmp_path, story, shed)

    assert sum(shed.books.values()) == 1


def test_a_caller_that_leaves_does_not_end_the_effect(tmp_path: Path) -> None:
    shed = Shed()
    shed.gates["write"] = asyncio.Event()

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        first = asyncio.create_task(write(session))
        await until(lambda: shed.calls == ["write"])
        first.cancel()
        await asyncio.wait([first])
        shed.gates["write"].set()
        assert (await write(session)).status == "ok"

    through(tmp_path, story, shed)

    assert sum(shed.books.values()) == 1


def test_after_a_restart_an_unconfirmed_answer_is_given_again_and_a_confirmed_one_is_not(tmp_path: Path) -> None:
    shed = Shed()

    async def before(house: House, sessions: Sessions, session: Session) -> None:
        session.delivered(await write(session, "write_seen"))
        await write(session, "write_unseen")

    async def after(house: House, sessions: Sessions, session: Session) -> None:
        await write(session, "write_seen")
        await write(session, "write_unseen")

    through(tmp_path, before, shed)
    through(tmp_path, after, shed)

    assert shed.calls == ["write_seen", "write_unseen", "write_seen"]


def test_a_session_goes_on_after_a_restart_and_an_engine_never_advances_it(tmp_path: Path) -> None:
    runs: list[str] = []

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        await write(session)
        runs.append(session.run)
        assert house.phases(session.run)[0] == "run.open"
        assert "run.close" not in house.phases(session.run)

    through(tmp_path, story, Shed())
    through(tmp_path, story, Shed())

    assert len(set(runs)) == 1


def test_a_write_in_doubt_is_never_repeated_by_a_retry(tmp_path: Path) -> None:
    shed = Shed()

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        for _ in range(3):
            with pytest.raises(OutcomeUnknown):
                await write(session, "lose")

    through(tmp_path, story, shed)
    through(tmp_path, story, shed)

    assert shed.calls == ["lose"]


def test_a_key_makes_the_same_call_the_same_step_even_when_it_was_delivered(tmp_path: Path) -> None:
    shed = Shed()

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        for key in ("a", "a", "b"):
            session.delivered(await write(session, key=key))

    through(tmp_path, story, shed)
    through(tmp_path, story, shed)

    assert sum(shed.books.values()) == 2


def test_model_calls_may_be_wanted_twice(tmp_path: Path) -> None:
    shed = Shed()

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        await write(session, "model", joins=False)
        await write(session, "model", joins=False)

    through(tmp_path, story, shed)

    assert shed.calls == ["model", "model"]


def test_a_refused_call_leaves_a_receipt_and_runs_nothing(tmp_path: Path) -> None:
    shed = Shed()

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        house.policy.decide["write"] = deny
        outcome = await write(session)
        assert outcome.status == "refused"
        assert house.phases(session.run) == ["run.open", "denied"]

    through(tmp_path, story, shed)

    assert shed.calls == []


def test_a_proposed_call_is_refused_on_the_record_and_a_permitted_one_leaves_nothing(tmp_path: Path) -> None:
    shed = Shed()

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        house.policy.decide["write"] = deny
        refused = await session.refusal("write", arguments=ARGUMENTS)
        assert refused is not None
        assert refused.receipt
        assert await session.refusal("write_other", arguments=ARGUMENTS) is None
        assert house.phases(session.run) == ["run.open", "denied"]

    through(tmp_path, story, shed)

    assert shed.calls == []


def test_a_proposed_call_that_may_mean_several_tools_is_refused_only_where_all_of_them_are(tmp_path: Path) -> None:
    async def story(house: House, sessions: Sessions, session: Session) -> None:
        house.policy.decide["shop.write"] = deny
        assert await session.refusal("shop.write", "desk.write", arguments=ARGUMENTS) is None
        house.policy.decide["desk.write"] = deny
        assert await session.refusal("shop.write", "desk.write", arguments=ARGUMENTS) is not None
        assert house.phases(session.run) == ["run.open", "denied"]

    through(tmp_path, story, Shed())


def test_a_proposed_repetition_of_a_call_in_doubt_may_be_made_whatever_policy_says_of_a_new_one(tmp_path: Path) -> None:
    async def story(house: House, sessions: Sessions, session: Session) -> None:
        with pytest.raises(OutcomeUnknown):
            await write(session, "lose")
        house.policy.decide["lose"] = deny
        assert await session.refusal("lose", arguments=ARGUMENTS) is None
        assert await session.refusal("lose", arguments=b'{"other":1}') is not None

    through(tmp_path, story, Shed())


def test_a_breach_of_its_limits_is_refused_and_survives_a_restart(tmp_path: Path) -> None:
    shed = Shed()
    statuses: list[str] = []

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        for _ in range(2):
            outcome = await write(session, "read")
            session.delivered(outcome)
            statuses.append(outcome.status)

    through(tmp_path, story, shed, limits=Limits(steps=3))
    through(tmp_path, story, shed, limits=Limits(steps=3))

    assert statuses == ["ok", "ok", "ok", "refused"]


def test_an_idle_session_is_closed_and_the_next_call_opens_another(tmp_path: Path) -> None:
    async def story(house: House, sessions: Sessions, session: Session) -> None:
        await write(session)
        sessions_ = Sessions(house.gate, house.agents, idle=timedelta(microseconds=-1))
        sessions_._by_run, sessions_._by_name = sessions._by_run, sessions._by_name
        await sessions_.close_idle()
        assert house.phases(session.run)[-1] == "run.close"
        assert (await sessions.get("clerk")).run != session.run
        with pytest.raises(SessionUnknown):
            await sessions.get("clerk", session.run)

    through(tmp_path, story, Shed())


def test_sessions_are_found_by_id_and_name_and_belong_to_their_agent(tmp_path: Path) -> None:
    async def story(house: House, sessions: Sessions, session: Session) -> None:
        house.agents.add(AgentSpec(name="other", fn=no_code))
        named = await sessions.get("clerk", "talk-7")
        assert named is not session
        assert await sessions.get("clerk", "talk-7") is named
        assert await sessions.get("clerk", named.run) is named
        assert await sessions.get("other", "talk-7") is not named
        with pytest.raises(SessionUnknown):
            await sessions.get("other", named.run)

    through(tmp_path, story, Shed())


def test_a_held_call_tells_its_caller_which_approval_it_waits_for(tmp_path: Path) -> None:
    shed = Shed()

    def hold() -> Decision:
        return Decision(verdict="hold", rules=("ask",), obligations=(ApprovalObligation(role="lead"),))

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        house.policy.decide["write"] = hold
        with pytest.raises(Held) as first:
            await write(session)
        with pytest.raises(Held) as again:
            await write(session)
        assert first.value.approval.startswith("appr_")
        assert first.value.approval == again.value.approval
        assert house.phases(session.run) == ["run.open", "held"]
        assert not session.is_busy

    through(tmp_path, story, shed)

    assert shed.calls == []


async def think(session: Session, **more: Any) -> Outcome:
    """A model call as it comes over the wire: not said to be a repetition unless `joins` or `key` says so."""
    return await session.perform("model", "model", ARGUMENTS, **{"joins": False, **more})


def test_a_held_model_call_finds_its_decision_when_it_is_simply_made_again(tmp_path: Path) -> None:
    shed = Shed()

    def hold() -> Decision:
        return Decision(verdict="hold", rules=("ask",), obligations=(ApprovalObligation(role="lead"),))

    async def before(house: House, sessions: Sessions, session: Session) -> None:
        house.policy.decide["model"] = hold
        for _ in range(2):
            with pytest.raises(Held):
                await think(session)
        assert house.phases(session.run) == ["run.open", "held"]

    async def after(house: House, sessions: Sessions, session: Session) -> None:
        assert (await think(session)).status == "ok"
        assert house.phases(session.run) == ["run.open", "held", "outcome"]
        assert len({receipt.predicate["step"] for receipt in house.receipts(session.run)[1:]}) == 1
        await think(session)
        assert house.phases(session.run)[-1] == "outcome"

    through(tmp_path, before, shed)
    through(tmp_path, after, shed)

    assert shed.calls == ["model", "model"]


def test_two_callers_of_a_held_model_call_wait_for_one_decision(tmp_path: Path) -> None:
    shed = Shed()

    def hold() -> Decision:
        return Decision(verdict="hold", rules=("ask",), obligations=(ApprovalObligation(role="lead"),))

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        house.policy.decide["model"] = hold
        first = asyncio.create_task(think(session))
        await until(lambda: any(work.parked.is_set() for work in session._works.values()))
        held = await asyncio.gather(first, think(session), return_exceptions=True)
        assert isinstance(held[0], Held)
        assert isinstance(held[1], Held)
        assert held[0].approval == held[1].approval

    through(tmp_path, story, shed)

    assert shed.calls == []


def test_the_same_model_call_made_twice_at_once_is_two_samples(tmp_path: Path) -> None:
    shed = Shed()
    shed.gates["model"] = asyncio.Event()

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        asked = [asyncio.create_task(think(session)) for _ in range(2)]
        await until(lambda: len(shed.calls) == 2)
        shed.gates["model"].set()
        first, second = await asyncio.gather(*asked)
        assert first.receipt != second.receipt

    through(tmp_path, story, shed)


@pytest.mark.parametrize("more", [{"key": "k-1"}, {"joins": True}])
def test_a_model_call_that_failed_may_be_made_again_and_one_that_did_not_is_answered_from_the_record(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    shed = Shed()
    shed.lost = {"model"}

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        assert (await think(session, **more)).status == "failed"
        shed.lost = set()
        assert (await think(session, **more)).status == "ok"
        assert (await think(session, **more)).status == "ok"

    through(tmp_path, story, shed)

    assert shed.calls == ["model", "model"]


def test_a_keyed_write_that_failed_is_not_made_again(tmp_path: Path) -> None:
    shed = Shed()

    async def story(house: House, sessions: Sessions, session: Session) -> None:
        for _ in range(2):
            assert (await write(session, "fail", key="k-1")).status == "failed"

    through(tmp_path, story, shed)

    assert shed.calls == ["fail"]


def test_each_refused_proposal_has_a_receipt_of_its_own_however_alike_they_are(tmp_path: Path) -> None:
    async def story(house: House, sessions: Sessions, session: Session) -> None:
        house.policy.decide["write"] = deny
        refused = await asyncio.gather(*(session.refusal("write", arguments=ARGUMENTS) for _ in range(5)))
        assert len({each.receipt for each in refused if each is not None}) == 5

    through(tmp_path, story, Shed())


def test_a_session_that_is_being_asked_for_does_not_idle_out_before_its_call_comes(tmp_path: Path) -> None:
    async def story(house: House, sessions: Sessions, session: Session) -> None:
        session.last_used -= timedelta(hours=1)
        found = await sessions.get("clerk")
        await sessions.close_idle()
        assert found is session
        assert "run.close" not in house.phases(session.run)

    through(tmp_path, story, Shed())


def test_a_gate_in_a_hurry_answers_who_waits_for_a_person_at_once_and_the_hold_stays(tmp_path: Path) -> None:
    from answerable.core import ApprovalObligation

    shed = Shed()

    def hold() -> Decision:
        return Decision(verdict="hold", rules=("ask",), obligations=(ApprovalObligation(role="lead"),))

    async def run() -> None:
        async with asyncio.timeout(30), office(tmp_path, shed, patience=timedelta(hours=1)) as (house, sessions):
            session = await sessions.get("clerk")
            house.policy.decide["write"] = hold
            waiting = asyncio.create_task(write(session))
            await until(lambda: house.phases(session.run)[-1] == "held")
            sessions.hurry()
            with pytest.raises(Held):
                await waiting
            with pytest.raises(Held):  # and keeps nobody waiting from then on
                await write(session)
            assert house.phases(session.run) == ["run.open", "held"]

    asyncio.run(run())

    assert shed.calls == []
