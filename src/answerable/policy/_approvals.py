"""Approvals: a held action waits for a person; the yes is bound to exactly that action."""

from collections.abc import Sequence

import sqlalchemy as sa

from answerable.core import Action, AnswerableError, Decision, ReceiptId
from answerable.ledger import Phase, Prepared, Receipt, Ruling, Tx, metadata
from answerable.policy._errors import ApprovalClosed, ApprovalRejected, ApprovalTimedOut, PolicyFailed

__all__ = ["ApprovalsProjection", "approvals_table"]

approvals_table = sa.Table(
    "policy_approvals",
    metadata,
    sa.Column("approval", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("not_initiator", sa.Boolean, nullable=False),
    sa.Column("initiator", sa.Text, nullable=False),
    sa.Column("asked", sa.Text, nullable=False),
    sa.Column("due", sa.Text, nullable=False),
    sa.Column("held", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("decided", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("taken", sa.Text, nullable=False),
    sa.UniqueConstraint("run", "step", "digest", name="policy_approvals_held_once"),
    sa.Index("policy_approvals_due", "state", "due"),
)
_t = approvals_table.c
_P = sa.bindparam

_OF_STEP = Prepared(
    sa.select(_t.approval, _t.state, _t.role, _t.not_initiator, _t.decided, _t.reason, _t.due).where(
        _t.run == _P("run"), _t.step == _P("step"), _t.digest == _P("digest")
    )
)
_ASK = Prepared(approvals_table.insert())
_DECIDE = Prepared(
    approvals_table.update()
    .where(_t.approval == _P("of"), _t.digest == _P("of_digest"), _t.state == _P("from_state"))
    .values(state=_P("to_state"), decided=_P("receipt"), reason=_P("why"))
)
_TAKE = Prepared(
    approvals_table.update()
    .where(_t.run == _P("of_run"), _t.step == _P("of_step"), _t.decided == _P("receipt"))
    .values(taken=_P("intent"))
)
_CLOSE = Prepared(
    approvals_table.update().where(_t.run == _P("of_run"), _t.state == _P("from_state")).values(state=_P("to_state"))
)
_STATES = {"approve": "approved", "reject": "rejected", "timeout": "timed-out"}
_PHASES: frozenset[Phase] = frozenset({"held", "approval", "intent", "run.close"})


class ApprovalsProjection:
    """Keeps what waits, and rules on a held action by the answer to it."""

    @property
    def tables(self) -> Sequence[sa.Table]:
        return (approvals_table,)

    @property
    def phases(self) -> frozenset[Phase]:
        return _PHASES

    def check(self, tx: Tx, action: Action, decision: Decision, digest: str) -> Ruling | None:
        """Let an approved action through, taking its approval; refuse a rejected one; hold any other.

        The row is found by the digest of the action as it stands now, so a yes to anything else is
        no yes to this; and by its step, so one approval lets one action through, once.
        """
        if decision.verdict != "hold":
            return None
        found = tx.rows(_OF_STEP, run=action.run, step=action.step, digest=digest)
        if not found:
            return Ruling(hold=True)
        approval, state, role, not_initiator, decided, reason, due = found[0]
        if state == "waiting":
            return Ruling(hold=True, wait=approval)
        if state == "approved":
            if all(role == asked.role and not_initiator >= asked.not_initiator for asked in decision.obligations):
                return Ruling(approvals=(ReceiptId(decided),))
            problem = f"it was approved by role `{role}`, and policy has since asked for something else"
            return Ruling(refuse=PolicyFailed(action=action.name, problem=problem))
        return Ruling(refuse=_refusal(action, approval, state, role, reason, due))

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow an action held, decided or let through."""
        said = receipt.predicate
        if receipt.phase == "held":
            self._ask(tx, receipt)
        elif receipt.phase == "approval":
            control = said["control"]
            tx.run(
                _DECIDE,
                of=control["approval"],
                of_digest=control["digest"],
                from_state="waiting",
                to_state=_STATES[control["decision"]],
                receipt=said["id"],
                why=control.get("reason", ""),
            )
        elif receipt.phase == "intent":
            for taken in said.get("authority", {}).get("approvals", ()):
                tx.run(_TAKE, of_run=said["run"], of_step=said["step"], receipt=taken, intent=said["id"])
        else:
            tx.run(_CLOSE, of_run=said["run"], from_state="waiting", to_state="closed")

    def _ask(self, tx: Tx, receipt: Receipt) -> None:
        said = receipt.predicate
        control, action = said["control"], said["action"]
        tx.run(
            _ASK,
            approval=control["approval"],
            tenant=said["tenant"],
            run=said["run"],
            step=said["step"],
            digest=action["digest"],
            agent=said["agent"]["id"],
            name=action["name"],
            role=control["role"],
            not_initiator=bool(control.get("notInitiator", True)),
            initiator=said.get("onBehalfOf", ""),
            asked=said["at"],
            due=control["due"],
            held=said["id"],
            state="waiting",
            decided="",
            reason="",
            taken="",
        )


def _refusal(action: Action, approval: str, state: str, role: str, reason: str, due: str) -> AnswerableError:
    if state == "rejected":
        return ApprovalRejected(action=action.name, role=role, reason=reason or "no reason given")
    if state == "timed-out":
        return ApprovalTimedOut(action=action.name, role=role, due=due)
    return ApprovalClosed(approval=approval, state=state)
