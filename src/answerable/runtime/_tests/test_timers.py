"""The table of timers follows from receipts."""

import asyncio
from pathlib import Path

import pytest

from answerable.core import RunId, StepKey, TenantId
from answerable.ledger import Draft, Ledger, rebuild
from answerable.runtime import TimersProjection, list_timers

RUN, DUE = RunId("run_1"), "2030-01-01T00:00:00.000000Z"


def a_timer(step: str, state: str) -> Draft:
    return Draft(
        tenant=TenantId("default"),
        run=RUN,
        phase="timer",
        agent="sleeper",
        step=StepKey(step),
        members={"control": {"state": state, "due": DUE}},
    )


@pytest.mark.requirement("RT-2")
def test_a_timer_stands_from_being_set_until_it_fires_or_its_run_ends(tmp_path: Path) -> None:
    async def body() -> list[list[str]]:
        ledger = Ledger.open(tmp_path, projections=[TimersProjection()])
        await ledger.start()
        seen = []
        for draft in (a_timer("1", "set"), a_timer("2", "set"), a_timer("1", "fired")):
            await ledger.append(draft)
            seen.append([str(timer.step) for timer in list_timers(ledger.reader, RUN)])
        await ledger.close()
        return seen

    assert asyncio.run(body()) == [["1"], ["1", "2"], ["2"]]
    assert all(table.is_equal for table in rebuild(tmp_path, [TimersProjection()]))
