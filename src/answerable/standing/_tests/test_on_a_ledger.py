"""Verdicts and trails over a real, signed record, read by another reader than the one that wrote it."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from answerable.core import (
    Action,
    AgentId,
    ApprovalObligation,
    Decision,
    Description,
    Effect,
    Money,
    Outcome,
    ReceiptId,
    RunId,
    StepKey,
    TenantId,
    canonical_json,
    new_run_id,
    stable_json,
)
from answerable.ledger import Draft, Ledger, Phase, Reader, Receipt, Ruling, RunJournal, Slice, Tx
from answerable.standing import Specs, check_record, check_run, load_specs, trail_lines, verdict_lines, why
from answerable.standing._tests.test_demo_clauses import EXAMPLE

TENANT = TenantId("default")
PERMIT = Decision(verdict="permit", rules=("refund-small",), policy="sha256:00")
HOLD = Decision(
    verdict="hold",
    rules=("refund-large",),
    policy="sha256:00",
    obligations=(ApprovalObligation(role="support-lead"),),
)
DONE = Outcome(status="ok", value=stable_json({"refunded": True}))


class Granted:
    """Approvals as the simplest projection: what was granted for a digest is taken by its intent."""

    tables: Sequence[sa.Table] = ()
    phases: frozenset[Phase] = frozenset({"approval"})

    def __init__(self) -> None:
        self.by_digest: dict[str, ReceiptId] = {}

    def check(self, tx: Tx, action: Action, decision: Decision, digest: str) -> Ruling | None:
        return Ruling(approvals=(self.by_digest[digest],)) if digest in self.by_digest else None

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        self.by_digest[receipt.predicate["control"]["digest"]] = ReceiptId(receipt.predicate["id"])


class Desk:
    """Opens ticket runs on a ledger and refunds in them."""

    def __init__(self, ledger: Ledger, specs: Specs) -> None:
        self.ledger = ledger
        self.specs = specs

    async def open(self, *resources: str) -> tuple[RunId, RunJournal]:
        run = new_run_id()
        stored = {spec.id: await self.ledger.store_object(TENANT, spec.snapshot()) for spec in self.specs}
        control: dict[str, Any] = {"agent": "support", "environment": "demo", "resources": list(resources)}
        await self.ledger.open_run(
            Draft(
                tenant=TENANT,
                run=run,
                phase="run.open",
                agent="support",
                on_behalf_of=self.ledger.pseudonym(TENANT, "user:mail"),
                input=b"{}",
                members={"control": control | {"specs": stored}},
            )
        )
        taken = await self.ledger.leases.claim(run)
        assert isinstance(taken, Slice)
        return run, await self.ledger.journal(taken)

    def refund(self, run: RunId, number: int, order: str, minor: int) -> Action:
        return Action(
            tenant=TENANT,
            run=run,
            agent=AgentId("support"),
            step=StepKey(f"{number:032x}"),
            branch="",
            kind="tool",
            name="shop.refund",
            arguments=stable_json({"order": order}),
            described=Description(
                effect=Effect.IRREVERSIBLE,
                target=order,
                amount=Money(minor, "EUR"),
                specs=self.specs.governing(agent="support", tool="shop.refund"),
            ),
            environment="demo",
            on_behalf_of="user:mail",
        )

    async def approve(self, run: RunId, *, by: str) -> None:
        held = self.ledger.reader.receipts(run=run)[-1].predicate
        control = {
            "approval": held["control"]["approval"],
            "decision": "approve",
            "by": self.ledger.pseudonym(TENANT, by),
            "role": "support-lead",
            "digest": held["action"]["digest"],
        }
        await self.ledger.append(
            Draft(
                tenant=TENANT,
                run=run,
                phase="approval",
                agent="support",
                input=canonical_json({"by": by}),
                members={"control": control},
            )
        )


async def tickets(directory: Path, *, approver: str) -> list[RunId]:
    """Three runs: approved and done; small and done; one whose refund of the first order is in doubt."""
    ledger = Ledger.open(directory, projections=[Granted()])
    await ledger.start()
    desk = Desk(ledger, load_specs(EXAMPLE))
    large, journal = await desk.open("order:1001")
    action = desk.refund(large, 1, "order:1001", 25_000)
    assert (await journal.open(action, HOLD)).status == "held"
    await desk.approve(large, by=approver)
    await journal.close(await journal.open(action, HOLD), DONE)
    small, journal = await desk.open("order:1002")
    await journal.close(await journal.open(desk.refund(small, 1, "order:1002", 500), PERMIT), DONE)
    lost, journal = await desk.open("order:1002", "order:1009")
    await journal.open(desk.refund(lost, 1, "order:1002", 500), PERMIT)
    await ledger.close()
    return [large, small, lost]


@pytest.mark.requirement("EV-4", "EV-5")
def test_each_run_is_judged_from_its_receipts_by_the_clauses_recorded_with_it(tmp_path: Path) -> None:
    runs = asyncio.run(tickets(tmp_path, approver="user:dana"))

    reader = Reader.open(tmp_path)
    verdicts = {run: {v.clause: v for v in check_record(reader, [run])} for run in runs}
    together = {v.clause: v.verdict for v in check_record(reader)}
    alone = {v.clause: v.verdict for v in check_run(load_specs(EXAMPLE), reader.receipts(run=runs[1]))}
    reader.close()

    assert [[v.verdict for v in verdicts[run].values()] for run in runs] == [
        ["satisfied", "satisfied", "satisfied"],
        ["not applicable", "satisfied", "satisfied"],
        ["not applicable", "undetermined", "satisfied"],
    ]
    assert together == {"REFUND-1": "satisfied", "REFUND-2": "undetermined", "REFUND-3": "satisfied"}
    assert alone["REFUND-2"] == "undetermined"
    assert all(v.is_as_recorded for run in runs for v in verdicts[run].values())


@pytest.mark.requirement("EV-5")
def test_an_approval_by_the_initiator_is_found_on_a_signed_record_too(tmp_path: Path) -> None:
    large, *_ = asyncio.run(tickets(tmp_path, approver="user:mail"))

    reader = Reader.open(tmp_path)
    verdict = check_record(reader, [large])[0]
    text = verdict_lines([verdict])
    phases = [receipt.phase for each in verdict.shown_by if (receipt := reader.find(each))]
    reader.close()

    assert verdict.verdict == "violated"
    assert phases == ["intent", "approval"]
    assert "was given by the one who asked for the run" in "\n".join(text)


@pytest.mark.requirement("EV-4")
def test_an_order_leads_back_to_the_person_and_the_clause(tmp_path: Path) -> None:
    asyncio.run(tickets(tmp_path, approver="user:dana"))

    reader = Reader.open(tmp_path)
    trail = why(reader, "order:1001")
    text = "\n".join(trail_lines(trail))
    doubtful = why(reader, "order:1002").actions
    reader.close()

    (action,) = trail.actions
    assert [phase for phase, _ in action.receipts] == ["run.open", "held", "intent", "outcome"]
    assert action.approvals[0].person.name == "user:dana"
    assert [clause.verdict for clause in action.clauses] == ["satisfied"] * 3
    assert "approve by user:dana (party_" in text
    assert [each.status for each in doubtful] == ["ok", "unknown"]
