"""Leases: one slice at a time, no wake lost."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from answerable.core import RunId, SystemClock
from answerable.ledger import Again, Busy, Draft, Gone, Ledger, Parked, Slice, Stale
from answerable.ledger._tests.conftest import TENANT, a_run

WithLedger = Callable[[Callable[[Ledger], Awaitable[None]]], None]


async def signal(ledger: Ledger, run: RunId) -> None:
    await ledger.append(
        Draft(tenant=TENANT, run=run, phase="signal", agent="x", members={"control": {"name": "go"}}, wake=True)
    )


def test_a_leased_run_is_busy_and_a_released_one_is_free(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, taken, _ = await a_run(ledger)
        busy = await ledger.leases.claim(run)
        await ledger.leases.release(taken)
        again = await ledger.leases.claim(run)

        assert isinstance(busy, Busy)
        assert isinstance(again, Slice)
        assert again.fence == taken.fence + 1

    with_ledger(body)


@pytest.mark.requirement("RT-2")
def test_a_wake_between_last_read_and_park_is_not_lost(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, taken, _ = await a_run(ledger)
        await signal(ledger, run)

        again = await ledger.leases.park(taken, None)
        assert isinstance(again, Again)
        parked = await ledger.leases.park(again.slice, None)

        assert isinstance(parked, Parked)
        assert ledger.leases.unserved(10) == []

    with_ledger(body)


def test_a_parked_run_is_unserved_when_woken_or_due(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        woken, first, _ = await a_run(ledger)
        due, second, _ = await a_run(ledger)
        _, third, _ = await a_run(ledger)
        now = SystemClock().now()
        await ledger.leases.park(first, None)
        await ledger.leases.park(second, now - timedelta(seconds=1))
        await ledger.leases.park(third, now + timedelta(hours=1))
        told: list[str] = []

        def listen(runs: Sequence[str]) -> None:
            told.extend(runs)

        ledger.leases.listen(listen)
        await signal(ledger, woken)

        assert told == [woken]
        assert set(ledger.leases.unserved(10)) == {woken, due}
        assert ledger.leases.next_due() is not None

    with_ledger(body)


@pytest.mark.requirement("RT-1", "OP-1")
def test_a_run_that_is_left_to_other_code_is_given_to_whoever_has_it_and_hides_no_other(
    with_ledger: WithLedger,
) -> None:
    async def body(ledger: Ledger) -> None:
        pinned, taken, _ = await a_run(ledger)
        other, second, _ = await a_run(ledger)
        await ledger.leases.leave(taken, "sha256:old")
        await ledger.leases.release(second)
        found = {}
        for serves in ("", "|sha256:new|", "|sha256:new|sha256:old|", "|clerk|", "|nobody|"):
            ledger.leases.serves = serves
            found[serves] = set(ledger.leases.unserved(10))
        ledger.leases.serves = "|sha256:new|"

        assert found.pop("|sha256:new|") == found.pop("|nobody|") == {other} == set(ledger.leases.unserved(1))
        assert set(map(frozenset, found.values())) == {frozenset({pinned, other})}

    with_ledger(body)


def test_a_finished_or_unknown_run_is_gone(with_ledger: WithLedger) -> None:
    async def body(ledger: Ledger) -> None:
        run, taken, _ = await a_run(ledger)
        await ledger.append(Draft(tenant=TENANT, run=run, phase="run.close", agent="x", once=f"c:{run}"))
        await signal(ledger, run)

        assert isinstance(await ledger.leases.claim(run), Gone)
        assert isinstance(await ledger.leases.claim(RunId("run_none")), Gone)
        assert isinstance(await ledger.leases.park(taken, None), Stale)

    with_ledger(body)


@pytest.mark.requirement("RT-1")
def test_taking_the_directory_ends_all_earlier_leases(tmp_path: Path) -> None:
    async def crash() -> RunId:
        ledger = Ledger.open(tmp_path)
        await ledger.start()
        run, _, _ = await a_run(ledger)
        await ledger.close()
        return run

    async def after(run: RunId) -> list[RunId]:
        ledger = Ledger.open(tmp_path)
        await ledger.start()
        unserved = ledger.leases.unserved(10)
        await ledger.close()
        return unserved

    run = asyncio.run(crash())

    assert asyncio.run(after(run)) == [run]
