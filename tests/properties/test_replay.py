"""Random programs, killed at random points, end as if nothing had happened.

Every life of the worker is a process of its own, ended by SIGKILL at a named point of the road. The
books that tools write to are a file beside the store, so they know of every effect that took place.
"""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from answerable.action import Finding, Step
from answerable.core import (
    Action,
    ActionKind,
    Decision,
    Description,
    Effect,
    ExecutionError,
    FaultPoint,
    Outcome,
    RecordedError,
    RunId,
    arm,
    stable_json,
)
from answerable.ledger import Ledger, Reader
from answerable.runtime import (
    Agents,
    AgentSpec,
    Gate,
    Limits,
    Performing,
    Reliable,
    Run,
    Runs,
    RunsProjection,
    RunUnknown,
    StoreEngine,
    Worker,
    find_run,
)
from tests.soak import IS_SOAK, longer

Program = list[Any]
_LINGER_MS = 2
_LIFE_S = 30
ASKED = ("plain", "broken")
"""Writes that neither honour a key nor can be probed: a person is asked."""


class Books:
    """What the outside world saw: one line an effect, appended before the tool answers."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self) -> list[tuple[str, str]]:
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [(key, n) for key, n in (line.split() for line in lines)]

    def done(self) -> list[str]:
        return [key for key, _ in self.lines()]

    def write(self, key: str, n: int) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, f"{key} {n}\n".encode())
        os.close(handle)


class Tools:
    """`read`, `keyed` (honours its key), `probed` (can be asked), `plain` (neither), `broken` (fails for sure)."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        effect = Effect.READ if name == "read" else Effect.WRITE
        return Description(effect=effect, honours_key=name == "keyed", has_probe=name == "probed")

    async def execute(self, step: Step) -> Outcome:
        name, key = step.action.name, step.action.idempotency_key
        await asyncio.sleep(0)
        if name == "broken":
            return Outcome.of_error("failed", RecordedError(code_then="execution.broken", message_then="broken"))
        if name != "read" and not (name == "keyed" and key in self._books.done()):
            self._books.write(key, orjson.loads(step.action.arguments)["n"])
        return answer(step.action.arguments)

    async def probe(self, step: Step) -> Finding:
        return answer(step.action.arguments) if step.action.idempotency_key in self._books.done() else "did not happen"


def answer(arguments: bytes) -> Outcome:
    return Outcome(status="ok", value=stable_json(orjson.loads(arguments)["n"] * 10))


class Yes:
    async def authorize(self, action: Action) -> Decision:
        return Decision(verdict="permit")

    def report(self, step: Step, outcome: Outcome) -> None:
        pass


async def agent(run: Run, program: Program) -> Any:
    """The agent: an interpreter of random programs, which remembers in which order its calls came back."""
    return await evaluate(run, program, [])


async def evaluate(run: Run, node: Program, order: list[int]) -> Any:
    kind, *rest = node
    if kind in ("read", "keyed", "probed", "plain"):
        # The order so far goes into the step key: another order in replay would be another step.
        result = await run.tool(kind, n=rest[0], order=list(order))
        order.append(rest[0])
        return result
    if kind == "broken":
        try:
            return await run.tool("broken", n=rest[0])
        except ExecutionError as error:
            return type(error).__name__
    if kind == "sleep":
        await run.sleep(rest[0] / 1000)
        return order.append(-1)
    if kind == "signal":
        result = await run.signal(f"s{rest[0]}", timeout=60 if rest[0] % 2 else None)
        order.append(rest[0])
        return result
    if kind == "version":
        return await run.version(f"v{rest[0]}")
    if kind == "chance":
        return [run.random().randrange(1000), str(run.uuid())]
    if kind == "branch":
        return await evaluate(run.branch(f"b{rest[0]}"), rest[1], order)
    if kind == "wait_for":
        return await asyncio.wait_for(evaluate(run, rest[0], order), 60)
    if kind == "shield":
        return await asyncio.shield(evaluate(run, rest[0], order))
    if kind == "gather":
        return list(await asyncio.gather(*(evaluate(run, one, order) for one in rest[0])))
    if kind == "group":
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(evaluate(run, one, order)) for one in rest[0]]
        return [task.result() for task in tasks]
    if kind == "failing":  # one fails, the others are cancelled wherever they are
        with contextlib.suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for one in rest[0]:
                    group.create_task(evaluate(run, one, order))
                group.create_task(run.tool("broken", n=rest[1]))
        return "failed"
    return [await evaluate(run, one, order) for one in rest[0]]


def numbered(node: Program, counter: list[int]) -> Program:
    """The program with a number of its own at each leaf, so that no two calls are the same call."""
    kind, *rest = node
    counter[0] += 1
    if kind == "sleep":
        return node
    if not rest:
        return [kind, counter[0]]
    if kind in ("wait_for", "shield"):
        return [kind, numbered(rest[0], counter)]
    if kind == "branch":
        return [kind, counter[0], numbered(rest[0], counter)]
    inner = [numbered(one, counter) for one in rest[0]]
    return [kind, inner, counter[0] + 10_000] if kind == "failing" else [kind, inner]


def signals(node: Any) -> list[int]:
    if not isinstance(node, list) or not node:
        return []
    if node[0] == "signal":
        return [node[1]]
    return [found for one in node for found in signals(one)]


leaves = st.one_of(
    st.sampled_from([["read"], ["keyed"], ["probed"], ["plain"], ["broken"], ["signal"], ["version"], ["chance"]]),
    st.sampled_from([["keyed"], ["plain"], ["read"]]),
    st.integers(1, 12).map(lambda ms: ["sleep", ms]),
)
programs = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(lambda all_: ["seq", all_]),
        st.lists(inner, min_size=1, max_size=4).map(lambda all_: ["gather", all_]),
        st.lists(inner, min_size=1, max_size=3).map(lambda all_: ["group", all_]),
        st.lists(inner, min_size=1, max_size=3).map(lambda all_: ["failing", all_]),
        inner.map(lambda one: ["branch", one]),
        inner.map(lambda one: ["wait_for", one]),
        inner.map(lambda one: ["shield", one]),
    ),
    max_leaves=12,
).map(lambda program: numbered(program, [0]))
reached_by_most = [
    FaultPoint.RUN_OPENED,
    FaultPoint.AFTER_INTENT,
    FaultPoint.EFFECT_DISPATCHED,
    FaultPoint.EFFECT_DISPATCHED,
    FaultPoint.AFTER_EFFECT,
    FaultPoint.AFTER_EFFECT,
    FaultPoint.BEFORE_COMMIT,
    FaultPoint.AFTER_COMMIT,
    FaultPoint.AFTER_OUTCOME,
    FaultPoint.BEFORE_PARK,
    FaultPoint.AFTER_PARK,
    FaultPoint.AFTER_TIMER,
    FaultPoint.BEFORE_RUN_CLOSE,
    FaultPoint.AFTER_RUN_CLOSE,
]
crashes = st.lists(st.tuples(st.sampled_from(reached_by_most), st.integers(0, 4)), min_size=1, max_size=4)


async def live(directory: Path, program: Program) -> None:
    """One life of the worker: goes on from what is on disk until the run has ended."""
    books = Books(directory / "books")
    ledger = Ledger.open(directory / "data", projections=[RunsProjection()])
    await ledger.start()
    agents = Agents()
    agents.add(AgentSpec(name="agent", fn=agent, limits=Limits(identical_calls=None)))
    runs = Runs(ledger, agents)
    gate = Gate(
        ledger=ledger,
        authorizer=Yes(),
        effects=Reliable(Tools(books)),
        reporter=Yes(),
        performing=Performing(),
        linger=timedelta(milliseconds=_LINGER_MS),
    )
    run = await runs.start("agent", program, key="only")
    await settle_doubts(ledger, runs, run, books)
    engine = StoreEngine(ledger.leases, ledger.clock)
    serving = asyncio.create_task(engine.serve(Worker(gate, agents).advance))
    with contextlib.suppress(RunUnknown):  # the run may end between two signals
        for n in signals(program):
            await runs.signal(run, f"s{n}", n)
    async with asyncio.timeout(_LIFE_S):
        await runs.result(run)
    serving.cancel()
    await asyncio.wait([serving])
    await ledger.close()


async def settle_doubts(ledger: Ledger, runs: Runs, run: RunId, books: Books) -> None:
    """The person who looks into the books where such a write was in flight when the worker died."""
    if (row := find_run(ledger.reader, run)) is None or row.state != "open":
        return
    history = ledger.reader.history(run)
    for step, intent in history.intents.items():
        receipt = ledger.reader.find(intent.receipt)
        assert receipt is not None
        if step in history.finals or intent.is_written_off or receipt.predicate["action"]["name"] not in ASKED:
            continue
        arguments = ledger.reader.text(receipt).input
        assert arguments is not None
        happened = step in books.done()
        result = orjson.loads(answer(arguments).value)
        await runs.resolve(run, step, happened=happened, result=result, by="person:1", reason="looked")


def spend_a_life(directory: Path, program: Program, crash: tuple[FaultPoint, int] | None) -> bool:
    """Run one life in a process of its own; whether it ended by itself."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if crash is not None:
                arm(*crash)
            asyncio.run(live(directory, program))
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0, "the life ended with an error"
    return True


def result_of(directory: Path) -> tuple[Any, list[dict[str, Any]]]:
    reader = Reader.open(directory / "data")
    receipts = [one for one in reader.receipts() if one.predicate["run"].startswith("run_")]
    last = receipts[-1]
    assert last.phase == "run.close"
    assert last.predicate["control"]["state"] == "done", last.predicate
    text = reader.text(last).output
    reader.close()
    return orjson.loads(text or b"null"), [one.predicate for one in receipts]


def without_chance(node: Program, result: Any) -> Any:
    """Chance is seeded by the run, so it differs between two runs of one program."""
    kind, *rest = node
    if kind == "chance":
        return "chance"
    if kind in ("seq", "gather", "group"):
        return [without_chance(one, got) for one, got in zip(rest[0], result, strict=True)]
    if kind in ("wait_for", "shield"):
        return without_chance(rest[0], result)
    return without_chance(rest[1], result) if kind == "branch" else result


@pytest.mark.timeout(3600 if IS_SOAK else 300)
@pytest.mark.requirement("RT-1", "RT-2")
@settings(
    max_examples=longer(25), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(programs, crashes)
def test_a_killed_run_has_each_effect_once_and_ends_like_one_that_was_left_alone(
    program: Program, crashed_at: list[tuple[FaultPoint, int]]
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        undisturbed, killed = Path(temporary) / "undisturbed", Path(temporary) / "killed"
        for directory in (undisturbed, killed):
            directory.mkdir()
        assert spend_a_life(undisturbed, program, None)

        for crash in crashed_at:
            spend_a_life(killed, program, crash)
        assert spend_a_life(killed, program, None)

        expected, _ = result_of(undisturbed)
        result, receipts = result_of(killed)
        assert without_chance(program, result) == without_chance(program, expected)
        books = Books(killed / "books")
        assert set(Counter(n for _, n in books.lines()).values()) <= {1}, "an effect was done twice"
        done = {
            said["step"]
            for said in receipts
            if said["phase"] == "outcome" and said["action"]["effect"] == "write" and said["effect"]["status"] == "ok"
        }
        assert set(books.done()) == done, "an effect without an outcome, or an outcome without an effect"
