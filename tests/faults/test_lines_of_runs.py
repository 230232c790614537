"""SIGKILL anywhere in a line of runs: delegated, handed over, gone on as new, forked, rolled back.

Every life is a process of its own, which goes on from what is on disk. The books that the tools write to
are a file beside the store, so they know of every effect that took place.
"""

import asyncio
import contextlib
import hashlib
import itertools
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from answerable import Answerable, Limits, Run
from answerable.app import Gate, all_projections
from answerable.core import AnswerableError, FaultPoint, RunId, arm
from answerable.ledger import Reader, export_bundle, rebuild, write_trust
from answerable.runtime import list_runs
from tests.conformance.second_opinion import verify
from tests.soak import IS_SOAK

_PATIENCE_S = 25
_POLICY = '@id("all") permit (principal, action, resource);'
_EFFECTS = [1, 2, 3, 4, 5]


class Books:
    """What the outside world saw: one line an effect."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self) -> list[tuple[str, int, str]]:
        text = self._path.read_text() if self._path.exists() else ""
        return [(name, int(n), key) for name, n, key in (line.split() for line in text.splitlines())]

    def write(self, name: str, n: int, key: str) -> None:
        if (name, n, key) in self.lines():
            return  # the tools honour their key
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, f"{name} {n} {key}\n".encode())
        os.close(handle)


def build(directory: Path) -> Answerable:
    (directory / "policy").mkdir(exist_ok=True)
    (directory / "policy" / "authorize.cedar").write_text(_POLICY)
    app = Answerable(data=directory / "data", policy=directory / "policy")
    books = Books(directory / "books")

    @app.tool(effect="write", idempotency="key", compensate="cancel", name="book")
    async def book(n: int, *, key: str) -> int:
        books.write("book", n, key)
        return n

    @app.tool(effect="write", idempotency="key", name="cancel")
    async def cancel(n: int, *, key: str) -> int:
        books.write("cancel", n, key)
        return n

    @app.agent
    async def boss(run: Run, given: int) -> None:
        await run.shared.set("plan", given)
        await run.tool(book, n=given)
        await run.delegate("helper", given + 1)
        await run.sleep(0.02)
        await run.hand_over("closer", given + 2)

    @app.agent
    async def helper(run: Run, given: int) -> int:
        await run.tool(book, n=given)
        await run.sleep(0.02)
        return given

    @app.agent(limits=Limits(depth=9))
    async def closer(run: Run, given: int) -> str:
        await run.tool(book, n=given)
        if given < len(_EFFECTS):
            await run.continue_as_new(given + 1)
        plan = await run.shared.get("plan")
        assert plan is not None
        return f"plan {plan.value} is done"

    return app


async def live(directory: Path) -> None:
    """One life: everything is asked for by key, so that what an earlier life did is found again."""
    async with asyncio.timeout(_PATIENCE_S), build(directory).gate() as gate:
        run = await gate.start("boss", 1, key="one", on_behalf_of="person:ann")
        assert await gate.result(run) == "plan 1 is done"
        step = next(each.predicate["step"] for each in gate.reader.receipts(run=run) if _is_booking(each.predicate))
        fork = await gate.control.fork(run, step, by="person:dana", reason="again", key="again")
        await _pause_a_moment(gate, fork)
        assert await gate.result(fork) == "plan 1 is done"
        back = await gate.control.roll_back(run, by="person:dana", reason="not wanted")
        await gate.result(back)


async def _pause_a_moment(gate: Gate, run: RunId) -> None:
    with contextlib.suppress(AnswerableError):
        await gate.control.pause(run, by="person:dana", reason="a moment")
    with contextlib.suppress(AnswerableError):
        await gate.control.resume(run, by="person:dana", reason="it is over")


def _is_booking(said: dict[str, object]) -> bool:
    action = said.get("action")
    return said["phase"] == "intent" and isinstance(action, dict) and action["name"] == "book"


def spend_a_life(directory: Path, crash: tuple[FaultPoint, int] | None) -> bool:
    """Run one life in a process of its own; whether it ended by itself."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(_PATIENCE_S + 5)
            if crash is not None:
                arm(*crash)
            asyncio.run(live(directory))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0, "the life ended with an error"
    return True


def crashes() -> list[tuple[FaultPoint, int]]:
    """Every passage of every point, or as many of them as one can afford on every change."""
    every = list(itertools.product(FaultPoint, (0, 1, 3, 6, 10, 15, 22, 30)))
    return every if IS_SOAK else sorted(every, key=lambda case: hashlib.sha256(repr(case).encode()).digest())[:14]


@pytest.mark.requirement("RT-1", "RT-3", "RT-4", "RT-9")
@pytest.mark.parametrize(("point", "passes"), crashes())
@pytest.mark.timeout(120)
def test_a_line_of_runs_killed_anywhere_has_each_effect_once_and_is_undone_in_reverse(
    tmp_path: Path, point: FaultPoint, passes: int
) -> None:
    spend_a_life(tmp_path, (point, passes))
    assert spend_a_life(tmp_path, None)

    lines = Books(tmp_path / "books").lines()
    assert Counter(key for _, _, key in lines).most_common(1)[0][1] == 1, "an effect was done twice"
    booked = [n for name, n, _ in lines if name == "book"]
    assert sorted(booked) == sorted(_EFFECTS * 2), "once by the run, once by its fork"
    assert [n for name, n, _ in lines if name == "cancel"] == _EFFECTS[::-1]
    _check_record(tmp_path)


def _check_record(directory: Path) -> None:
    with contextlib.closing(Reader.open(directory / "data")) as reader:
        runs = [row.run for row in list_runs(reader)]
        export_bundle(reader, runs, directory / "line.zip")
        write_trust(reader, directory / "trust.toml")
    report = verify(directory / "line.zip", directory / "trust.toml")
    assert (report.verdict, report.findings) == ("verified", ())
    assert {each.state for each in report.runs} <= {"done", "continued"}
    assert all(table.is_equal for table in rebuild(directory / "data", all_projections()))
