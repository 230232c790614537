"""A real ledger with policy's projections, a road's worth of it, and policies written in a line."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable.action import Step
from answerable.core import (
    Action,
    AgentId,
    Description,
    Effect,
    Money,
    Outcome,
    RunId,
    StepKey,
    TenantId,
    Usage,
    new_run_id,
    stable_json,
)
from answerable.identity import Approvers, People, PeopleProjection, SigningKeys, SigningKeysProjection
from answerable.ledger import Draft, Ledger, Projection, RunJournal, Slice, rebuild
from answerable.policy import (
    Approvals,
    ApprovalsProjection,
    Autonomy,
    AutonomyProjection,
    Budget,
    BudgetProjection,
    CedarAuthorizer,
    DecisionCache,
    FactsProjection,
    PolicyDenied,
    PolicySet,
    Stops,
    StopsProjection,
)

TENANT = TenantId("default")
DONE = Outcome(status="ok", value=b'{"done":true}')
FAILED = Outcome(status="failed", value=b'{"code":"x","message":"no","fields":{}}')
ALLOW = '@id("allow") permit(principal, action, resource);'


class StillClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def monotonic_s(self) -> float:
        return self.moment.timestamp()

    def move(self, **by: float) -> None:
        self.moment += timedelta(**by)


def policies(directory: Path, authorize: str = ALLOW, obligations: str = "", schema: str = "") -> PolicySet:
    """A policy set from texts."""
    write_policies(directory, authorize, obligations, schema)
    return PolicySet.load(directory)


def write_policies(directory: Path, authorize: str = ALLOW, obligations: str = "", schema: str = "") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "authorize.cedar").write_text(authorize)
    (directory / "obligations.cedar").write_text(obligations)
    if schema:
        (directory / "schema.cedarschema").write_text(schema)
    return directory


def an_action(run: str = "run_1", number: int = 1, **more: Any) -> Action:
    """A refund of 10 euro on order 1001, unless said otherwise."""
    described = {
        "effect": Effect.IRREVERSIBLE,
        "target": "order:1001",
        "amount": Money(1000, "EUR"),
        **more.pop("described", {}),
    }
    said: dict[str, Any] = {
        "tenant": TENANT,
        "run": RunId(run),
        "agent": AgentId("support"),
        "step": StepKey(f"{number:032x}"),
        "branch": "",
        "kind": "tool",
        "name": "shop.refund",
        "arguments": stable_json({"number": number}),
        "described": Description(**described),
        "environment": "development",
        "on_behalf_of": "person:alex",
        "resources": ("order:1001",),
        **more,
    }
    return Action(**said)


@dataclass
class Desk:
    """A started ledger with everything policy keeps on it."""

    ledger: Ledger
    authorizer: CedarAuthorizer
    approvals: Approvals
    stops: Stops
    autonomy: Autonomy
    clock: StillClock
    people: People
    keys: SigningKeys
    journals: dict[str, RunJournal] = field(default_factory=dict)

    async def run(self, **limits: int) -> RunId:
        """A run that is open and leased."""
        run = new_run_id()
        control: dict[str, Any] = {"agent": "support", "environment": "development", "limits": limits}
        draft = Draft(
            tenant=TENANT,
            run=run,
            phase="run.open",
            agent="support",
            once=f"r:{run}",
            input=b"{}",
            members={"control": control},
        )
        await self.ledger.open_run(draft)
        taken = await self.ledger.leases.claim(run)
        assert isinstance(taken, Slice)
        self.journals[run] = await self.ledger.journal(taken)
        return run

    async def open(self, action: Action) -> Step:
        """Authorize and open, as the road does."""
        journal = self.journals[action.run]
        step = Step(action=action, status="moved")
        while step.status == "moved":
            step = await journal.open(action, await self.authorizer.authorize(action))
        return step

    async def close(self, step: Step, outcome: Outcome = DONE) -> None:
        await self.journals[step.action.run].close(step, outcome)

    async def do(self, action: Action, outcome: Outcome = DONE) -> Step:
        """Open, and close if admitted."""
        step = await self.open(action)
        if step.status == "admitted":
            await self.close(step, outcome)
        return step


def _described(kind: str, name: str, arguments: bytes) -> Description:
    """What a refund is from its arguments, for approvers who edit them."""
    said = json.loads(arguments)
    if said.get("cents", 1000) > 5000:
        raise PolicyDenied(action=name, reason="no refund is that large")
    return Description(effect=Effect.IRREVERSIBLE, target="order:1001", amount=Money(said.get("cents", 1000), "EUR"))


def refusal(step: Step) -> str:
    """The code that a step was refused with."""
    import orjson

    assert step.refusal is not None, step.status
    code: str = orjson.loads(step.refusal.value)["code"]
    return code


AtDesk = Callable[..., None]


@pytest.fixture
def at_desk(tmp_path: Path) -> AtDesk:
    """Runs an async function at a desk, then shows that its tables follow from the receipts alone."""

    def run(
        body: Callable[[Desk], Awaitable[None]],
        *,
        authorize: str = ALLOW,
        obligations: str = "",
        schema: str = "",
        groups: Mapping[str, Sequence[str]] | None = None,
        budgets: tuple[Budget, ...] = (),
    ) -> None:
        held = policies(tmp_path / "policy", authorize, obligations, schema)
        data = tmp_path / "data"
        asyncio.run(_at_desk(data, held, body, budgets, groups))
        projections: list[Projection] = [
            FactsProjection(),
            BudgetProjection(budgets),
            ApprovalsProjection(),
            StopsProjection(),
            AutonomyProjection(),
            PeopleProjection(),
            SigningKeysProjection(),
        ]
        for table in rebuild(data, projections):
            assert table.is_equal, table

    return run


async def _at_desk(
    data: Path,
    held: PolicySet,
    body: Callable[[Desk], Awaitable[None]],
    budgets: tuple[Budget, ...],
    groups: Mapping[str, Sequence[str]] | None,
) -> None:
    stops, tiers, clock = StopsProjection(), AutonomyProjection(), StillClock()
    projections: list[Projection] = [stops, tiers, FactsProjection(), BudgetProjection(budgets), ApprovalsProjection()]
    projections += [PeopleProjection(), SigningKeysProjection()]
    ledger = Ledger.open(data, projections=projections, clock=clock)
    await ledger.start()
    try:
        authorizer = CedarAuthorizer(
            held,
            ledger.reader.rows,
            stored_as=await ledger.store_object(TENANT, held.snapshot()),
            clock=clock,
            generation=lambda: stops.generation,
            cache=DecisionCache(),
            groups=groups,
            called=ledger.pseudonym,
            autonomy=tiers,
        )
        await body(
            Desk(
                ledger=ledger,
                authorizer=authorizer,
                approvals=Approvals(
                    book=ledger,
                    store=ledger.reader,
                    clock=clock,
                    approvers=Approvers.on(ledger, ledger.reader),
                    describe=_described,
                ),
                people=People(book=ledger, store=ledger.reader),
                keys=SigningKeys(book=ledger, store=ledger.reader),
                autonomy=Autonomy(book=ledger, store=ledger.reader),
                stops=Stops(book=ledger, store=ledger.reader),
                clock=clock,
            )
        )
    finally:
        await ledger.close()


def tokens(most: int) -> dict[str, Any]:
    """A description's ceiling in tokens."""
    return {"ceiling": Usage(input_tokens=most)}
