"""Three workers on one Postgres, killed, stopped, cut off, their clocks set, and servers restarted: nothing is lost.

Small on every change; with 200 runs of 20 steps, and a trouble for every 50 of them, in `make soak`.
"""

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
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from answerable.core import RunId, StepKey
from answerable.ledger import Ledger, Prepared, Reader, join_store, leaf_hash, metadata, root_hash
from answerable.runtime import Runs, RunsProjection, TimersProjection
from tests.faults import _shared_worker
from tests.faults.test_crash_sweep import check_chains
from tests.integration.temporal_server import TemporalServer, temporal_server
from tests.leash import leash
from tests.postgres import Databases, Server
from tests.soak import IS_SOAK

RUNS, STEPS = (200, 20) if IS_SOAK else (12, 6)
TROUBLES = 80 if IS_SOAK else 8
JUMP_S = 60 if IS_SOAK else 2
PATIENCE_S = 3000 if IS_SOAK else 200
ROOT = Path(__file__).resolve().parents[2]

_RUNS = metadata.tables["runs"].c
_STATES = Prepared(sa.select(_RUNS.run, _RUNS.state))
_PARKED = Prepared(sa.select(metadata.tables["slices"].c.run).where(metadata.tables["slices"].c.state == "parked"))
_UNFINISHED = Prepared(sa.select(metadata.tables["slices"]).where(metadata.tables["slices"].c.state != "closed"))
_DONE = Prepared(sa.select(sa.func.count()).where(metadata.tables["receipts"].c.once.like("o:%")))


class Fleet:
    """Worker processes, each with a data directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.temporal: TemporalServer | None = None
        self.lease_s = _shared_worker.LEASE.total_seconds()
        self._folder = folder
        self._numbers = itertools.count()
        self.processes: list[subprocess.Popen[bytes]] = []

    def add(self, directory: Path | None = None) -> None:
        """Start one more worker: new to the store, or where one was before."""
        if directory is None:
            directory = self._folder / f"worker-{next(self._numbers)}"
            join_store(directory, self._folder / "desk", enters_log=True)
        command = [sys.executable, "-m", _shared_worker.__name__, str(directory), str(self._folder / "books.sqlite3")]
        command.append(str(self.lease_s))
        command += [self.temporal.address] if self.temporal is not None else []
        with (directory / "said").open("wb") as said:
            self.processes.append(subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, preexec_fn=leash()))

    def set_clock(self, process: "subprocess.Popen[bytes]", ahead_s: int) -> None:
        """Have one of them take it for so much later."""
        assert isinstance(process.args, list)
        (Path(process.args[3]) / "ahead").write_text(str(ahead_s))

    def check(self) -> None:
        """None of them ended by itself; one whose start met a server that was away is started again."""
        for process in [each for each in self.processes if each.poll() is not None]:
            assert isinstance(process.args, list)
            said = (Path(process.args[3]) / "said").read_text()
            assert "serving" not in said, said
            assert "StoreUnreachable" in said, said
            self.processes.remove(process)
            self.add()

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
    ledger = Ledger.open(
        folder / "desk", projections=(RunsProjection(), TimersProjection()), store=url, lease=_shared_worker.LEASE
    )
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
    fleet: Fleet, postgres: Databases, tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: str
) -> None:
    with contextlib.ExitStack() as stack:
        if engine == "temporal":
            (tmp_path / "temporal").mkdir()
            fleet.temporal = stack.enter_context(temporal_server(tmp_path / "temporal"))
        trouble = Trouble(fleet, postgres.server, postgres.new())
        began = time.monotonic()
        doubts = asyncio.run(see_through(trouble, tmp_path))
        fleet.end()

        calls = check_books(tmp_path, doubts)
        check_record(tmp_path, trouble.url)

    if IS_SOAK:
        with capsys.disabled():
            said = ", ".join(f"{count} x {what}" for what, count in sorted(trouble.done.items()))
            print(f"\n{engine}: {RUNS} runs of {STEPS} steps in {time.monotonic() - began:.0f} s; {said};", calls)  # noqa: T201


class Trouble:
    """Everything that may befall a fleet, in turn."""

    def __init__(self, fleet: Fleet, server: Server, url: str) -> None:
        self.url = url
        self.done: Counter[str] = Counter()
        self.fleet, self._server = fleet, server
        self._stopped: list[tuple[float, subprocess.Popen[bytes]]] = []
        every = [self.kill, self.stop, self.cut, self.set_clock, self.restart_database, self.kill, self.stop]
        every.append(self.set_clock if fleet.temporal is None else self.restart_temporal)
        self._left = itertools.islice(itertools.cycle(every), TROUBLES)
        self.made = 0

    @property
    def is_over(self) -> bool:
        return self.made == TROUBLES

    def make(self) -> None:
        """The next one."""
        trouble = next(self._left)
        self.made += 1
        self.done[trouble.__name__] += 1
        trouble()

    def kill(self) -> None:
        self.fleet.kill(self._awake())
        self.fleet.add()

    def stop(self) -> None:
        chosen = self._awake()
        os.kill(chosen.pid, signal.SIGSTOP)
        self._stopped.append((time.monotonic() + 2 * _shared_worker.LEASE.total_seconds(), chosen))

    def cut(self) -> None:
        self._server.cut_connections(self.url)

    def set_clock(self) -> None:
        self.fleet.set_clock(self._awake(), random.choice([-JUMP_S, 0, JUMP_S]))

    def restart_database(self) -> None:
        self._server.restart(random.choice([signal.SIGINT, signal.SIGQUIT]))

    def restart_temporal(self) -> None:
        assert self.fleet.temporal is not None
        self.fleet.temporal.kill()
        self.fleet.temporal.start()

    def wake(self, *, all_of_them: bool = False) -> None:
        """Let those go on that stood still for longer than their lease."""
        for due, process in list(self._stopped):
            if all_of_them or time.monotonic() > due:
                process.send_signal(signal.SIGCONT)
                self._stopped.remove((due, process))

    def _awake(self) -> "subprocess.Popen[bytes]":
        asleep = [process for _, process in self._stopped]
        awake = [each for each in self.fleet.processes if each not in asleep]
        if not awake:
            self.wake(all_of_them=True)
        return random.choice(awake or self.fleet.processes)


async def see_through(trouble: Trouble, folder: Path) -> int:
    """All runs to their end, with every trouble on the way; how many doubts a person was asked about comes back."""
    doubts = 0
    async with a_desk(folder, trouble.url) as (ledger, runs):
        for _ in range(3):
            trouble.fleet.add()
        names = [await runs.start("clerk", STEPS) for _ in range(RUNS)]
        give_up = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < give_up, f"after {trouble.done}: {ledger.reader.rows(_UNFINISHED)}"
            states = dict(ledger.reader.rows(_STATES))
            are_over = all(states[name] != "open" for name in names)
            if are_over and trouble.is_over:
                break
            trouble.wake()
            is_due = outcomes(ledger) >= trouble.made * RUNS * STEPS // (TROUBLES + 2)
            if not trouble.is_over and (is_due or are_over):
                trouble.make()
            trouble.fleet.check()
            doubts += await answer_doubts(ledger, runs, folder)
            await asyncio.sleep(0.05)
        trouble.wake(all_of_them=True)

        assert set(states.values()) == {"done"}
    return doubts


def check_books(folder: Path, doubts: int) -> str:
    """Every step was done once; what nobody may repeat was not even asked for twice. What was done comes back."""
    writes = sum(_shared_worker.TOOLS[step % len(_shared_worker.TOOLS)] != "read" for step in range(STEPS))
    with closing(_shared_worker.open_books(folder / "books.sqlite3")) as books:
        effects = books.execute("SELECT count(*) FROM effects").fetchone()[0]
        calls = dict(books.execute("SELECT tool, count(*) FROM calls GROUP BY tool"))
        twice = books.execute("SELECT key FROM calls WHERE tool = 'write' GROUP BY key HAVING count(*) > 1").fetchall()
    assert effects == RUNS * writes
    assert twice == []
    return f"{effects} effects, 0 lost, 0 doubled; calls {calls}; {doubts} doubts answered by a person"


def check_record(folder: Path, url: str, steps: int = RUNS * STEPS) -> None:
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
        assert len(finals) == steps
        assert int(size) == len(entries) == len(reader.receipts())
        assert base64.b64decode(root) == root_hash([leaf_hash(entry) for entry in entries])
        assert [receipt.position for receipt in receipts] == list(range(1, len(receipts) + 1))
