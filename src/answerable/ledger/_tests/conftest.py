"""A real ledger in a fresh directory, and short ways to put things on it."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from answerable.core import (
    Action,
    AgentId,
    Decision,
    Description,
    Effect,
    RunId,
    StepKey,
    TenantId,
    new_run_id,
    stable_json,
)
from answerable.ledger import Draft, Ledger, RunJournal, Slice

TENANT = TenantId("default")
PERMIT = Decision(verdict="permit", rules=("allow",), request=b'{"action":"x"}', policy="sha256:00")


def an_action(run: RunId, number: int = 1, effect: Effect = Effect.WRITE, **more: object) -> Action:
    """The run's `number`-th step: a tool call."""
    return Action(
        tenant=TENANT,
        run=run,
        agent=AgentId("clerk"),
        step=StepKey(f"{number:032x}"),
        branch="",
        kind="tool",
        name="shop.refund",
        arguments=stable_json({"order": number}),
        described=Description(effect=effect, target=f"order:{number}"),
        environment="development",
        **more,  # type: ignore[arg-type]
    )


async def a_run(ledger: Ledger) -> tuple[RunId, Slice, RunJournal]:
    """A run that is open and leased."""
    run = new_run_id()
    await ledger.open_run(
        Draft(
            tenant=TENANT,
            run=run,
            phase="run.open",
            agent="clerk",
            once=f"r:{run}",
            input=b'{"ticket":1}',
            members={"control": {"agent": "clerk"}},
        )
    )
    taken = await ledger.leases.claim(run)
    assert isinstance(taken, Slice)
    return run, taken, await ledger.journal(taken)


@pytest.fixture
def with_ledger(tmp_path: Path) -> Callable[[Callable[[Ledger], Awaitable[None]]], None]:
    """Runs an async function with a started ledger in `tmp_path`."""
    import asyncio

    def run(body: Callable[[Ledger], Awaitable[None]]) -> None:
        async def main() -> None:
            ledger = Ledger.open(tmp_path)
            await ledger.start()
            try:
                await body(ledger)
            finally:
                await ledger.close()

        asyncio.run(main())

    return run
