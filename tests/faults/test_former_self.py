"""A gate that is started again where it died goes on with its runs at once; one on a copy of its directory does not."""

import asyncio
import shutil
import time
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from answerable.ledger import Ledger, Prepared, metadata
from answerable.runtime import RunsProjection, TimersProjection
from tests.faults.test_shared_store import Fleet, a_desk, answer_doubts, check_record, fleet
from tests.postgres import Databases

__all__ = ["fleet"]

PATIENCE_S = 90
LEASE_S = 3600.0  # nobody in this test would live to see it end

_SLICES = metadata.tables["slices"].c
_HELD = Prepared(sa.select(_SLICES.run).where(_SLICES.state == "leased"))
_OPEN = Prepared(sa.select(_SLICES.run).where(_SLICES.state != "closed"))

pytestmark = [pytest.mark.requirement("RT-1", "OP-1"), pytest.mark.timeout(2 * PATIENCE_S)]


def test_a_gate_that_was_killed_takes_its_own_runs_up_at_once_and_one_on_a_copy_leaves_them_alone(
    fleet: Fleet, postgres: Databases, tmp_path: Path
) -> None:
    fleet.lease_s = LEASE_S
    url, runs_of, steps = postgres.new(), 3, 9

    async def main() -> None:
        give_up = time.monotonic() + PATIENCE_S
        async with a_desk(tmp_path, url) as (ledger, runs):
            fleet.add()
            for _ in range(runs_of):
                await runs.start("clerk", steps)
            while not ledger.reader.rows(_HELD):
                assert time.monotonic() < give_up
                await asyncio.sleep(0.01)

            (first,) = fleet.processes
            assert isinstance(first.args, list)
            directory = Path(first.args[3])
            shutil.copytree(directory, tmp_path / "copy")
            fleet.kill(first)
            held = set(ledger.reader.rows(_HELD))
            copy = Ledger.open(
                tmp_path / "copy", projections=(RunsProjection(), TimersProjection()), lease=timedelta(seconds=LEASE_S)
            )
            await copy.start()
            await copy.settled()
            await copy.close()
            assert held
            assert set(ledger.reader.rows(_HELD)) == held, "what the copy's lock says is not of that process"

            fleet.add(directory)
            while ledger.reader.rows(_OPEN):
                assert time.monotonic() < give_up, ledger.reader.rows(_OPEN)
                fleet.check()
                await answer_doubts(ledger, runs, tmp_path)
                await asyncio.sleep(0.05)

    asyncio.run(main())
    fleet.end()
    check_record(tmp_path, url, runs_of * steps)
