"""Budget arithmetic against a model that fits on a page.

Random runs of opening alone and all at once, settling, failing, losing, writing off, trying again and crashing:
after each the table says what the model says, and what could have been used never passes a limit.
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
    Money,
    Outcome,
    RunId,
    StepKey,
    TenantId,
    Usage,
    stable_json,
)
from answerable.ledger import Draft, Ledger, Prepared, RunJournal, Slice, metadata, rebuild
from answerable.policy import Budget, BudgetProjection
from tests.soak import longer

TENANT = TenantId("default")
RUNS = (RunId("run_" + "a" * 24), RunId("run_" + "b" * 24))
PERMIT = Decision(verdict="permit", rules=("allow",), request=b'{"action":"x"}')

TABLE = metadata.tables["policy_budgets"]
ROWS = Prepared(sa.select(TABLE.c.scope, TABLE.c.dimension, TABLE.c.reserved, TABLE.c.spent))
BUDGETS = (
    Budget(scope="agent:clerk", tokens=150),
    Budget(scope="mandate:spring", amount=Money(60, "EUR"), tokens=120),
    Budget(scope="tenant", calls=6),
)
LIMITS = {
    **{(f"run:{run}", "tokens"): 100 for run in RUNS},
    ("agent:clerk", "tokens"): 150,
    ("mandate:spring", "amount:EUR"): 60,
    ("mandate:spring", "tokens"): 120,
    ("tenant", "calls"): 6,
}
Step_ = tuple[RunId, int]
Part = tuple[str, str]


@dataclass(frozen=True)
class Ask:
    """What a step asks for, the same however often it is tried."""

    tokens: int
    cents: int

    def parts(self, run: RunId) -> dict[Part, int]:
        asked = {(f"run:{run}", "tokens"): self.tokens, ("agent:clerk", "tokens"): self.tokens}
        if run == RUNS[1]:
            asked |= {("mandate:spring", "tokens"): self.tokens, ("mandate:spring", "amount:EUR"): self.cents}
        return {part: amount for part, amount in {**asked, ("tenant", "calls"): 1}.items() if amount}


@dataclass
class Model:
    """What is reserved by which step, and what is spent."""

    reserved: dict[Step_, dict[Part, int]] = field(default_factory=dict)
    spent: dict[Part, int] = field(default_factory=dict)

    def used(self, part: Part, *, besides: Step_) -> int:
        held = sum(of.get(part, 0) for step, of in self.reserved.items() if step != besides)
        return held + self.spent.get(part, 0)

    def fits(self, step: Step_, ask: Ask) -> bool:
        return all(self.used(part, besides=step) + more <= LIMITS[part] for part, more in ask.parts(step[0]).items())

    def settle(self, step: Step_, used: int, *, went_well: bool) -> None:
        for (scope, dimension), held in self.reserved.pop(step).items():
            if not scope.startswith("run:"):
                amount = {"tokens": used, "calls": 1}.get(dimension, held if went_well else 0)
                self._spend((scope, dimension), amount)
        self._spend((f"run:{step[0]}", "tokens"), used)

    def _spend(self, part: Part, used: int) -> None:
        self.spent[part] = self.spent.get(part, 0) + used

    def rows(self) -> dict[Part, tuple[int, int]]:
        parts = set(self.spent) | {part for held in self.reserved.values() for part in held}
        said = {}
        for part in parts:
            held = sum(of.get(part, 0) for of in self.reserved.values())
            if held or self.spent.get(part, 0):
                said[part] = (held, self.spent.get(part, 0))
        return said


MOVES = st.tuples(
    st.sampled_from(["open", "open", "open", "settle", "settle", "fail", "lose", "write off", "crash", "all at once"]),
    st.sampled_from(RUNS),
    st.integers(0, 3),
    st.builds(Ask, tokens=st.sampled_from([0, 1, 30, 60, 100]), cents=st.sampled_from([0, 10, 40])),
    st.sampled_from([0, 1, 30, 90]),
)


@pytest.mark.requirement("RT-6", "MD-3")
@settings(max_examples=longer(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(moves=st.lists(MOVES, max_size=25))
def test_budgets_say_what_the_model_says_whatever_happens(moves: list[tuple[str, RunId, int, Ask, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_play(Path(directory), moves))
        for table in rebuild(Path(directory), [BudgetProjection(BUDGETS)]):
            assert table.is_equal, table


async def _play(directory: Path, moves: list[tuple[str, RunId, int, Ask, int]]) -> None:
    model = Model()
    asks: dict[Step_, Ask] = {}
    ledger, journals = await _started(directory)
    try:
        for move, run, number, ask, used in moves:
            step = (run, number)
            asks.setdefault(step, ask)
            if move == "crash":
                await ledger.close()
                ledger, journals = await _started(directory)
            elif move == "open":
                await _open(journals, [step], model, asks)
            elif move == "all at once":
                every = [(of, each) for of in RUNS for each in range(4)]
                for each in every:
                    asks.setdefault(each, ask)
                await _open(journals, every, model, asks)
            elif step in model.reserved:
                claim = await journals[run].claim(_action(step, asks[step]))
                if claim.doubt is not None:  # else a further attempt was refused, and that is final
                    await _end(move, journals[run], claim.doubt, model, step, used)
            rows = {(row[0], row[1]): (row[2], row[3]) for row in ledger.reader.rows(ROWS) if row[2] or row[3]}
            assert rows == model.rows()
    finally:
        await ledger.close()


async def _open(journals: dict[RunId, RunJournal], steps: list[Step_], model: Model, asks: dict[Step_, Ask]) -> None:
    """First attempts, or further ones beside reservations that they take over; several of them race each other."""
    actions = {step: _action(step, asks[step]) for step in steps}
    new = [step for step in steps if (await journals[step[0]].claim(actions[step])).outcome is None]
    fitted = {step: model.fits(step, asks[step]) for step in new}
    opened = await asyncio.gather(*(journals[step[0]].open(actions[step], PERMIT) for step in new))
    for step, said in zip(new, opened, strict=True):
        assert said.status in ("admitted", "refused")
        if said.status == "admitted":
            assert fitted[step]  # what did not fit before the others came fits no better after them
            model.reserved[step] = asks[step].parts(step[0])
    for step, said in zip(new, opened, strict=True):
        if said.status == "admitted":
            continue
        # What was refused fits no better at the end, when all that was admitted is reserved.
        assert not model.fits(step, asks[step])
    admitted = [step for step, said in zip(new, opened, strict=True) if said.status == "admitted"]
    for part in {part for step in admitted for part in asks[step].parts(step[0])}:
        assert model.used(part, besides=(RUNS[0], -1)) <= LIMITS[part]


async def _end(move: str, journal: RunJournal, doubt: Step, model: Model, step: Step_, used: int) -> None:
    if move in ("settle", "fail"):
        went_well = move == "settle"
        await journal.close(doubt, Outcome(status="ok" if went_well else "failed", usage=Usage(input_tokens=used)))
        model.settle(step, used, went_well=went_well)
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
        members: dict[str, Any] = {"control": {"agent": "clerk", "limits": {"tokens": 100}}}
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


def _action(step: Step_, ask: Ask) -> Action:
    run, number = step
    return Action(
        tenant=TENANT,
        run=run,
        agent=AgentId("clerk"),
        step=StepKey(f"{number:032x}"),
        branch="",
        kind="tool",
        name="pay",
        arguments=stable_json({"step": number}),
        described=Description(
            effect=Effect.WRITE,
            ceiling=Usage(input_tokens=ask.tokens),
            amount=Money(ask.cents, "EUR") if ask.cents else None,
        ),
        environment="development",
        mandate="spring" if run == RUNS[1] else "",
    )
