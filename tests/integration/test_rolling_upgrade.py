"""Workers of one record are replaced one by one, by a later version of Answerable that runs later code of the agents.

The later version is a copy of this one with a further migration. It and this one run side by side as processes, on one
Postgres, and none of the runs under way notices.
"""

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

import answerable
from answerable.app import all_projections
from answerable.core import RunId
from answerable.ledger import Ledger, Reader, compare, join_store
from answerable.ledger._schema import HEAD
from answerable.runtime import Agents, AgentSpec, Run, Runs, find_run
from tests.faults.test_crash_sweep import check_chains
from tests.leash import leash
from tests.postgres import Databases

LEASE = timedelta(seconds=2)
WAVES = ("first", "second", "third")
PATIENCE_S = 120
ROOT = Path(__file__).resolve().parents[2]

OFFICE = '''
"""The clerks of a version."""

import asyncio
import signal
import sqlite3
import sys
from datetime import timedelta
from pathlib import Path

from answerable import Answerable, Run
from answerable.app import Times
from answerable.ledger._schema import HEAD

VERSION = "{version}"
folder = Path(__file__).parent
app = Answerable(data=sys.argv[1], policy=folder / "policy", times=Times(lease=timedelta(seconds={lease_s})))


def note(what: str, letter: str, key: str) -> None:
    books = sqlite3.connect(folder / "books.sqlite3", timeout=30, isolation_level=None)
    books.execute("INSERT INTO effects VALUES (?, ?, ?, ?)", (VERSION, what, letter, key))
    books.close()


@app.tool(effect="write", idempotency="key")
async def file_letter(letter: str, *, key: str) -> str:
    note("filed", letter, key)
    return letter


@app.tool(effect="write", idempotency="key")
async def stamp_letter(letter: str, *, key: str) -> str:
    note("stamped", letter, key)
    return letter


@app.agent
async def steady(run: Run, letter: str) -> str:
    await run.tool(file_letter, letter=letter)
    await run.signal("read")
    await run.tool(stamp_letter, letter=letter)
    return letter


@app.agent(on_change="pin")
async def pinned(run: Run, letter: str) -> str:
    await run.tool({first}, letter=letter)
    await run.signal("read")
    await run.tool({then}, letter=letter)
    return letter


async def main() -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with app.gate():
        print("serving", HEAD, flush=True)
        await over.wait()


asyncio.run(main())
'''
LATER = '''
"""What a later version adds."""

import sqlalchemy as sa
from alembic import op

revision = "9999_since_{head}"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("receipts", sa.Column("note", sa.Text()))
    op.create_table("moods", sa.Column("run", sa.Text(), nullable=False), sa.PrimaryKeyConstraint("run"))
'''


class Workers:
    """Processes of two versions over one record."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._living: list[subprocess.Popen[str]] = []
        (folder / "policy").mkdir()
        (folder / "policy" / "authorize.cedar").write_text('@id("all") permit (principal, action, resource);')
        with closing(sqlite3.connect(folder / "books.sqlite3")) as books:
            books.execute("PRAGMA journal_mode = WAL")
            books.execute("CREATE TABLE effects (version TEXT, what TEXT, letter TEXT, key TEXT PRIMARY KEY)")
        for version, first, then in (("old", "file_letter", "stamp_letter"), ("new", "stamp_letter", "file_letter")):
            code = OFFICE.format(version=version, first=first, then=then, lease_s=LEASE.total_seconds())
            (folder / f"office_{version}.py").write_text(code)
        package = Path(answerable.__file__).parent
        for name in (package.name, "answerable_verify"):
            shutil.copytree(package.parent / name, folder / "later" / name, ignore=shutil.ignore_patterns("_tests"))
        ledger = folder / "later" / "answerable" / "ledger"
        schema = (ledger / "_schema.py").read_text()
        (ledger / "_schema.py").write_text(schema.replace(f'HEAD = "{HEAD}"', f'HEAD = "9999_since_{HEAD}"'))
        (ledger / "_migrations" / "versions" / "9999_later.py").write_text(LATER.format(head=HEAD))

    def start(self, version: str) -> "subprocess.Popen[str]":
        """One more, new to the store; serving when this returns."""
        directory = self._folder / f"worker-{len(list(self._folder.glob('worker-*')))}"
        join_store(directory, self._folder / "desk", enters_log=True)
        source = self._folder / "later" if version == "new" else Path(answerable.__file__).parents[1]
        process = subprocess.Popen(
            [sys.executable, self._folder / f"office_{version}.py", directory],
            env={"PYTHONPATH": str(source), "PATH": "/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=leash(),
        )
        self._living.append(process)
        assert process.stdout is not None
        said = process.stdout.readline().split()
        assert said == ["serving", f"9999_since_{HEAD}" if version == "new" else HEAD]
        return process

    def stop(self, process: "subprocess.Popen[str]", how: signal.Signals = signal.SIGTERM) -> None:
        """End one, in order or not."""
        process.send_signal(how)
        process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()
        self._living.remove(process)

    def end(self) -> None:
        for process in list(self._living):
            self.stop(process, signal.SIGKILL)

    def effects(self) -> list[tuple[str, str, str]]:
        """By which version what was done with which letter, in order."""
        with closing(sqlite3.connect(self._folder / "books.sqlite3", timeout=30)) as books:
            return books.execute("SELECT version, what, letter FROM effects ORDER BY rowid").fetchall()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(tmp_path)
    yield workers
    workers.end()


async def nothing(run: Run, letter: str) -> None:
    """What the desk knows of agents: their names. It advances no run."""


async def until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


@pytest.mark.requirement("RT-1", "RT-5", "OP-1")
@pytest.mark.timeout(PATIENCE_S + 60)
def test_workers_of_two_versions_side_by_side_replace_each_other_one_by_one(
    workers: Workers, postgres: Databases, tmp_path: Path
) -> None:
    known = Agents()
    for name in ("steady", "pinned"):
        known.add(AgentSpec(name=name, fn=nothing))
    url = postgres.server.new_database()  # whose schema this test changes: nobody gets it after

    async def main() -> None:
        desk = Ledger.open(tmp_path / "desk", projections=all_projections(), store=url, lease=LEASE)
        await desk.start()
        runs = Runs(desk, known)

        async def wave(name: str) -> dict[str, RunId]:
            """Two runs of each agent; back when each waits for its signal."""
            letters = {f"{agent} {name} {at}": agent for agent in ("steady", "pinned") for at in (1, 2)}
            before = len(workers.effects())
            begun = {letter: await runs.start(agent, letter) for letter, agent in letters.items()}
            await until(lambda: len(workers.effects()) == before + len(letters), f"{name} is begun")
            return begun

        async def see_through(begun: dict[str, RunId], *which: str) -> None:
            """Have these runs go on, and wait for their end."""
            chosen = {letter: run for letter, run in begun.items() if any(word in letter for word in which)}
            for run in chosen.values():
                await runs.signal(run, "read")

            def are_over() -> bool:
                states = {letter: find_run(desk.reader, run) for letter, run in chosen.items()}
                assert not [state for state in states.values() if state is not None and state.state == "failed"]
                return all(state is not None and state.state == "done" for state in states.values())

            await until(are_over, f"{which} are over")

        one, two = workers.start("old"), workers.start("old")
        first = await wave("first")

        new = workers.start("new")  # and with it the schema goes forward, under those that run
        workers.stop(one)
        await see_through(first, "1")
        second = await wave("second")
        three = workers.start("old")  # the version before starts beside the later one, and its schema
        workers.stop(two, signal.SIGKILL)
        await see_through(first, "2")
        await see_through(second, "1")
        workers.stop(new, signal.SIGKILL)
        new = workers.start("new")
        await see_through(second, "steady second 2")
        theirs = {letter: version for version, _, letter in workers.effects() if letter.startswith("pinned second")}
        await see_through(second, *(letter for letter, version in theirs.items() if letter.endswith("2")))
        workers.stop(three)  # all that its build began is over, or it would have to stay
        third = await wave("third")
        await see_through(third, "third")
        workers.stop(new)
        await desk.close()

    asyncio.run(main())

    done = workers.effects()
    letters = {f"{agent} {name} {at}" for agent in ("steady", "pinned") for name in WAVES for at in (1, 2)}
    assert len(done) == 2 * len(letters)
    for letter in letters:
        steps = [(version, what) for version, what, each in done if each == letter]
        if letter.startswith("pinned"):  # by the code that began it, and nothing of the other's
            orders = {"old": ["filed", "stamped"], "new": ["stamped", "filed"]}
            assert steps == [(steps[0][0], what) for what in orders[steps[0][0]]]
        else:
            assert [what for _, what in steps] == ["filed", "stamped"]
    assert {version for version, _, letter in done if "third" in letter} == {"new"}
    with closing(Reader.open(tmp_path / "desk")) as reader:
        receipts = list(reader.all())
        check_chains([receipt.predicate for receipt in receipts], [receipt.digest for receipt in receipts])
        assert reader.log_size() == len(reader.receipts())
    assert all(table.is_equal for table in compare(tmp_path / "desk", all_projections()))
