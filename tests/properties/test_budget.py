"""Budget arithmetic against a model that fits on a page.

Random runs of opening, settling, losing, writing off, trying again and crashing: after each the table
says what the model says, and what could have been used never passes a limit.
"""

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from answerable.action import OutcomeUnknown, Step
from answerable.core import (
    Action,
    AgentId,
    Decision,
    Description,
    Effect,
    Outcome,
    RunId,
    StepKey,
    TenantId,
    Usage,
    stable_json,
)
from answerable.ledger import Draft, Ledger, Prepared, RunJournal, Slice, metadata, rebuild
from answerable.policy import Budget, BudgetProjection

TENANT = TenantId("default")
RUNS = (RunId("run_" + "a" * 24), RunId("run_" + "b" * 24))
PERMIT = Decision(verdict="permit", rules=("allow",), request=b'{"action":"x"}')

TABLE = metadata.tables["policy_budgets"]
ROWS = Prepared(sa.select(TABLE.c.scope, TABLE.c.dimension, TABLE.c.reserved, TABLE.c.spent))
OF_RUN = 100
LIMITS = {**{f"run:{run}": OF_RUN for run in RUNS}, "agent:clerk": 150, "tenant": 6}
BUDGETS = (Budget(scope="agent:clerk", tokens=150), Budget(scope="tenant", calls=6))


@dataclass
class Model:
    """What is reserved by which step, and what is spent, per scope and dimension."""

    reserved: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)

    def asks(self, run: str, amount: int) -> dict[str, int]:
        return {f"run:{run}": amount, "agent:clerk": amount, "tenant": 1} if amount else {"tenant": 1}

    def used(self, scope: str, *, besides: tuple[str, str]) -> int:
        held = sum(of.get(scope, 0) for step, of in self.reserved.items() if step != besides)
        return held + self.spent.get(scope, 0)

    def fits(self, step: tuple[str, str], amount: int) -> bool:
        asked = self.asks(step[0], amount)
        return all(self.used(scope, besides=step) + more <= LIMITS[scope] for scope, more in asked.items())

    def settle(self, step: tuple[str, str], amount: int, used: int) -> None:
        held = self.reserved.pop(step)
        for scope in held:
            if scope != f"run:{step[0]}":
                self._spend(scope, 1 if scope == "tenant" else used)
        self._spend(f"run:{step[0]}", used)

    def _spend(self, scope: str, used: int) -> None:
        self.spent[scope] = self.spent.get(scope, 0) + used

    def rows(self) -> dict[str, tuple[int, int]]:
        scopes = set(self.spent) | {scope for held in self.reserved.values() for scope in held}
        said = {}
        for scope in scopes:
            held = sum(of.get(scope, 0) for of in self.reserved.values())
            if held or self.spent.get(scope, 0):
                said[scope] = (held, self.spent.get(scope, 0))
        return said


MOVES = st.tuples(
    st.sampled_from(["open", "open", "open", "settle", "settle", "lose", "write off", "crash"]),
    st.sampled_from(RUNS),
    st.integers(0, 3),
    st.sampled_from([0, 1, 30, 60, 100]),
    st.sampled_from([0, 1, 30, 90]),
)


@pytest.mark.requirement("RT-6")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves=st.lists(MOVES, max_size=30))
def test_budgets_say_what_the_model_says_whatever_happens(moves: list[tuple[str, RunId, int, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_play(Path(directory), moves))
        for table in rebuild(Path(directory), [BudgetProjection(BUDGETS)]):
            assert table.is_equal, table


async def _play(directory: Path, moves: list[tuple[str, RunId, int, int, int]]) -> None:
    model = Model()
    ceilings: dict[tuple[str, str], int] = {}
    ledger, journals = await _started(directory)
    try:
        for move, run, number, ceiling, used in moves:
            step = (run, f"{number:032x}")
            ceiling = ceilings.setdefault(step, ceiling)
            action = _action(run, step[1], ceiling)
            if move == "crash":
                await ledger.close()
                ledger, journals = await _started(directory)
            elif move == "open":
                await _open(journals[run], action, model, step, ceiling)
            elif step in model.reserved:
                claim = await journals[run].claim(action)
                assert claim.doubt is not None
                await _end(move, journals[run], claim.doubt, model, step, ceiling, used)
            rows = {row[0]: (row[2], row[3]) for row in ledger.reader.rows(ROWS) if row[2] or row[3]}
            assert rows == model.rows()
    finally:
        await ledger.close()


async def _open(journal: RunJournal, action: Action, model: Model, step: tuple[str, str], ceiling: int) -> None:
    """A first attempt, or one more beside a reservation that it takes over."""
    if (await journal.claim(action)).outcome is not None:
        return
    fits = model.fits(step, ceiling)
    opened = await journal.open(action, PERMIT)
    assert opened.status == ("admitted" if fits else "refused")
    if fits:
        model.reserved[step] = model.asks(step[0], ceiling)


async def _end(
    move: str, journal: RunJournal, doubt: Step, model: Model, step: tuple[str, str], ceiling: int, used: int
) -> None:
    if move == "settle":
        await journal.close(doubt, Outcome(status="ok", usage=Usage(input_tokens=used)))
        model.settle(step, ceiling, used)
    elif move == "lose":  # nothing is given back: it may have been used
        await journal.close(doubt, Outcome.of_error("unknown", OutcomeUnknown(name="x", reason="no answer")))
    else:
        await journal.write_off(doubt, "it did not happen")
        del model.reserved[step]


async def _started(directory: Path) -> tuple[Ledger, dict[RunId, RunJournal]]:
    ledger = Ledger.open(directory, projections=[BudgetProjection(BUDGETS)])
    await ledger.start()
    journals = {}
    for run in RUNS:
        members: dict[str, Any] = {"control": {"agent": "clerk", "limits": {"tokens": OF_RUN}}}
        await ledger.open_run(
            Draft(
                tenant=TENANT,
                run=run,
                phase="run.open",
                agent="clerk",
                once=f"r:{run}",
                input=b"{}",
                members=members,
            )
        )
        taken = await ledger.leases.claim(run)
        assert isinstance(taken, Slice)
        journals[run] = await ledger.journal(taken)
    return ledger, journals


def _action(run: RunId, step: str, ceiling: int) -> Action:
    return Action(
        tenant=TENANT,
        run=run,
        agent=AgentId("clerk"),
        step=StepKey(step),
        branch="",
        kind="model",
        name="scripted:x",
        arguments=stable_json({"step": step}),
        described=Description(effect=Effect.WRITE, ceiling=Usage(input_tokens=ceiling)),
        environment="development",
    )
