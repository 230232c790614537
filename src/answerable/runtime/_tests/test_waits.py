import asyncio
from pathlib import Path
from typing import Any

import pytest

from answerable.core import ApprovalObligation, Decision, Outcome, RunId, StepKey
from answerable.ledger import Draft
from answerable.runtime import Run, RunUnknown
from answerable.runtime._tests.house import House, Shed, until


async def ask(run: Run, given: None) -> Any:
    await run.tool("write", n=1)
    answer = await run.approval("May I?", role="lead")
    await run.tool("write", n=2)
    return answer


def held_until(answer: dict[str, bool]) -> Any:
    hold = Decision(verdict="hold", obligations=(ApprovalObligation(role="lead"),))
    return lambda: Decision(verdict="permit") if answer["yes"] else hold


async def wake(house: House, run: RunId) -> None:
    await house.ledger.append(
        Draft(tenant=house.ledger_tenant, run=run, phase="approval", agent="agent", members={"control": {}}, wake=True)
    )


@pytest.mark.requirement("RT-3")
def test_a_held_call_parks_the_run_and_goes_on_when_it_is_answered(tmp_path: Path) -> None:
    answer = {"yes": False}

    async def main() -> None:
        async with House(tmp_path, Shed()) as house:
            house.policy.decide["approval"] = held_until(answer)
            house.agent(ask)
            run = await house.runs.start("agent")
            assert type(await house.worker.advance(run)).__name__ == "Parked"
            assert type(await house.worker.advance(run)).__name__ == "Parked"
            assert house.phases(run).count("held") == 1

            answer["yes"] = True
            await wake(house, run)
            assert type(await house.worker.advance(run)).__name__ == "Done"

            assert await house.runs.result(run) == {"name": "approval", "got": {"question": "May I?", "role": "lead"}}
            assert list(house.shed.books.values()) == [1, 1, 1]

    asyncio.run(main())


@pytest.mark.requirement("RT-3")
def test_an_answer_that_comes_while_the_run_is_in_memory_is_taken_at_once(tmp_path: Path) -> None:
    answer = {"yes": False}

    async def main() -> None:
        from datetime import timedelta

        async with House(tmp_path, Shed(), linger=timedelta(minutes=5)) as house:
            house.policy.decide["approval"] = held_until(answer)
            house.agent(ask)
            run = await house.runs.start("agent")
            advancing = asyncio.create_task(house.worker.advance(run))
            await until(lambda: "held" in house.phases(run))
            answer["yes"] = True
            await wake(house, run)

            assert type(await advancing).__name__ == "Done"

    asyncio.run(main())


async def lost(run: Run, given: None) -> Any:
    return await run.tool("losewrite")


@pytest.mark.requirement("RT-6", "RT-3")
@pytest.mark.parametrize("happened", [True, False])
def test_a_write_whose_outcome_is_lost_waits_for_a_person_and_is_never_repeated_in_silence(
    tmp_path: Path, happened: bool
) -> None:
    async def main() -> None:
        async with House(tmp_path, Shed()) as house:
            house.agent(lost)
            run = await house.runs.start("agent")
            await house.worker.advance(run)
            await house.worker.advance(run)
            assert house.shed.calls == ["losewrite"]
            step = StepKey(house.receipts(run)[1].predicate["step"])

            await house.runs.resolve(run, step, happened=happened, result="found", by="person:ann", reason="asked")
            answered = await house.worker.advance(run)

            if happened:
                assert type(answered).__name__ == "Done"
                assert await house.runs.result(run) == "found"
                assert house.shed.calls == ["losewrite"]
            else:
                assert house.shed.calls == ["losewrite", "losewrite"]
            with pytest.raises(RunUnknown):
                await house.runs.resolve(run, StepKey("0" * 32), happened=True, by="person:ann", reason="no such step")

    asyncio.run(main())


@pytest.mark.requirement("RT-3")
def test_a_probe_that_finds_the_effect_settles_the_doubt(tmp_path: Path) -> None:
    shed = Shed()
    shed.finding = Outcome(status="ok", value=b'"probed"')

    async def agent(run: Run, given: None) -> Any:
        return await run.tool("probedlose")

    async def main() -> None:
        async with House(tmp_path, shed) as house:
            assert await house.once(agent) == "probed"

    shed.lost.add("probedlose")
    asyncio.run(main())
    assert shed.calls == ["probedlose"]


def test_a_signal_for_a_run_that_ended_is_refused(tmp_path: Path) -> None:
    async def agent(run: Run, given: None) -> int:
        return 1

    async def main() -> None:
        async with House(tmp_path, Shed()) as house:
            await house.once(agent)
            with pytest.raises(RunUnknown):
                await house.runs.signal(house.run, "late")
            with pytest.raises(RunUnknown):
                await house.runs.signal(RunId("run_none"), "late")

    asyncio.run(main())


def test_whoever_asked_is_known_to_policy_in_replay_too(tmp_path: Path) -> None:
    async def agent(run: Run, given: None) -> None:
        await run.signal("go")
        await run.tool("write")

    seen: list[str] = []

    async def main() -> None:
        async with House(tmp_path, Shed()) as house:
            house.agent(agent)
            house.shed.on_execute = lambda step: seen.append(step.action.on_behalf_of)
            run = await house.runs.start("agent", on_behalf_of="person:ann", resources=["order:1"])
            await house.worker.advance(run)
            await house.runs.signal(run, "go")
            await house.worker.advance(run)

            assert seen == ["person:ann"]
            assert "person:ann" not in "".join(one.body.decode() for one in house.receipts(run))

    asyncio.run(main())
