"""Where people decide: what waits, and the answer to it. The CLI, a console and a mail are views of this."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from answerable.core import (
    ApprovalId,
    Clock,
    FaultPoint,
    ReceiptId,
    RunId,
    StepKey,
    SystemClock,
    TenantId,
    format_time,
    parse_time,
    reach,
    stable_json,
)
from answerable.ledger import Draft, Prepared, Receipt
from answerable.policy._approvals import approvals_table
from answerable.policy._errors import ApprovalClosed, ApprovalUnknown, ApproverIsInitiator, ApproverLacksRole
from answerable.policy._ports import Book, Store

__all__ = ["Approval", "ApprovalDetail", "Approvals"]

_t = approvals_table.c
_COLUMNS = (
    _t.approval,
    _t.tenant,
    _t.run,
    _t.step,
    _t.digest,
    _t.agent,
    _t.name,
    _t.role,
    _t.not_initiator,
    _t.initiator,
    _t.asked,
    _t.due,
    _t.held,
    _t.state,
    _t.decided,
    _t.reason,
)
_P = sa.bindparam

_ALL = Prepared(sa.select(*_COLUMNS).where(_t.tenant == _P("tenant")).order_by(_t.asked, _t.approval))
_IN_STATE = Prepared(
    sa.select(*_COLUMNS).where(_t.tenant == _P("tenant"), _t.state == _P("state")).order_by(_t.asked, _t.approval)
)
_ONE = Prepared(sa.select(*_COLUMNS).where(_t.approval == _P("approval"), _t.tenant == _P("tenant")))
_DUE = Prepared(sa.select(*_COLUMNS).where(_t.state == _P("state"), _t.due <= _P("now")).order_by(_t.due))
_NEXT = Prepared(sa.select(sa.func.min(_t.due)).where(_t.state == _P("state")))

_DEFAULT = TenantId("default")


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A held action and what became of it.

    Args:
        state: `waiting`, `approved`, `rejected`, `timed-out`, or `closed` (its run ended first).
        name: of the action, `shop.refund`.
        initiator: who asked for the run, as the record calls them.
        held, decided: receipts of the hold and of the answer.
    """

    approval: ApprovalId
    tenant: TenantId
    run: RunId
    step: StepKey
    digest: str
    agent: str
    name: str
    role: str
    not_initiator: bool
    initiator: str
    asked: datetime
    due: datetime
    held: ReceiptId
    state: str
    decided: ReceiptId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDetail:
    """What a person needs to see before deciding.

    Args:
        action: the held receipt's `action`: kind, name, effect, target, amount, digest.
        rules: the policies that hold it.
        arguments: as the effect would get them, stable JSON; None once erased.
    """

    approval: Approval
    receipt: Receipt
    action: dict[str, Any]
    rules: tuple[str, ...]
    arguments: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvals:
    """What waits for a person, and their answers.

    Args:
        book: where answers are written down.
        store: where the record is read.
    """

    book: Book
    store: Store
    clock: Clock = field(default_factory=SystemClock)

    def list(self, *, state: str | None = "waiting", tenant: TenantId = _DEFAULT) -> Sequence[Approval]:
        """Approvals in a state, or in any; oldest first."""
        if state is None:
            return [_approval(row) for row in self.store.rows(_ALL, tenant=tenant)]
        return [_approval(row) for row in self.store.rows(_IN_STATE, tenant=tenant, state=state)]

    def show(self, approval: str, *, tenant: TenantId = _DEFAULT) -> ApprovalDetail:
        """One approval, with the exact action that it would let through.

        Raises:
            ApprovalUnknown: nothing waits, or ever waited, under that id.
        """
        found = self._find(approval, tenant)
        receipt = self.store.find(found.held)
        if receipt is None:
            raise ApprovalUnknown(approval=approval)
        said = receipt.predicate
        return ApprovalDetail(
            approval=found,
            receipt=receipt,
            action=said["action"],
            rules=tuple(said.get("authority", {}).get("rules", ())),
            arguments=self.store.text(receipt).input,
        )

    async def decide(
        self,
        approval: str,
        decision: Literal["approve", "reject"],
        *,
        by: str,
        roles: Collection[str],
        reason: str = "",
        tenant: TenantId = _DEFAULT,
    ) -> Approval:
        """Record a person's answer, once, and have the run go on.

        The record carries a pseudonym for `by`, the sealed text the name. `roles` is what they may act
        as, by the word of whoever authenticated them.

        Raises:
            ApprovalUnknown: no such approval.
            ApproverLacksRole: not theirs to decide.
            ApproverIsInitiator: they asked for the run themselves.
            ApprovalClosed: already decided, or its time has run out.
        """
        found = self._find(approval, tenant)
        if found.state != "waiting":
            raise ApprovalClosed(approval=approval, state=found.state)
        if found.role not in roles:
            raise ApproverLacksRole(approval=approval, role=found.role)
        if found.not_initiator and found.initiator and self._is(found.initiator, by, tenant):
            raise ApproverIsInitiator(approval=approval)
        if self.clock.now() >= found.due:  # silence until now was a denial, even if nobody wrote it down yet
            await self._write(found, "timeout")
            raise ApprovalClosed(approval=approval, state=self._find(approval, tenant).state)
        if not await self._write(found, decision, by=by, reason=reason):
            raise ApprovalClosed(approval=approval, state=self._find(approval, tenant).state)
        return self._find(approval, tenant)

    async def expire_due(self, now: datetime | None = None) -> Sequence[ApprovalId]:
        """Deny what nobody answered in time; the ids that this call denied."""
        moment = format_time(now or self.clock.now())
        due = [_approval(row) for row in self.store.rows(_DUE, state="waiting", now=moment)]
        return [each.approval for each in due if await self._write(each, "timeout")]

    def next_due(self) -> datetime | None:
        """When `expire_due` next has something to do."""
        ((due,),) = self.store.rows(_NEXT, state="waiting")
        return parse_time(due) if due else None

    def _find(self, approval: str, tenant: TenantId) -> Approval:
        rows = self.store.rows(_ONE, approval=approval, tenant=tenant)
        if not rows:
            raise ApprovalUnknown(approval=approval)
        return _approval(rows[0])

    def _is(self, initiator: str, by: str, tenant: TenantId) -> bool:
        # The initiator may be on record as a pseudonym or a plain name, with or without its type.
        bare = by.rpartition(":")[2]
        names = {by, bare, f"person:{bare}", f"user:{bare}"}
        return initiator in names or any(self.book.pseudonym(tenant, name) == initiator for name in names)

    async def _write(self, found: Approval, decision: str, *, by: str = "", reason: str = "") -> bool:
        """Whether this answer is the one on record."""
        control = {"approval": found.approval, "decision": decision, "role": found.role, "digest": found.digest}
        person = f"person:{by.rpartition(':')[2]}" if by else ""
        if by:
            control["by"] = self.book.pseudonym(found.tenant, person)
        if reason:
            control["reason"] = reason
        appended = await self.book.append(
            Draft(
                tenant=found.tenant,
                run=found.run,
                step=found.step,
                phase="approval",
                agent=found.agent,
                # INVARIANT: one answer per approval, whoever is first: the clock or a person.
                once=f"a:{found.approval}",
                members={"control": control},
                input=stable_json({"by": by, "reason": reason}) if by else None,
                subjects=(person,) if person else (),
                wake=True,
            )
        )
        reach(FaultPoint.AFTER_APPROVAL)
        return bool(appended.status == "ok")


def _approval(row: Any) -> Approval:
    return Approval(
        approval=row[0],
        tenant=row[1],
        run=row[2],
        step=row[3],
        digest=row[4],
        agent=row[5],
        name=row[6],
        role=row[7],
        not_initiator=bool(row[8]),
        initiator=row[9],
        asked=parse_time(row[10]),
        due=parse_time(row[11]),
        held=row[12],
        state=row[13],
        decided=row[14],
        reason=row[15],
    )
