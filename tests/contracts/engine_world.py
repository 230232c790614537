"""A gate's process in miniature, and the world it acts on: what the engine contract runs in."""

import asyncio
import contextlib
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from answerable.action import Finding, Step
from answerable.core import (
    Action,
    ActionKind,
    Clock,
    Decision,
    Description,
    Effect,
    Outcome,
    RunId,
    SystemClock,
    TenantId,
)
from answerable.ledger import Ledger, Prepared, metadata
from answerable.runtime import Agents, AgentSpec, Engine, Gate, Limits, Performing, Run, Runs, RunsProjection, Worker

__all__ = [
    "PATIENCE_S",
    "TENANT",
    "MovedClock",
    "Outside",
    "World",
    "Worlds",
    "one_step",
    "signal_or_timer",
    "step_then_signal",
]

TENANT = TenantId("default")
PATIENCE_S = 50
_SLICES = metadata.tables["slices"].c
_STATE = Prepared(sa.select(_SLICES.state).where(_SLICES.run == sa.bindparam("run")))


class MovedClock:
    """The machine's clock, as far ahead as a test moved it."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self._real = SystemClock()

    def now(self) -> datetime:
        return self._real.now() + self.ahead

    def monotonic_s(self) -> float:
        return self._real.monotonic_s() + self.ahead.total_seconds()


class Outside:
    """The world that tools act on; a crash of the gate does not undo what was done there.

    Tools whose name starts with `read` read, with `keyed` honour their key; any other does neither.
    """

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.holds: dict[str, asyncio.Event] = {}
        self.arrived: dict[str, asyncio.Event] = {}
        self.before: dict[str, Callable[[], None]] = {}
        self.after: dict[str, Callable[[], None]] = {}

    def hold(self, name: str) -> asyncio.Event:
        """Have calls of this tool wait for the event; `arrived` is set when one does."""
        self.arrived[name] = asyncio.Event()
        self.holds[name] = asyncio.Event()
        return self.holds[name]

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        effect = Effect.READ if name.startswith("read") else Effect.WRITE
        return Description(effect=effect, honours_key=name.startswith("keyed"))

    async def execute(self, step: Step) -> Outcome:
        name, key = step.action.name, f"{step.action.name}:{step.action.idempotency_key}"
        self.calls[name] += 1
        self.before.pop(name, _nothing)()
        if name in self.holds:
            self.arrived[name].set()
            await self.holds[name].wait()
        self.done[key] = 1 if name.startswith("keyed") else self.done[key] + 1
        self.after.pop(name, _nothing)()
        return Outcome(status="ok", value=step.action.arguments)

    async def probe(self, step: Step) -> Finding:
        return "cannot say"

    def of(self, name: str) -> list[int]:
        """How often each effect of this tool was done."""
        return [count for key, count in self.done.items() if key.startswith(f"{name}:")]


class Everyone:
    """A policy that permits."""

    async def authorize(self, action: Action) -> Decision:
        return Decision(verdict="permit", rules=("all",))


class Silent:
    """Nobody watches."""

    def report(self, step: Step, outcome: Outcome) -> None:
        pass


class Deaf:
    """Leases whose notifications are all lost."""

    def __init__(self, leases: Any) -> None:
        self._leases = leases

    def __getattr__(self, name: str) -> Any:
        return getattr(self._leases, name)

    def listen(self, listener: Callable[[Sequence[str]], None], **hint: Any) -> None:
        """Nothing will ever be heard."""


class World:
    """A gate's process: engine, worker and ledger over one data directory."""

    def __init__(self, ledger: Ledger, outside: Outside, agents: Agents, engine: Engine, linger: timedelta) -> None:
        self.ledger, self.outside, self.engine = ledger, outside, engine
        self.gate = Gate(
            ledger=ledger,
            authorizer=Everyone(),
            effects=outside,
            reporter=Silent(),
            performing=Performing(),
            linger=linger,
        )
        self.agents = agents
        self.worker = Worker(self.gate, agents)
        self.runs = Runs(ledger, agents)
        self._serving: asyncio.Task[None] | None = None

    def serve(self, slots: int = 100) -> None:
        self._serving = asyncio.create_task(self.engine.serve(self.worker.advance, slots=slots))

    async def stop(self) -> None:
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])
            self._serving = None

    async def result(self, run: RunId) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return await self.runs.result(run)

    def phases(self, run: RunId) -> list[str]:
        return [receipt.phase for receipt in self.ledger.reader.receipts(run=run)]

    def state(self, run: RunId) -> str:
        """What the store's own table says of the run's slice."""
        return str(self.ledger.reader.rows(_STATE, run=run)[0][0])

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():  # noqa: ASYNC110 - what is awaited stands in the store, which has no event
                await asyncio.sleep(0.001)

    async def parked(self, run: RunId) -> None:
        await self.until(lambda: self.state(run) == "parked")


def _nothing() -> None:
    pass


async def one_step(run: Run, given: str) -> Any:
    """A write, then done."""
    return await run.tool(given, n=1)


async def step_then_signal(run: Run, given: str) -> Any:
    """A write, a signal, another write."""
    await run.tool(given, n=1)
    said = await run.signal("go")
    return await run.tool(given, n=2, said=said)


async def signal_or_timer(run: Run, given: float) -> Any:
    """Whichever is first, on the books."""
    try:
        first = await run.signal("go", timeout=given)
    except Exception as error:  # noqa: BLE001 - of the two outcomes, the other one
        first = type(error).__name__
    await run.tool("keyed", first=first)
    return first


class Worlds:
    """Makes worlds around the engine that a subclass gives."""

    def make(self, leases: Any, clock: Clock) -> Engine:
        """The engine under test; a lost notification must be made good within about a tenth of a second."""
        raise NotImplementedError

    def store(self, directory: Path) -> str:
        """Where the record of a data directory is kept; in a file in it by default."""
        return ""

    def crash(self, here: Path, there: Path) -> None:
        """Crash here, as far as `there` knows: what is on disk now is all it gets."""
        shutil.copytree(here, there)

    @contextlib.asynccontextmanager
    async def world(
        self,
        directory: Path,
        outside: Outside,
        *agents: Callable[..., Awaitable[Any]],
        clock: Clock | None = None,
        is_deaf: bool = False,
        linger: timedelta = timedelta(milliseconds=2),
    ) -> AsyncIterator[World]:
        ledger = Ledger.open(directory, projections=(RunsProjection(),), clock=clock, store=self.store(directory))
        await ledger.start()
        known = Agents()
        for agent in agents:
            known.add(AgentSpec(name=agent.__name__, fn=agent, limits=Limits(identical_calls=None)))
        engine = self.make(Deaf(ledger.leases) if is_deaf else ledger.leases, ledger.clock)
        world = World(ledger, outside, known, engine, linger)
        try:
            yield world
        finally:
            await world.stop()
            await ledger.close()
