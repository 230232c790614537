"""A schedule starts each due time once; what passed while no gate ran is caught up with as it says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable.ledger import rebuild
from answerable.runtime import (
    Parked,
    Run,
    RunsProjection,
    Schedule,
    ScheduleInvalid,
    Schedules,
    SchedulesProjection,
    ScheduleUnknown,
    list_runs,
    list_schedules,
)
from answerable.runtime._tests.house import House, Shed

pytestmark = pytest.mark.requirement("RT-2")

HOURLY = timedelta(hours=1)


class StillClock:
    def __init__(self) -> None:
        self.moment = datetime(2026, 3, 28, 9, 30, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic_s(self) -> float:
        return self.moment.timestamp()


async def reporter(run: Run, given: Any) -> Any:
    return given


@contextlib.asynccontextmanager
async def office(directory: Path, clock: StillClock, **rule: Any) -> AsyncIterator[tuple[House, Schedules]]:
    async with House(directory, Shed(), projections=(SchedulesProjection(),), clock=clock) as house:
        house.agent(reporter, name="reporter")
        schedule = Schedule(name="report", agent="reporter", given="daily", **rule)
        schedules = Schedules(house.ledger, house.runs, [schedule])
        await schedules.start()
        yield house, schedules


def due_times(house: House) -> list[str]:
    opened = [house.ledger.reader.opened(row.run) for row in list_runs(house.ledger.reader)]
    return sorted(each["control"]["schedule"]["due"][11:16] for each in opened)


def test_each_due_time_starts_one_run_however_often_it_is_looked_for(tmp_path: Path) -> None:
    clock = StillClock()

    async def story() -> None:
        async with office(tmp_path, clock, every=HOURLY) as (house, schedules):
            assert await schedules.look() == clock.moment + HOURLY
            clock.moment += HOURLY
            for _ in range(3):
                await schedules.look()
            assert due_times(house) == ["10:30"]
        async with office(tmp_path, clock, every=HOURLY) as (house, schedules):
            await schedules.look()
            clock.moment += HOURLY
            await schedules.look()
            assert due_times(house) == ["10:30", "11:30"]
            said = house.receipts(list_runs(house.ledger.reader)[0].run)[0].predicate
            assert said["onBehalfOf"] == house.ledger.pseudonym(house.ledger_tenant, "schedule:report")

    asyncio.run(story())
    assert all(table.is_equal for table in rebuild(tmp_path, [SchedulesProjection(), RunsProjection()]))


@pytest.mark.parametrize(
    ("catch_up", "started"),
    [("one", ["14:30"]), ("all", ["10:30", "11:30", "12:30", "13:30", "14:30"]), ("none", [])],
)
def test_what_was_due_while_no_gate_ran_is_caught_up_with_as_declared(
    tmp_path: Path, catch_up: Any, started: list[str]
) -> None:
    clock = StillClock()

    async def story() -> None:
        async with office(tmp_path, clock, every=HOURLY, catch_up=catch_up):
            pass
        clock.moment += timedelta(hours=5, minutes=20)
        async with office(tmp_path, clock, every=HOURLY, catch_up=catch_up) as (house, schedules):
            for _ in range(2):
                assert await schedules.look() == datetime(2026, 3, 28, 15, 30, tzinfo=UTC)
            assert due_times(house) == started
            passed = [
                receipt.predicate["control"]["schedule"]["passedOver"]
                for receipt in house.ledger.reader.receipts()
                if "passedOver" in receipt.predicate.get("control", {}).get("schedule", {})
            ]
            assert sum(passed) == 5 - len(started), "what is passed over stands on the record"

    asyncio.run(story())
    assert all(table.is_equal for table in rebuild(tmp_path, [SchedulesProjection()]))


def test_one_that_cannot_be_started_keeps_no_other_from_its_time(tmp_path: Path) -> None:
    clock = StillClock()

    async def story() -> None:
        async with office(tmp_path, clock, every=HOURLY) as (house, _):
            broken = Schedule(name="a-broken-one", agent="nobody", every=HOURLY)
            works = Schedule(name="report", agent="reporter", given="daily", every=HOURLY)
            both = Schedules(house.ledger, house.runs, [broken, works])
            await both.start()
            clock.moment += HOURLY
            await both.look()
            assert due_times(house) == ["10:30"]

    asyncio.run(story())


def test_a_run_sleeps_for_days_as_a_row_and_goes_on_when_they_are_over(tmp_path: Path) -> None:
    clock = StillClock()

    async def patient(run: Run, given: Any) -> list[str]:
        before = run.now()
        await run.sleep(timedelta(days=3))
        return [before.isoformat()[:10], run.now().isoformat()[:10]]

    async def begin() -> Any:
        async with House(tmp_path, Shed(), clock=clock) as house:
            house.agent(patient)
            run = await house.runs.start("agent")
            assert await house.worker.advance(run) == Parked(clock.moment + timedelta(days=3))
            return run

    async def end(run: Any) -> None:
        async with House(tmp_path, Shed(), clock=clock) as house:
            house.agent(patient)
            house.serve()
            assert await house.runs.result(run) == ["2026-03-28", "2026-03-31"]

    run = asyncio.run(begin())
    clock.moment += timedelta(days=3, hours=1)
    asyncio.run(end(run))


def test_a_calendar_follows_the_clock_of_its_place(tmp_path: Path) -> None:
    clock = StillClock()  # the day before Berlin goes to summer time

    async def story() -> None:
        async with office(tmp_path, clock, cron="0 9 * * *", timezone="Europe/Berlin") as (_, schedules):
            assert await schedules.look() == datetime(2026, 3, 29, 7, 0, tzinfo=UTC)

    asyncio.run(story())


def test_a_schedule_that_is_changed_counts_from_then(tmp_path: Path) -> None:
    clock = StillClock()

    async def story() -> None:
        async with office(tmp_path, clock, every=HOURLY):
            pass
        clock.moment += timedelta(hours=5)
        async with office(tmp_path, clock, every=2 * HOURLY) as (house, schedules):
            assert await schedules.look() == clock.moment + 2 * HOURLY
            assert due_times(house) == []

    asyncio.run(story())


@pytest.mark.requirement("RT-4")
def test_a_paused_schedule_starts_nothing_and_a_resumed_one_what_is_due_from_then_on(tmp_path: Path) -> None:
    clock = StillClock()

    async def story() -> None:
        async with office(tmp_path, clock, every=HOURLY, catch_up="all") as (house, schedules):
            await schedules.pause("report", by="person:dana", reason="holidays")
            clock.moment += timedelta(hours=3)
            assert await schedules.look() is None
            (row,) = list_schedules(house.ledger.reader)
            assert row.state == "paused"
            await schedules.resume("report", by="person:dana", reason="back")
            await schedules.look()
            assert due_times(house) == []
            clock.moment += HOURLY
            await schedules.look()
            assert due_times(house) == ["13:30"]
            with pytest.raises(ScheduleUnknown):
                await schedules.pause("nothing", by="d", reason="r")

    asyncio.run(story())


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"every": HOURLY, "cron": "0 9 * * *"},
        {"cron": "0 25 * * *"},
        {"cron": "0 9 * * *", "timezone": "Mars/North"},
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused_when_it_is_declared(rule: dict[str, Any]) -> None:
    with pytest.raises(ScheduleInvalid):
        Schedule(name="report", agent="reporter", **rule)
