"""The finance operations example: a model that obeys every invoice, and a bank that obeys every call."""

import asyncio
import contextlib
import importlib.util
import json
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from answerable import Gate
from answerable.app import all_projections
from answerable.core import Refused, RunId
from answerable.ledger import rebuild
from answerable.policy import ApproverIsInLine, replay_decisions
from answerable.standing import check_record
from tests.architecture.files import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.requirement("SC-3")]

EXAMPLE = ROOT / "examples" / "finance_ops"
SMALL, LARGE = "payment:I-1/V-1/24000", "payment:I-2/V-2/840000"
WEDNESDAY = datetime(2026, 11, 18, 10, 0, tzinfo=UTC)


class At:
    """A clock that goes on from another time than now."""

    def __init__(self, start: datetime) -> None:
        self._start = start
        self._began = datetime.now(UTC)

    def now(self) -> datetime:
        return self._start + (datetime.now(UTC) - self._began)

    def monotonic_s(self) -> float:
        return (datetime.now(UTC) - self._began).total_seconds()


def the_agent() -> ModuleType:
    spec = importlib.util.spec_from_file_location("finance_ops_agent", EXAMPLE / "agent.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its type hints are looked up there
    spec.loader.exec_module(module)
    return module


class Desk:
    """The gate, and what the bank's own books say."""

    def __init__(self, gate: Gate, books: Path) -> None:
        self.gate = gate
        self._books = books

    def books(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self._books)) as books:
            return books.execute(query).fetchall()

    def moved(self) -> list[tuple[Any, ...]]:
        return self.books("SELECT invoice, vendor, amount_minor FROM payments ORDER BY id")

    async def start(self, invoices: list[str], *released: str, by: str = "person:ana") -> RunId:
        return await self.gate.start("ops", {"invoices": invoices}, on_behalf_of=by, resources=released)

    async def report(self, run: RunId) -> dict[str, Any]:
        done = await self.gate.result(run)
        return dict(done)

    async def held(self) -> str:
        while not (waiting := self.gate.approvals.list()):  # noqa: ASYNC110 - the record has no event
            await asyncio.sleep(0.02)
        return str(waiting[0].approval)

    async def approve(self, approval: str, by: str) -> None:
        await self.gate.approvals.decide(approval, "approve", by=by, roles=[], reason="as ordered")


def at_the_bank(
    folder: Path, body: Callable[[Desk], Awaitable[None]], *, at: datetime = WEDNESDAY, agent: Any = None
) -> None:
    module = the_agent()
    app = module.build(data=folder / "data", books=folder / "books.sqlite3")
    if agent is not None:
        app.agent(name="ops", groups=["finance-ops"])(agent)

    async def main() -> None:
        async with asyncio.timeout(50), app.gate(clock=At(at)) as gate:
            people = gate.desk.people
            await people.set("ana", ["accounts-payable"], reports_to="boss")
            await people.set("boss", ["treasurer"])
            await people.set("tom", ["treasurer"])
            await people.set("ute", ["treasurer"])
            await people.set("sal", ["sales"])
            await body(Desk(gate, folder / "books.sqlite3"))

    asyncio.run(main())
    assert all(table.is_equal for table in rebuild(folder / "data", all_projections()))


def holds(desk: Desk, run: RunId) -> bool:
    """Whether every clause of the specification holds of the run, and its decisions come out the same again."""
    verdicts = {each.clause: each.verdict for each in check_record(desk.gate.reader, [run])}
    assert verdicts.keys() == {"PAY-1", "PAY-2", "PAY-3", "PAY-4"}
    same = replay_decisions(desk.gate.reader, run).is_same
    return same and set(verdicts.values()) <= {"satisfied", "not applicable"}


@pytest.mark.requirement("GV-4", "GV-1")
def test_an_injected_invoice_moves_not_a_cent_and_what_was_released_is_paid(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.start(["I-1", "I-3"], SMALL)

        report = await desk.report(run)

        assert desk.moved() == [("I-1", "V-1", 24000)]
        assert desk.books("SELECT iban FROM vendors WHERE id = 'V-1'") == [("DE89 3704 0044 0532 0130 00",)]
        assert desk.books("SELECT count(*) FROM calls WHERE tool = 'change_account'") == [(0,)]
        assert (
            sorted(said.partition(" ")[0] for said in report["refused"]) == ["bank.change_account"] + ["bank.pay"] * 5
        )
        assert set(report["refused"].values()) == {"refused.policy_denied"}
        assert desk.books("SELECT transaction_id FROM flags") == [("T-4",)]
        assert desk.books("SELECT count(*) FROM summaries") == [(1,)]
        assert holds(desk, run)

    at_the_bank(tmp_path, body)


@pytest.mark.requirement("GV-2")
def test_above_the_limit_two_treasurers_approve_and_neither_is_the_releasers_superior(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.start(["I-2"], LARGE)
        approval = await desk.held()
        with pytest.raises(ApproverIsInLine):
            await desk.approve(approval, "boss")
        await desk.approve(approval, "tom")
        assert desk.gate.approvals.show(approval).approval.state == "waiting"
        assert desk.moved() == []
        await desk.approve(approval, "ute")

        report = await desk.report(run)

        assert report["refused"] == {}
        assert desk.moved() == [("I-2", "V-2", 840000)]
        assert holds(desk, run)

    at_the_bank(tmp_path, body)


def test_the_same_payment_is_not_made_by_a_second_run(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        first = await desk.report(await desk.start(["I-1"], SMALL))

        second = await desk.report(await desk.start(["I-1"], SMALL))

        assert (first["refused"], set(second["refused"].values())) == ({}, {"refused.policy_denied"})
        assert desk.moved() == [("I-1", "V-1", 24000)]

    at_the_bank(tmp_path, body)


@pytest.mark.requirement("GV-1")
@pytest.mark.parametrize(
    ("by", "at"),
    [
        ("person:sal", WEDNESDAY),
        ("schedule:ana", WEDNESDAY),
        ("", WEDNESDAY),
        ("person:ana", WEDNESDAY + timedelta(days=3)),
        ("person:ana", WEDNESDAY + timedelta(hours=9)),
    ],
    ids=["of-sales", "a-schedule", "nobody", "on-a-saturday", "in-the-evening"],
)
def test_nothing_is_paid_for_whom_or_when_policy_does_not_let_it(tmp_path: Path, by: str, at: datetime) -> None:
    async def body(desk: Desk) -> None:
        report = await desk.report(await desk.start(["I-1"], SMALL, by=by))

        assert list(report["refused"].values()) == ["refused.policy_denied"]
        assert desk.moved() == []

    at_the_bank(tmp_path, body, at=at)


@pytest.mark.requirement("GV-4")
def test_whatever_a_hijacked_agent_tries_only_what_was_released_moves(tmp_path: Path) -> None:
    tried = [
        {"invoice": invoice, "vendor": vendor, "amount_minor": cents, "currency": currency}
        for invoice in ("I-1", "I-3", "I-1/V-1", "")
        for vendor in ("V-1", "V-3", "V-1/24000")
        for cents, currency in ((1, "EUR"), (24000, "EUR"), (24000, "USD"), (23999, "EUR"), (-24000, "EUR"))
    ]

    async def hijacked(run: Any, given: Any) -> dict[str, Any]:
        done = []
        for said in tried:
            with contextlib.suppress(Exception):
                await run.branch(json.dumps(said).replace("/", "|")).tool("bank.pay", **said)
                done.append(said)
        return {"done": done}

    async def body(desk: Desk) -> None:
        run = await desk.gate.start("ops", None, on_behalf_of="person:ana", resources=[SMALL])

        await desk.gate.result(run)

        assert desk.moved() == [("I-1", "V-1", 24000)]
        assert desk.books("SELECT count(*) FROM calls WHERE tool = 'pay'") == [(1,)]

    at_the_bank(tmp_path, body, agent=hijacked)


def test_the_examples_policies_are_the_pack(tmp_path: Path) -> None:
    pack = ROOT / "src" / "answerable" / "cli" / "_packs" / "finance_ops" / "policy"

    def texts(folder: Path) -> dict[str, str]:
        return {str(file.relative_to(folder)): file.read_text() for file in sorted(folder.rglob("*.*"))}

    assert texts(EXAMPLE / "policy") == texts(pack)


def test_an_agent_of_no_group_may_not_even_look(tmp_path: Path) -> None:
    async def nosy(run: Any, given: Any) -> Any:
        return await run.tool("bank.list_transactions")

    module = the_agent()
    app = module.build(data=tmp_path / "data", books=tmp_path / "books.sqlite3")
    app.agent(name="nosy")(nosy)

    async def main() -> None:
        async with asyncio.timeout(30), app.gate(clock=At(WEDNESDAY)) as gate:
            with pytest.raises(Refused):
                await gate.result(await gate.start("nosy", None))

    asyncio.run(main())
