"""Where people decide: what waits, and the answers to it. CLI, page, console and mail are views of this."""

import builtins
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import orjson
import sqlalchemy as sa

from answerable.core import (
    AnswerableError,
    ApprovalId,
    ApprovalObligation,
    Clock,
    FaultPoint,
    Money,
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
from answerable.policy._answers import Answer, Scope, edited_action, statement_of
from answerable.policy._approvals import answers_table, approvals_table, terms_of
from answerable.policy._errors import (
    AnswerUnsigned,
    ApprovalClosed,
    ApprovalUnknown,
    ApproverAnswered,
    ApproverIsInitiator,
    ApproverIsInLine,
    ApproverLacksRole,
    EditNotPossible,
    RepeatNotAllowed,
)
from answerable.policy._ports import Approvers, Book, Describes, Store

__all__ = ["Approval", "ApprovalDetail", "Approvals"]

_t, _a = approvals_table.c, answers_table.c
_COLUMNS = (
    _t.approval,
    _t.tenant,
    _t.run,
    _t.step,
    _t.digest,
    _t.agent,
    _t.name,
    _t.role,
    _t.terms,
    _t.stage,
    _t.initiator,
    _t.asked,
    _t.due,
    _t.held,
    _t.state,
    _t.answers,
    _t.votes,
    _t.decided,
    _t.reason,
    _t.kind,
    _t.target,
    _t.amount,
    _t.currency,
)
_P = sa.bindparam

_ALL = Prepared(sa.select(*_COLUMNS).where(_t.tenant == _P("tenant")).order_by(_t.asked, _t.approval))
_IN_STATE = Prepared(
    sa.select(*_COLUMNS).where(_t.tenant == _P("tenant"), _t.state == _P("state")).order_by(_t.asked, _t.approval)
)
_ONE = Prepared(sa.select(*_COLUMNS).where(_t.approval == _P("approval"), _t.tenant == _P("tenant")))
_DUE = Prepared(sa.select(*_COLUMNS).where(_t.state == _P("state"), _t.due <= _P("now")).order_by(_t.due))
_NEXT = Prepared(sa.select(sa.func.min(_t.due)).where(_t.state == _P("state")))
_ANSWERS = Prepared(
    sa.select(_a.person, _a.decision, _a.approval, _a.receipt)
    .where(sa.or_(_a.approval == _P("approval"), sa.and_(_a.run == _P("run"), _a.digest == _P("digest"))))
    .order_by(_a.receipt)
)

_DEFAULT = TenantId("default")


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A held action and what became of it.

    Args:
        state: `waiting`, `approved`, `rejected`, `timed-out`, `edited` (it goes on as another action), or
            `closed` (its run ended first).
        kind, name, target, amount: of the action: what it is (`shop.refund`), acts on and moves.
        role: who is asked now; another than at first once it has been escalated `stage` times.
        votes: how many have approved, of `terms.n`.
        initiator: who asked for the run, as the record calls them.
        held, decided: receipts of the hold and of the answer that settled it, or the last one.
    """

    approval: ApprovalId
    tenant: TenantId
    run: RunId
    step: StepKey
    digest: str
    agent: str
    name: str
    role: str
    terms: ApprovalObligation
    stage: int
    initiator: str
    asked: datetime
    due: datetime
    held: ReceiptId
    state: str
    answers: int
    votes: int
    decided: ReceiptId
    reason: str
    kind: str = "tool"
    target: str = ""
    amount: Money | None = None

    @property
    def not_initiator(self) -> bool:
        return self.terms.not_initiator


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalDetail:
    """What a person needs to see before deciding.

    Args:
        action: the held receipt's `action`: kind, name, effect, target, amount, digest.
        rules: the policies that hold it.
        arguments: as the effect would get them, stable JSON; None once erased.
        given: answers so far, each `(person as the record calls them, decision, receipt)`.
        provenance: where its critical arguments come from, as the receipt has it.
    """

    approval: Approval
    receipt: Receipt
    action: dict[str, Any]
    rules: tuple[str, ...]
    arguments: bytes | None
    given: tuple[tuple[str, str, str], ...] = ()
    provenance: tuple[dict[str, Any], ...] = ()


class _Anybody:
    """Who may answer where nobody is registered: whoever has the role by the word of their authenticator."""

    def roles_of(self, person: str, given: Sequence[str], now: datetime) -> frozenset[str]:
        return frozenset(given)

    def is_in_line(self, one: str, other: str) -> bool:
        return False

    def must_sign(self, person: str) -> bool:
        return False

    def verify(self, person: str, message: bytes, signature: Mapping[str, str]) -> dict[str, str]:
        raise AnswerUnsigned(approval="", problem="nobody has registered a key here")


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvals:
    """What waits for people, and their answers.

    Args:
        book: where answers are written down.
        store: where the record is read.
        approvers: who may answer.
        describe: knows the tools, for edits; None where no gate runs.
    """

    book: Book
    store: Store
    clock: Clock = field(default_factory=SystemClock)
    approvers: Approvers = field(default_factory=_Anybody)
    describe: Describes | None = None

    def list(self, *, state: str | None = "waiting", tenant: TenantId = _DEFAULT) -> builtins.list[Approval]:
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
            provenance=tuple(said.get("authority", {}).get("provenance", ())),
            given=tuple((row[0], row[1], row[3]) for row in self._given(found)),
        )

    def obstacle(
        self, approval: str, *, by: str, roles: Collection[str], tenant: TenantId = _DEFAULT
    ) -> AnswerableError | None:
        """Why this person's answer would be refused, whatever it is; None where it would count.

        Raises:
            ApprovalUnknown: no such approval.
        """
        found = self._find(approval, tenant)
        person = self._called(by, tenant)
        if mine := self._mine(found, person):
            return ApproverAnswered(approval=approval, decision=mine, role=found.role)
        if found.state != "waiting":
            return ApprovalClosed(approval=approval, state=found.state)
        try:
            self._check_person(found, by, person, roles)
        except (ApproverLacksRole, ApproverIsInitiator, ApproverIsInLine) as error:
            return error
        return None

    def statement(
        self,
        approval: str,
        decision: Literal["approve", "reject"],
        *,
        key: str,
        reason: str = "",
        scope: Scope = "action",
        arguments: bytes | None = None,
        tenant: TenantId = _DEFAULT,
    ) -> bytes:
        """What a person signs to give this answer with their key of this id; `decide` takes the same words.

        Raises:
            ApprovalUnknown: no such approval.
            EditNotPossible: the arguments cannot be changed so.
        """
        found = self._find(approval, tenant)
        return _statement(found, self._answer(found, decision, reason, scope, arguments), key)

    async def decide(
        self,
        approval: str,
        decision: Literal["approve", "reject"],
        *,
        by: str,
        roles: Collection[str],
        reason: str = "",
        scope: Scope = "action",
        arguments: bytes | None = None,
        also: Sequence[str] = (),
        signature: Mapping[str, str] | None = None,
        tenant: TenantId = _DEFAULT,
    ) -> Approval:
        """Record a person's answer, once; the run goes on when enough have answered.

        Giving the same answer again changes nothing and tells what came of it, so a lost response
        is asked for again.

        Args:
            by: the person's name; the record carries a pseudonym, the sealed text the name.
            roles: what they may act as, by the word of whoever authenticated them; counts only while nobody is
                registered (`answerable person set`).
            scope: `run` decides the same for the rest of the run: the same action on the same target, up to this
                amount.
            arguments: to approve the action with these instead: a JSON object.
            also: further values that the run's critical arguments may have from now on, wherever they came from.
            signature: by a key of the person's, over what `statement` says.

        Raises:
            ApprovalUnknown: no such approval.
            ApproverLacksRole: not theirs to decide.
            ApproverIsInitiator, ApproverIsInLine: they are no second opinion.
            ApproverAnswered: they have said something already.
            AnswerUnsigned, SignatureInvalid, SignerKeyUnknown: nobody knows that it is them.
            EditNotPossible, RepeatNotAllowed: policy does not let them.
            ApprovalClosed: already decided, or its time has run out.
        """
        while True:
            found = self._find(approval, tenant)
            person = self._called(by, tenant)
            if mine := self._mine(found, person):
                if (mine == "reject") == (decision == "reject") and (mine == "edit") == (arguments is not None):
                    return found
                if found.state == "waiting":
                    raise ApproverAnswered(approval=approval, decision=mine, role=found.role)
            if found.state != "waiting":
                raise ApprovalClosed(approval=approval, state=found.state)
            self._check_person(found, by, person, roles)
            if self.clock.now() >= found.due:  # silence until now was an answer, even if nobody wrote it down yet
                await self._run_out(found)
                continue
            answer = self._answer(found, decision, reason, scope, arguments, tuple(also))
            signed = self._signed(found, person, answer, signature)
            if await self._write(found, answer, by=by, arguments=arguments, signature=signed):
                return self._find(approval, tenant)
            # Somebody else, or the clock, was first: what stands now decides whether this answer still counts.

    async def expire_due(self, now: datetime | None = None) -> Sequence[ApprovalId]:
        """Escalate or deny what nobody answered in time; the ids that this call denied."""
        moment = format_time(now or self.clock.now())
        due = [_approval(row) for row in self.store.rows(_DUE, state="waiting", now=moment)]
        return [each.approval for each in due if await self._run_out(each)]

    def next_due(self) -> datetime | None:
        """When `expire_due` next has something to do."""
        ((due,),) = self.store.rows(_NEXT, state="waiting")
        return parse_time(due) if due else None

    def _find(self, approval: str, tenant: TenantId) -> Approval:
        rows = self.store.rows(_ONE, approval=approval, tenant=tenant)
        if not rows:
            raise ApprovalUnknown(approval=approval)
        return _approval(rows[0])

    def _given(self, found: Approval) -> Sequence[Sequence[Any]]:
        return self.store.rows(_ANSWERS, approval=found.approval, run=found.run, digest=found.digest)

    def _mine(self, found: Approval, person: str) -> str:
        """What this person has said to this action; empty if nothing."""
        return next((str(row[1]) for row in self._given(found) if row[0] == person), "")

    def _called(self, by: str, tenant: TenantId) -> str:
        return self.book.pseudonym(tenant, f"person:{by.rpartition(':')[2]}")

    def _check_person(self, found: Approval, by: str, person: str, roles: Collection[str]) -> None:
        if found.role not in self.approvers.roles_of(person, tuple(roles), self.clock.now()):
            raise ApproverLacksRole(approval=found.approval, role=found.role)
        if not found.initiator:
            return
        if found.terms.not_initiator and self._is(found.initiator, by, found.tenant):
            raise ApproverIsInitiator(approval=found.approval)
        if found.terms.not_chain and self.approvers.is_in_line(person, found.initiator):
            raise ApproverIsInLine(approval=found.approval)

    def _is(self, initiator: str, by: str, tenant: TenantId) -> bool:
        # The initiator may be on record as a pseudonym or a plain name, with or without its type.
        bare = by.rpartition(":")[2]
        names = {by, bare, f"person:{bare}", f"user:{bare}"}
        return initiator in names or any(self.book.pseudonym(tenant, name) == initiator for name in names)

    def _answer(
        self,
        found: Approval,
        decision: Literal["approve", "reject"],
        reason: str,
        scope: Scope,
        arguments: bytes | None,
        also: tuple[str, ...] = (),
    ) -> Answer:
        # One person's unsigned word for more than they were shown: where policy says `repeat`, and asks one person.
        if also and (not found.terms.may_repeat or found.terms.n > 1 or found.terms.is_signed or decision == "reject"):
            raise RepeatNotAllowed(approval=found.approval)
        if scope == "run" and (not found.terms.may_repeat or arguments is not None or decision == "reject"):
            raise RepeatNotAllowed(approval=found.approval)
        if arguments is None:
            return Answer(decision=decision, role=found.role, reason=reason, scope=scope, also=also)
        if decision != "approve" or not found.terms.may_edit:
            raise EditNotPossible(approval=found.approval, problem="the policy that holds it does not say `edit`")
        held = self.store.find(found.held)
        assert held is not None
        action = edited_action(held, arguments, self.store.subjects(held), self.describe, approval=found.approval)
        _, _, digest = self.book.committed_input(action)
        if digest == found.digest:
            raise EditNotPossible(approval=found.approval, problem="the new ones are the old ones")
        return Answer(decision="edit", role=found.role, reason=reason, edited=digest, also=also)

    def _signed(
        self, found: Approval, person: str, answer: Answer, signature: Mapping[str, str] | None
    ) -> dict[str, str]:
        if signature and answer.also:
            raise RepeatNotAllowed(approval=found.approval)  # what is signed does not say them
        if signature:
            message = _statement(found, answer, str(signature.get("key", "")))
            return self.approvers.verify(person, message, signature)
        if found.terms.is_signed:
            raise AnswerUnsigned(approval=found.approval, problem="policy says `signed`")
        if self.approvers.must_sign(person):
            raise AnswerUnsigned(approval=found.approval, problem="this person has a key of their own")
        return {}

    async def _run_out(self, found: Approval) -> bool:
        """Time is up: the next role is asked, or it is denied; whether this call denied it."""
        roles = found.terms.escalates_to
        control: dict[str, Any] = {"decision": "timeout"}
        if found.stage < len(roles):
            due = format_time(self.clock.now() + found.terms.timeout)
            control = {"decision": "escalate", "to": roles[found.stage], "due": due}
        return await self._append(found, control) and control["decision"] == "timeout"

    async def _write(
        self, found: Approval, answer: Answer, *, by: str, arguments: bytes | None, signature: dict[str, str]
    ) -> bool:
        """Whether this answer is the next one on record."""
        person = f"person:{by.rpartition(':')[2]}"
        control: dict[str, Any] = {"decision": answer.decision, "by": self._called(by, found.tenant)}
        if answer.reason:
            control["reason"] = answer.reason
        if answer.scope != "action":
            control["scope"] = answer.scope
        if answer.edited:
            control["edited"] = answer.edited
        if signature:
            control["signature"] = signature
        said: dict[str, Any] = {"by": by, "reason": answer.reason}
        subjects = {person}
        if answer.also:
            control["also"] = len(answer.also)
            said["also"] = list(answer.also)
        if arguments is not None:
            held = self.store.find(found.held)
            assert held is not None
            said["arguments"] = orjson.loads(arguments)
            subjects |= set(self.store.subjects(held)) - {found.run}
        return await self._append(found, control, said, tuple(sorted(subjects)))

    async def _append(
        self,
        found: Approval,
        control: dict[str, Any],
        said: dict[str, Any] | None = None,
        subjects: tuple[str, ...] = (),
    ) -> bool:
        # INVARIANT: answers to one approval are numbered, and each number is given once: whoever writes has seen
        # all answers before. So no answer follows the one that settled it, whoever is first: the clock or a person.
        slot = f":{found.answers}" if found.answers else ""
        is_last = control["decision"] != "escalate" and (
            control["decision"] != "approve" or found.votes + 1 >= found.terms.n
        )
        appended = await self.book.append(
            Draft(
                tenant=found.tenant,
                run=found.run,
                step=found.step,
                phase="approval",
                agent=found.agent,
                once=f"a:{found.approval}{slot}",
                members={
                    "control": {"approval": found.approval, "role": found.role, "digest": found.digest, **control}
                },
                input=stable_json(said) if said else None,
                subjects=subjects,
                wake=is_last,
            )
        )
        reach(FaultPoint.AFTER_APPROVAL)
        if appended.status == "closed":
            raise ApprovalClosed(approval=found.approval, state="closed")
        return bool(appended.status == "ok")


def _statement(found: Approval, answer: Answer, key: str) -> bytes:
    held = {"tenant": found.tenant, "run": found.run, "approval": found.approval, "digest": found.digest}
    return statement_of(held, answer, key=key)


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
        terms=terms_of(row[8]),
        stage=row[9],
        initiator=row[10],
        asked=parse_time(row[11]),
        due=parse_time(row[12]),
        held=row[13],
        state=row[14],
        answers=row[15],
        votes=row[16],
        decided=row[17],
        reason=row[18],
        kind=row[19],
        target=row[20],
        amount=Money(row[21], row[22]) if row[22] else None,
    )
