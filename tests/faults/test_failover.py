"""A standby takes over from a Postgres that crashed: with synchronous replication nothing is lost or even in doubt."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from answerable.core import RunId, TenantId
from answerable.ledger import Draft, Ledger, StoreWentBack, join_store
from tests.faults import _shared_worker
from tests.faults.test_shared_store import (
    _STATES,
    Fleet,
    a_desk,
    answer_doubts,
    check_record,
    fleet,
    outcomes,
)
from tests.postgres import Server, running_server
from tests.soak import IS_SOAK
from tests.standby import drop, promote, standby_of, stop_receiving, synchronously

__all__ = ["fleet"]

RUNS, STEPS = (50, 20) if IS_SOAK else (6, 6)
PATIENCE_S = 900 if IS_SOAK else 150
LEASE_S = 60.0  # longer than a failover takes

pytestmark = [pytest.mark.requirement("RT-1", "RT-3", "OP-1"), pytest.mark.timeout(PATIENCE_S + 60)]


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server]]:
    """A server, and its standby."""
    primary = running_server()
    standby = standby_of(primary)
    yield primary, standby
    drop(standby, primary)


def both(primary: Server, standby: Server) -> str:
    """The address of a new record that names both hosts."""
    return primary.new_database().replace(str(primary.directory), f"{primary.directory},{standby.directory}")


def test_workers_follow_to_a_promoted_standby_with_nothing_lost_and_no_doubt(
    fleet: Fleet, pair: tuple[Server, Server], tmp_path: Path
) -> None:
    primary, standby = pair
    synchronously(primary)
    fleet.lease_s = LEASE_S
    url = both(primary, standby)

    async def main() -> int:
        doubts, is_over = 0, False
        async with a_desk(tmp_path, url) as (ledger, runs):
            for _ in range(3):
                fleet.add()
            names = [await runs.start("clerk", STEPS) for _ in range(RUNS)]
            give_up = time.monotonic() + PATIENCE_S
            while any(dict(ledger.reader.rows(_STATES))[name] == "open" for name in names):
                assert time.monotonic() < give_up
                if not is_over and outcomes(ledger) >= RUNS * STEPS // 3:
                    is_over = True
                    primary.stop(signal.SIGQUIT)
                    promote(standby)
                fleet.check()
                doubts += await answer_doubts(ledger, runs, tmp_path)
                await asyncio.sleep(0.05)
            assert is_over
            assert set(dict(ledger.reader.rows(_STATES)).values()) == {"done"}
        return doubts

    doubts = asyncio.run(main())
    fleet.end()

    assert doubts == 0
    with closing(_shared_worker.open_books(tmp_path / "books.sqlite3")) as books:
        effects = books.execute("SELECT count(*) FROM effects").fetchone()[0]
        calls = books.execute("SELECT count(*) FROM calls WHERE tool != 'read'").fetchone()[0]
        assert effects == calls == RUNS * sum(_shared_worker.TOOLS[n % 3] != "read" for n in range(STEPS))
    check_record(tmp_path, url, RUNS * STEPS)


def test_a_standby_that_had_not_received_everything_is_not_written_on(
    pair: tuple[Server, Server], tmp_path: Path
) -> None:
    primary, standby = pair
    url = both(primary, standby)

    def draft(number: int) -> Draft:
        return Draft(tenant=TenantId("default"), run=RunId(f"run_{number}"), phase="run.open", agent="clerk")

    async def main() -> None:
        one = Ledger.open(tmp_path / "one", store=url, lease=timedelta(seconds=LEASE_S))
        await one.start()
        join_store(tmp_path / "two", tmp_path / "one")
        two = Ledger.open(tmp_path / "two", store=url, lease=timedelta(seconds=LEASE_S))
        await two.start()
        await two.append(draft(1))
        await one.append(draft(2))  # the last that the standby receives
        await asyncio.to_thread(stop_receiving, standby)
        await one.append(draft(3))
        await one.append(draft(4))
        await asyncio.to_thread(primary.stop, signal.SIGQUIT)
        await asyncio.to_thread(promote, standby)

        for number in range(5, 12):  # it has not heard of what was lost: past where the other one stood
            await two.append(draft(number))
        for number in (12, 13):
            with pytest.raises(StoreWentBack):
                await one.append(draft(number))
        await two.close()
        await one.close()

    asyncio.run(main())
