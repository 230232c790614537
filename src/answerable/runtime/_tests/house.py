"""A small house to run agents in: a real ledger, a tool shed whose books outlive crashes, an open policy."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson

from answerable.action import Effects, Finding, OutcomeUnknown, Step
from answerable.core import (
    Action,
    ActionKind,
    Decision,
    Description,
    Effect,
    Outcome,
    RecordedError,
    RunId,
    TenantId,
    stable_json,
)
from answerable.ledger import Ledger, Receipt
from answerable.runtime import (
    Agents,
    AgentSpec,
    DelegationEffects,
    Gate,
    InputInvalid,
    Limits,
    Performing,
    Queue,
    QueuesProjection,
    Runs,
    RunsProjection,
    SharedEffects,
    StoreEngine,
    Turns,
    Worker,
)
from answerable.runtime._decisions import DecisionEffects
from answerable.runtime._gate import Compensation

__all__ = ["Everyone", "House", "Shed", "until"]


class Shed:
    """Tools: `read*` read, `write*` change the books once per key, `lose*` are never answered, `fail*` fail.

    `books` counts effects by step, as the outside world would: it is not cleared by a crash.
    """

    def __init__(self) -> None:
        self.books: Counter[str] = Counter()
        self.calls: list[str] = []
        self.lost: set[str] = set()
        self.gates: dict[str, asyncio.Event] = {}
        self.finding: Finding = "cannot say"
        self.on_execute: Callable[[Step], None] | None = None

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        if kind == "decision":
            return DecisionEffects().describe(kind, name, arguments)
        if name.startswith("unknown"):
            raise InputInvalid(agent=name, problem="no such tool")
        is_read = name.startswith(("read", "model"))
        effect = Effect.READ if is_read else Effect.WRITE
        return Description(effect=effect, honours_key=name.startswith("keyed"), has_probe=name.startswith("probed"))

    async def execute(self, step: Step) -> Outcome:
        name = step.action.name
        self.calls.append(name)
        if self.on_execute is not None:
            self.on_execute(step)
        gate = self.gates.get(name)
        if gate is not None:
            await gate.wait()
        if name.startswith("lose") or name in self.lost:
            self.books[step.action.step] += 1
            raise OutcomeUnknown(name=name, reason="test")
        if name.startswith("fail"):
            return Outcome.of_error("failed", _failure(name))
        if name.startswith("keyed"):
            self.books[step.action.idempotency_key] = 1
        elif step.action.effect is not Effect.READ:
            self.books[step.action.step] += 1
        if name.startswith("constant"):
            return Outcome(status="ok", value=b'"same"')
        said = {"name": name, "got": orjson.loads(step.action.arguments)}
        return Outcome(status="ok", value=stable_json(said), labels=(f"untrusted:{name}",))

    async def probe(self, step: Step) -> Finding:
        return self.finding


def _failure(name: str) -> RecordedError:
    return RecordedError(code_then="execution.test", message_then=name)


class Everyone:
    """A policy that permits, except what a test names."""

    def __init__(self) -> None:
        self.decide: dict[str, Callable[[], Decision]] = {}

    async def authorize(self, action: Action) -> Decision:
        decide = self.decide.get(action.name)
        return decide() if decide else Decision(verdict="permit", rules=("all",))


class _ByKind:
    """The shed, but for what the runtime itself performs."""

    def __init__(self, shed: Shed, own: dict[ActionKind, Effects]) -> None:
        self._shed = shed
        self._own = own

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        return self._of(kind).describe(kind, name, arguments)

    async def execute(self, step: Step) -> Outcome:
        return await self._of(step.action.kind).execute(step)

    async def probe(self, step: Step) -> Finding:
        return await self._of(step.action.kind).probe(step)

    def _of(self, kind: ActionKind) -> Effects:
        return self._own.get(kind, self._shed)


class Silent:
    def report(self, step: Step, outcome: Outcome) -> None:
        pass


class House:
    """One process: what it holds in memory is gone when it is left."""

    def __init__(
        self,
        directory: Path,
        shed: Shed,
        *,
        linger: timedelta = timedelta(milliseconds=2),
        unwind: timedelta = timedelta(seconds=5),
        queues: Sequence[Queue] = (),
        slots: int = 100,
        compensation: Compensation = lambda name, arguments, result: None,
        **ledger: Any,
    ) -> None:
        self._directory = directory
        self._ledger_options = ledger
        self.shed = shed
        self.policy = Everyone()
        self.agents = Agents()
        self._linger = linger
        self._unwind = unwind
        self._queues = queues
        self._slots = slots
        self._compensation = compensation
        self.ledger_tenant = TenantId("default")
        self.run = RunId("")
        self.seen: list[Receipt] = []

    async def __aenter__(self) -> "House":
        projections = (RunsProjection(), QueuesProjection(), *self._ledger_options.pop("projections", ()))
        self.ledger = Ledger.open(self._directory, projections=projections, **self._ledger_options)
        await self.ledger.start()
        self.turns = Turns(self.ledger, self._queues)
        await self.turns.start()
        self.gate = Gate(
            ledger=self.ledger,
            authorizer=self.policy,
            effects=_ByKind(
                self.shed,
                {"delegation": DelegationEffects(self.ledger, self.agents), "memory": SharedEffects(self.ledger)},
            ),
            reporter=Silent(),
            performing=Performing(),
            linger=self._linger,
            compensation=self._compensation,
            unwind=self._unwind,
            turns=self.turns,
        )
        self.runs = Runs(self.ledger, self.agents)
        self.worker = Worker(self.gate, self.agents)
        self._serving: list[asyncio.Task[None]] = []
        return self

    async def __aexit__(self, *raised: object) -> None:
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
        await self.ledger.close()

    def agent(
        self,
        fn: Callable[..., Awaitable[Any]],
        *,
        limits: Limits | None = None,
        name: str = "agent",
        tenant: str = "default",
    ) -> None:
        bounds = limits or Limits(identical_calls=None)
        self.agents.add(AgentSpec(name=name, fn=fn, limits=bounds, tenant=TenantId(tenant)))

    def serve(self) -> None:
        engine = StoreEngine(self.ledger.leases, self.ledger.clock)
        serving = (engine.serve(self.worker.advance, slots=self._slots), self.turns.serve())
        self._serving += [asyncio.create_task(each) for each in serving]

    async def once(self, fn: Callable[..., Awaitable[Any]], given: Any = None, **more: Any) -> Any:
        """Start a run, drive it to its end, and give its result."""
        self.agent(fn, limits=more.pop("limits", None))
        self.serve()
        run = await self.runs.start("agent", given, **more)
        self.run = run
        async with asyncio.timeout(20):
            return await self.runs.result(run)

    def phases(self, run: RunId) -> list[str]:
        return [receipt.phase for receipt in self.receipts(run)]

    def receipts(self, run: RunId) -> list[Receipt]:
        return self.ledger.reader.receipts(run=run)


async def until(is_true: Callable[[], bool]) -> None:
    """Let the loop run until something is so; bounded, so that a test fails instead of hanging."""
    async with asyncio.timeout(20):
        while not is_true():  # noqa: ASYNC110 - what is awaited stands in the store, which has no event
            await asyncio.sleep(0.001)
