"""The engine beside a simple model: random starts, signals, pauses, kills, forks and retries, and SIGKILL anywhere.

Every act is a life of a process of its own that serves until nothing moves any more. Some lives are ended
by SIGKILL at a named point of the road; the act is then done again by the next, as whoever asked would.
What the world saw is a file beside the store. After each act the record and the world are as the model says.
"""

import asyncio
import contextlib
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from answerable.action import Finding, Step
from answerable.core import (
    Action,
    ActionKind,
    Decision,
    Description,
    Effect,
    FaultPoint,
    Outcome,
    RunId,
    StepKey,
    arm,
    stable_json,
)
from answerable.ledger import Ledger, Prepared, Reader, slices
from answerable.runtime import (
    Agents,
    AgentSpec,
    Control,
    ControlRefused,
    Gate,
    Limits,
    LinksProjection,
    OrdersProjection,
    Performing,
    Queue,
    QueuesProjection,
    Reliable,
    Run,
    Runs,
    RunsProjection,
    RunUnknown,
    StoreEngine,
    Turns,
    Worker,
    find_run,
)
from tests.soak import IS_SOAK

_LIFE_S = 30
_WHO: Any = {"by": "person:kim", "reason": "the machine says so"}
_STATES = Prepared(sa.select(slices.c.state).where(slices.c.state != "closed", slices.c.state != "parked"))
_QUEUE = Queue(scope="agent:agent", concurrency=2)
"""So that lines form, and crashes find them."""
_EXAMPLES = max(2, min(settings().max_examples // 10, 400))


class World:
    """What the outside saw, one line an effect; `keyed` honours its key, `plain` does not and cannot be asked."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def done(self) -> list[str]:
        return self._path.read_text().split() if self._path.exists() else []

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        return Description(effect=Effect.WRITE, honours_key=name == "keyed")

    async def execute(self, step: Step) -> Outcome:
        key = step.action.idempotency_key
        await asyncio.sleep(0)
        if step.action.name == "plain" or key not in self.done():
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(handle, f"{key}\n".encode())
            os.close(handle)
        return Outcome(status="ok", value=step.action.arguments)

    async def probe(self, step: Step) -> Finding:
        return "cannot say"


class Everyone:
    """A policy that permits, and nobody who watches."""

    async def authorize(self, action: Action) -> Decision:
        return Decision(verdict="permit")

    def report(self, step: Step, outcome: Outcome) -> None:
        pass


async def agent(run: Run, given: dict[str, int]) -> list[Any]:
    """Some writes, and then one for each signal."""
    done: list[Any] = [(await run.tool("keyed" if n % 2 else "plain", n=n))["n"] for n in range(given["writes"])]
    for _ in range(given["signals"]):
        said = await run.signal("go")
        done.append((await run.tool("plain", n=len(done), said=said))["said"])
    return done


class Life:
    """One process: a gate over the directory, as long as something moves."""

    def __init__(self, directory: Path, ledger: Ledger) -> None:
        self.world = World(directory / "world")
        self.ledger = ledger
        agents = Agents()
        agents.add(AgentSpec(name="agent", fn=agent, limits=Limits(identical_calls=None)))
        self.turns = Turns(ledger, [_QUEUE])
        everyone = Everyone()
        gate = Gate(
            ledger=ledger,
            authorizer=everyone,
            effects=Reliable(self.world),
            reporter=everyone,
            performing=Performing(),
            linger=timedelta(milliseconds=1),
            turns=self.turns,
        )
        self.worker = Worker(gate, agents)
        self.runs, self.control = Runs(ledger, agents), Control(ledger, agents)

    async def serve(self, act: Callable[["Life"], Awaitable[Any]]) -> Any:
        await self.turns.start()
        engine = StoreEngine(self.ledger.leases, self.ledger.clock, sweep=timedelta(milliseconds=50))
        serving = [asyncio.create_task(each) for each in (engine.serve(self.worker.advance), self.turns.serve())]
        try:
            async with asyncio.timeout(_LIFE_S):
                said = await act(self)
                while self.ledger.reader.rows(_STATES) or await self.settle():  # noqa: ASYNC110 - it stands in the store
                    await asyncio.sleep(0.001)
            return said
        finally:
            for task in serving:
                task.cancel()
            await asyncio.wait(serving)

    async def settle(self) -> bool:
        """Be the person who looks into the world where an effect is in doubt; whether there was one."""
        asked = False
        for run in {one.predicate["run"] for one in self.ledger.reader.all()}:
            row = find_run(self.ledger.reader, RunId(run))
            if row is None or row.state != "open":
                continue
            history = self.ledger.reader.history(RunId(run))
            if history.order:
                continue
            for step, intent in history.intents.items():
                if step not in history.finals and not intent.is_written_off:
                    asked |= await self._look(RunId(run), step)
        return asked

    async def _look(self, run: RunId, step: StepKey) -> bool:
        receipt = self.ledger.reader.find(self.ledger.reader.history(run).intents[step].receipt)
        assert receipt is not None
        said = receipt.predicate["action"]
        happened = said["idempotencyKey"] in self.world.done()
        text = self.ledger.reader.text(receipt).input
        with contextlib.suppress(RunUnknown):  # settled a moment ago: by its key, or by its late outcome
            await self.runs.resolve(run, step, happened=happened, result=orjson.loads(text or b"null"), **_WHO)
        return True


@dataclass
class Model:
    """What a run has to have done, as far as it may: `frozen` is what it had done when it was paused or killed."""

    writes: int
    signals: int
    said: list[int] = field(default_factory=list)
    order: str = ""
    frozen: int | None = None

    @property
    def taken(self) -> list[int]:
        return self.said[: self.signals]

    @property
    def is_done(self) -> bool:
        return not self.order and len(self.said) >= self.signals


class Machine(RuleBasedStateMachine):
    """Runs and their orders, each act in a process of its own."""

    runs = Bundle("runs")
    crashes = st.one_of(
        st.none(), st.tuples(st.sampled_from([each for each in FaultPoint if "held" not in each]), st.integers(0, 4))
    )

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.directory = Path(self._folder.name)
        self.models: dict[RunId, Model] = {}
        self.acts = 0

    def teardown(self) -> None:
        self._folder.cleanup()

    # -- acts ---------------------------------------------------------------------------------------------------------

    @rule(target=runs, writes=st.integers(0, 3), signals=st.integers(0, 2), crash=crashes)
    def start(self, writes: int, signals: int, crash: Any) -> Any:
        key = self.key()
        said = {"writes": writes, "signals": signals}
        run = self.act(lambda life: life.runs.start("agent", said, key=key), crash)
        self.models[run] = Model(writes, signals)
        return run

    @rule(target=runs, many=st.integers(2, 5), crash=crashes)
    def start_many(self, many: int, crash: Any) -> Any:
        keys = [self.key() for _ in range(many)]

        async def all_(life: Life) -> list[RunId]:
            return [await life.runs.start("agent", {"writes": 2, "signals": 1}, key=key) for key in keys]

        found = self.act(all_, crash)
        self.models.update({run: Model(2, 1) for run in found})
        return multiple(*found)

    @rule(value=st.integers(0, 99), crash=crashes)
    def signal_all(self, value: int, crash: Any) -> None:
        """Whatever their order: what a paused run gets, it finds when it is resumed."""
        keys = {run: self.key() for run in self.models}

        async def all_(life: Life) -> list[RunId]:
            sent = []
            for run, key in keys.items():
                with contextlib.suppress(RunUnknown):
                    await life.runs.signal(run, "go", value, key=key)
                    sent.append(run)
            return sent

        sent = self.act(all_, crash)
        for run, model in self.models.items():
            is_open = not (model.is_done or model.order == "kill")
            # One that a crashed life sent may have ended the run: the second attempt is then too late.
            assert (run in sent) == is_open or (is_open and crash and len(model.said) + 1 >= model.signals)
            if is_open:
                model.said.append(value)

    @rule(run=runs, crash=crashes)
    def pause(self, run: RunId, crash: Any) -> None:
        model = self.models[run]
        may = not model.order and not model.is_done
        assert self.may(lambda life: life.control.pause(run, **_WHO), crash) == may or (may and crash)
        if may:
            model.order, model.frozen = "pause", self.effects(run)

    @rule(run=runs, crash=crashes)
    def resume(self, run: RunId, crash: Any) -> None:
        model = self.models[run]
        may = model.order == "pause"
        assert self.may(lambda life: life.control.resume(run, **_WHO), crash) == may or (may and crash)
        if may:
            model.order, model.frozen = "", None

    @rule(run=runs, crash=crashes)
    def kill(self, run: RunId, crash: Any) -> None:
        model = self.models[run]
        may = model.order != "kill" and not model.is_done
        assert self.may(lambda life: life.control.kill(run, **_WHO), crash) == may or (may and crash)
        if may:
            model.order, model.frozen = "kill", self.effects(run)

    @rule(target=runs, writes=st.integers(1, 3), crash=crashes)
    def start_and_pause_at_once(self, writes: int, crash: Any) -> Any:
        key = self.key()

        async def both(life: Life) -> RunId:
            run = await life.runs.start("agent", {"writes": writes, "signals": 1}, key=key)
            with contextlib.suppress(ControlRefused):  # an earlier life has done so
                await life.control.pause(run, **_WHO)
            return run

        run = self.act(both, crash)
        self.models[run] = Model(writes, 1, order="pause", frozen=self.effects(run))
        return run

    @rule(target=runs, run=runs, at=st.integers(0, 9), crash=crashes)
    def fork(self, run: RunId, at: int, crash: Any) -> Any:
        key = self.key()
        steps = [each["step"] for each in self.receipts(run) if each["phase"] == "intent"]
        place = steps[at % len(steps)] if steps and at else ""
        forked = self.act(lambda life: life.control.fork(run, place, key=key, **_WHO), crash)
        return self.came_of(run, forked)

    @rule(target=runs, run=runs, crash=crashes)
    def retry(self, run: RunId, crash: Any) -> Any:
        key = self.key()
        if self.models[run].order != "kill":
            assert not self.may(lambda life: life.control.retry(run, key=key, **_WHO), None)
            return multiple()
        retried = self.act(lambda life: life.control.retry(run, key=key, **_WHO), crash)
        return self.came_of(run, retried)

    @rule(crash=crashes)
    def nothing(self, crash: Any) -> None:
        self.act(_nothing, crash)

    # -- what has to be so --------------------------------------------------------------------------------------------

    @invariant()
    def every_run_stands_where_the_model_says(self) -> None:
        reader = self.reader()
        if reader is None:
            return
        with contextlib.closing(reader):
            for run, model in self.models.items():
                row = find_run(reader, run)
                assert row is not None
                state = "killed" if model.order == "kill" else "done" if model.is_done else "open"
                assert row.state == state, (run, model)
                if model.frozen is not None:
                    assert self.effects(run) == model.frozen, "a run did something that was paused or killed"
                if state == "done":
                    receipts = reader.receipts(run=run)
                    result = orjson.loads(reader.text(receipts[-1]).output or b"null")
                    assert result == [*range(model.writes), *model.taken]

    @invariant()
    def the_world_has_each_effect_of_the_record_once(self) -> None:
        reader = self.reader()
        if reader is None:
            return
        with contextlib.closing(reader):
            said = [each.predicate for each in reader.all()]
        open_doubts = {
            each["action"]["idempotencyKey"]
            for each in said
            if each["phase"] == "intent" and self.models[each["run"]].order
        }
        recorded = {each["action"]["idempotencyKey"] for each in said if each["phase"] == "outcome"}
        seen = Counter(World(self.directory / "world").done())
        assert set(seen.values()) <= {1}, "an effect was done twice"
        assert recorded <= seen.keys(), "an outcome without an effect"
        assert seen.keys() - recorded <= open_doubts, "an effect without an outcome"

    # -- how ----------------------------------------------------------------------------------------------------------

    def came_of(self, run: RunId, new: RunId) -> Any:
        """The model of a fork: it has the signals that came before its place, and no order."""
        if new in self.models:
            return multiple()
        parent, origin = self.models[run], next(iter(self.receipts(new)))["control"]["origin"]
        line = self.receipts(RunId(origin["run"]))
        shared = len([each for each in line if each["phase"] == "signal" and each["seq"] < origin["seq"]])
        said = self.models[RunId(origin["run"])].said
        before = self.inherited(RunId(origin["run"]))
        self.models[new] = Model(parent.writes, parent.signals, said=said[: before + shared])
        return new

    def inherited(self, run: RunId) -> int:
        """How many of a run's signals it shares with the run it was forked from."""
        own = [each for each in self.receipts(run) if each["phase"] == "signal"]
        return max(len(self.models[run].said) - len(own), 0)

    def key(self) -> str:
        self.acts += 1
        return f"act-{self.acts}"

    def may(self, do: Callable[[Life], Awaitable[Any]], crash: Any) -> bool:
        """Whether the act was let through."""

        async def tried(life: Life) -> bool:
            try:
                await do(life)
            except (ControlRefused, RunUnknown):
                return False
            return True

        return bool(self.act(tried, crash))

    def act(self, do: Callable[[Life], Awaitable[Any]], crash: Any) -> Any:
        """Do it in a life that crashes, if it does; and in one that does not."""
        if crash is not None:
            spend_a_life(self.directory, do, crash)
        return spend_a_life(self.directory, do, None)

    def reader(self) -> Reader | None:
        data = self.directory / "data"
        return Reader.open(data) if data.exists() else None

    def receipts(self, run: RunId) -> list[dict[str, Any]]:
        reader = self.reader()
        assert reader is not None
        with contextlib.closing(reader):
            return [each.predicate for each in reader.receipts(run=run)]

    def effects(self, run: RunId) -> int:
        return len([each for each in self.receipts(run) if each["phase"] == "outcome"])


async def _nothing(life: Life) -> None:
    """Nothing is asked of this life; what is unfinished goes on."""


def spend_a_life(directory: Path, do: Callable[[Life], Awaitable[Any]], crash: tuple[FaultPoint, int] | None) -> Any:
    """What an act gives, done in a process of its own; None where that was killed."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(told)
            if crash is not None:
                arm(*crash)
            os.write(tell, stable_json(asyncio.run(live(directory, do))))
            code = 0
        finally:
            os._exit(code)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert crash is not None
        return None
    assert os.WEXITSTATUS(status) == 0, "the life ended with an error"
    return orjson.loads(said)


async def live(directory: Path, do: Callable[[Life], Awaitable[Any]]) -> Any:
    projections = (OrdersProjection(), RunsProjection(), LinksProjection(), QueuesProjection())
    ledger = Ledger.open(directory / "data", projections=projections)
    await ledger.start()
    try:
        return await Life(directory, ledger).serve(do)
    finally:
        await ledger.close()


@pytest.mark.timeout(3600 if IS_SOAK else 300)
@pytest.mark.requirement("RT-1", "RT-3", "RT-4")
def test_the_engine_does_what_a_simple_model_says_whatever_is_ordered_and_wherever_it_crashes() -> None:
    bounded = settings(
        max_examples=_EXAMPLES,
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )

    run_state_machine_as_test(Machine, settings=bounded)
