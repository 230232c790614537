"""A commit whose answer is lost: the store says whether it went through, also to a worker that lost its lease."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from answerable.core import RunId, TenantId
from answerable.ledger import Appended, Draft, Ledger, Reader, Slice, join_store
from answerable.ledger._many import MARK
from tests.faults.test_crash_sweep import check_chains
from tests.lossy import Lossy
from tests.postgres import Databases

pytestmark = [pytest.mark.requirement("RT-1", "RT-3", "OP-1"), pytest.mark.timeout(120)]
TENANT = TenantId("default")


def draft(number: int, phase: str = "run.open") -> Draft:
    return Draft(tenant=TENANT, run=RunId(f"run_{number}"), phase=phase, agent="clerk")  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def a_worker(folder: Path, url: str) -> AsyncIterator[Ledger]:
    ledger = Ledger.open(folder / "data", store=url, lease=timedelta(seconds=1))
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.close()


def end_all_leases(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE workers SET until = ''")


def test_what_a_worker_wrote_before_it_lost_way_and_lease_is_not_written_again(
    tmp_path: Path, postgres: Databases
) -> None:
    url = postgres.new()
    way_there = url.replace(str(postgres.server.directory), str(tmp_path))

    async def main() -> Appended:
        async with a_worker(tmp_path, way_there) as ledger:
            await ledger.append(draft(1))
            taken = await ledger.leases.claim(RunId("run_1"))
            assert isinstance(taken, Slice)
            way.lose_next_commit()
            appending = asyncio.ensure_future(ledger.append(draft(2)))
            await asyncio.to_thread(way.lost.wait, 60)
            await asyncio.to_thread(end_all_leases, url)
            way.open()

            appended = await appending
            late = Draft(tenant=TENANT, run=RunId("run_1"), phase="control", agent="clerk", fence=taken.fence)
            assert (await ledger.append(late)).status == "stale"
            await ledger.append(draft(3))
            return appended

    with Lossy(tmp_path, postgres.server.directory, b"\0" + MARK.postgres.name + b"\0") as way:
        appended = asyncio.run(main())

        assert appended.status == "ok"
        with contextlib.closing(Reader.open(tmp_path / "data")) as reader:
            said = [each.predicate for each in reader.all()]
            assert [each["run"] for each in said if each["phase"] == "run.open"] == ["run_1", "run_2", "run_3"]
            check_chains(said, [each.digest for each in reader.all()])


def test_a_run_that_another_worker_takes_while_it_is_claimed_belongs_to_one_of_them(
    tmp_path: Path, postgres: Databases
) -> None:
    url = postgres.new()

    async def main() -> None:
        async with a_worker(tmp_path, url) as one:
            join_store(tmp_path / "other" / "data", tmp_path / "data")
            async with a_worker(tmp_path / "other", url) as other:
                await one.append(draft(1))
                taken: list[RunId] = []

                def admit(tx: object, run: RunId) -> bool:  # asked when it was seen to be free, and before it is taken
                    taken.extend(other.leases.take(10))
                    return True

                claimed = await one.leases.claim(RunId("run_1"), admit=admit)

                assert taken == []
                assert isinstance(claimed, Slice)
                assert not isinstance(await other.leases.claim(RunId("run_1")), Slice)

    asyncio.run(main())


def test_a_run_that_is_due_again_before_its_park_is_known_to_be_on_disk_goes_on(
    tmp_path: Path, postgres: Databases
) -> None:
    url = postgres.new()

    async def main() -> None:
        async with a_worker(tmp_path, url) as one:
            await one.append(draft(1))
            first = await one.leases.claim(RunId("run_1"))
            assert isinstance(first, Slice)
            taken: list[RunId] = []

            def take() -> None:
                with psycopg.connect(url, autocommit=True) as connection:
                    while connection.execute("SELECT state FROM slices WHERE run = 'run_1'").fetchone() != ("parked",):
                        pass
                taken.extend(one.leases.take(10))

            parking = one.leases.park(first, one.clock.now())
            one.writer.submit(lambda tx: asyncio.get_running_loop().call_soon(take))
            await parking
            second = await one.leases.claim(RunId("run_1"))

            assert taken == ["run_1"]
            assert isinstance(second, Slice)
            late = Draft(tenant=TENANT, run=RunId("run_1"), phase="control", agent="clerk", fence=second.fence)
            assert (await one.append(late)).status == "ok"

    asyncio.run(main())
