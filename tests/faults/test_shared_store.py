"""Several workers on one Postgres, killed, stopped, cut off, and the server restarted: nothing is lost or doubled."""

import asyncio
import base64
import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import settings

from answerable.core import RunId, StepKey
from answerable.ledger import Ledger, Prepared, Reader, join_store, leaf_hash, metadata, root_hash
from answerable.runtime import Runs, RunsProjection
from tests.faults import _shared_worker
from tests.faults.test_crash_sweep import check_chains
from tests.integration.temporal_server import TemporalServer, temporal_server
from tests.leash import leash
from tests.postgres import Databases

IS_SOAK = settings().max_examples > 1_000
RUNS = 200 if IS_SOAK else 16
TROUBLES = 60 if IS_SOAK else 6
PATIENCE_S = 1200 if IS_SOAK else 150
ROOT = Path(__file__).resolve().parents[2]

_RUNS = metadata.tables["runs"].c
_STATES = Prepared(sa.select(_RUNS.run, _RUNS.state))
_PARKED = Prepared(sa.select(metadata.tables["slices"].c.run).where(metadata.tables["slices"].c.state == "parked"))
_DONE = Prepared(sa.select(sa.func.count()).where(metadata.tables["receipts"].c.once.like("o:%")))


class Fleet:
    """Worker processes, each with a data directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.temporal: TemporalServer | None = None
        self._folder = folder
        self._numbers = itertools.count()
        self.processes: list[subprocess.Popen[bytes]] = []

    def add(self) -> None:
        """Start one more worker, new to the store."""
        directory = self._folder / f"worker-{next(self._numbers)}"
        join_store(directory, self._folder / "desk", enters_log=True)
        command = [sys.executable, "-m", _shared_worker.__name__, str(directory), str(self._folder / "books.sqlite3")]
        command += [self.temporal.address] if self.temporal is not None else []
        with (directory / "said").open("wb") as said:
            self.processes.append(subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, preexec_fn=leash()))

    def check(self) -> None:
        """None of them ended by itself."""
        for process in self.processes:
            assert process.poll() is None, [path.read_text() for path in self._folder.glob("worker-*/said")]

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        """End one in the middle of whatever it does."""
        process.kill()
        process.wait(30)
        self.processes.remove(process)

    def end(self) -> None:
        for process in list(self.processes):
            process.send_signal(signal.SIGCONT)
            self.kill(process)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.end()


@contextlib.asynccontextmanager
async def a_desk(folder: Path, url: str) -> AsyncIterator[tuple[Ledger, Runs]]:
    """A process that starts runs and answers doubts, and advances nothing itself."""
    ledger = Ledger.open(folder / "desk", projections=(RunsProjection(),), store=url, lease=_shared_worker.LEASE)
    await ledger.start()
    try:
        yield ledger, Runs(ledger, _shared_worker.agents())
    finally:
        await ledger.close()


async def answer_doubts(ledger: Ledger, runs: Runs, folder: Path) -> int:
    """A person looks into the books for whatever a parked run is in doubt about, and says what stands there."""
    answered = 0
    for (run,) in ledger.reader.rows(_PARKED):
        history = ledger.reader.history(run)
        for step, intent in history.intents.items():
            if step in history.finals or intent.is_written_off:
                continue
            with closing(_shared_worker.open_books(folder / "books.sqlite3")) as books:
                happened = bool(books.execute("SELECT 1 FROM effects WHERE key = ?", (step,)).fetchone())
            with contextlib.suppress(Exception):  # it was answered by its own late outcome meanwhile
                said: dict[str, Any] = {"result": {"key": step}, "by": "ann", "reason": "looked into the books"}
                await runs.resolve(RunId(run), StepKey(step), happened=happened, **said)
                answered += 1
    return answered


def outcomes(ledger: Ledger) -> int:
    return int(ledger.reader.rows(_DONE)[0][0])


@pytest.mark.requirement("RT-1", "RT-3", "RT-5", "OP-1")
@pytest.mark.timeout(PATIENCE_S + 60)
@pytest.mark.parametrize("engine", ["store", "temporal"])
def test_workers_killed_stopped_and_cut_off_lose_and_double_nothing(
    fleet: Fleet, postgres: Databases, tmp_path: Path, engine: str
) -> None:
    with contextlib.ExitStack() as stack:
        if engine == "temporal":
            (tmp_path / "temporal").mkdir()
            fleet.temporal = stack.enter_context(temporal_server(tmp_path / "temporal"))
        see_through(fleet, postgres, tmp_path)


def see_through(fleet: Fleet, postgres: Databases, tmp_path: Path) -> None:
    """All runs to their end, with every trouble on the way."""
    url = postgres.new()
    kinds: list[Callable[[], None]] = []
    stopped: list[tuple[float, subprocess.Popen[bytes]]] = []

    def kill() -> None:
        fleet.kill(random.choice([each for each in fleet.processes if each not in [p for _, p in stopped]]))
        fleet.add()

    def stop() -> None:
        chosen = random.choice([each for each in fleet.processes if each not in [p for _, p in stopped]])
        os.kill(chosen.pid, signal.SIGSTOP)
        stopped.append((time.monotonic() + 2 * _shared_worker.LEASE.total_seconds(), chosen))

    def cut() -> None:
        postgres.server.cut_connections(url)

    def restart() -> None:
        postgres.server.restart(random.choice([signal.SIGINT, signal.SIGQUIT]))
        if fleet.temporal is not None:
            fleet.temporal.kill()
            fleet.temporal.start()

    async def main() -> None:
        kinds.extend([kill, stop, cut, kill, restart, stop] * (TROUBLES // 6))
        async with asyncio.timeout(PATIENCE_S), a_desk(tmp_path, url) as (ledger, runs):
            for _ in range(3):
                fleet.add()
            names = [await runs.start("clerk", number) for number in range(RUNS)]
            begun = 0
            while True:
                states = dict(ledger.reader.rows(_STATES))
                if all(states[name] != "open" for name in names) and not kinds:
                    break
                for due, process in list(stopped):
                    if time.monotonic() > due:
                        process.send_signal(signal.SIGCONT)
                        stopped.remove((due, process))
                if kinds and outcomes(ledger) >= begun * RUNS * _shared_worker.STEPS // (TROUBLES + 2):
                    kinds.pop(0)()
                    begun += 1
                elif kinds and all(states[name] != "open" for name in names):
                    kinds.pop(0)()
                fleet.check()
                await answer_doubts(ledger, runs, tmp_path)
                await asyncio.sleep(0.05)
            for _, process in stopped:
                process.send_signal(signal.SIGCONT)

            assert set(states.values()) == {"done"}

    asyncio.run(main())
    fleet.end()

    check_books(tmp_path)
    check_record(tmp_path, url)


def check_books(folder: Path) -> None:
    """Every step was done once; what nobody may repeat was not even asked for twice."""
    with closing(_shared_worker.open_books(folder / "books.sqlite3")) as books:
        effects = books.execute("SELECT count(*) FROM effects").fetchone()[0]
        twice = books.execute("SELECT key FROM calls WHERE tool = 'write' GROUP BY key HAVING count(*) > 1").fetchall()
    assert effects == RUNS * _shared_worker.STEPS
    assert twice == []


def check_record(folder: Path, url: str) -> None:
    """One unbroken chain and log, whoever wrote which part of it; the last one to leave entered all of it."""

    async def leave() -> None:
        async with a_desk(folder, url):
            pass

    asyncio.run(leave())
    with closing(Reader.open(folder / "desk")) as reader:
        receipts = list(reader.all())
        check_chains([receipt.predicate for receipt in receipts], [receipt.digest for receipt in receipts])
        finals = [each for each in receipts if each.phase == "outcome"]
        entries = reader.entries()
        _, size, root, *_ = reader.checkpoint().split("\n")
        assert len(finals) == RUNS * _shared_worker.STEPS
        assert int(size) == len(entries) == len(reader.receipts())
        assert base64.b64decode(root) == root_hash([leaf_hash(entry) for entry in entries])
        assert [receipt.position for receipt in receipts] == list(range(1, len(receipts) + 1))
