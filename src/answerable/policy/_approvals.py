"""Approvals: a held action waits for people; their yes is bound to exactly that action.

Three tables. `policy_approvals`: what was held, and where it stands. `policy_answers`: who said what,
to which action digest. `policy_repeats`: what people decided for the rest of a run.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import sqlalchemy as sa

from answerable.core import Action, AnswerableError, ApprovalObligation, Decision, ReceiptId
from answerable.ledger import Emptiness, Phase, Prepared, Receipt, Ruling, Tx, metadata
from answerable.policy._errors import ApprovalClosed, ApprovalRejected, ApprovalTimedOut, PolicyFailed
from answerable.policy._obligations import is_met_by, parse_obligations

__all__ = ["ApprovalsProjection", "answers_table", "approvals_table", "terms_of"]

approvals_table = sa.Table(
    "policy_approvals",
    metadata,
    sa.Column("approval", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("amount", sa.Integer, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("terms", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("stage", sa.Integer, nullable=False),
    sa.Column("initiator", sa.Text, nullable=False),
    sa.Column("asked", sa.Text, nullable=False),
    sa.Column("due", sa.Text, nullable=False),
    sa.Column("held", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("answers", sa.Integer, nullable=False),
    sa.Column("votes", sa.Integer, nullable=False),
    sa.Column("decided", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("taken", sa.Text, nullable=False),
    sa.UniqueConstraint("run", "step", "digest", name="policy_approvals_held_once"),
    sa.Index("policy_approvals_due", "state", "due"),
    sa.Index("policy_approvals_by_target", "tenant", "name", "target"),
)
answers_table = sa.Table(
    "policy_answers",
    metadata,
    sa.Column("receipt", sa.Text, primary_key=True),
    sa.Column("approval", sa.Text, nullable=False),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("terms", sa.Text, nullable=False),
    sa.Index("policy_answers_by_action", "run", "step", "digest"),
    sqlite_with_rowid=False,
)
_repeats = sa.Table(
    "policy_repeats",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("terms", sa.Text, primary_key=True),
    sa.Column("currency", sa.Text, primary_key=True),
    sa.Column("amount", sa.Integer, nullable=False),
    sa.Column("receipts", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_t, _a, _r = approvals_table.c, answers_table.c, _repeats.c
_P = sa.bindparam

_OF_STEP = Prepared(
    sa.select(_t.approval, _t.state, _t.role, _t.terms, _t.reason, _t.due).where(
        _t.run == _P("run"), _t.step == _P("step"), _t.digest == _P("digest")
    )
)
_ONE = Prepared(
    sa.select(
        _t.run,
        _t.step,
        _t.digest,
        _t.kind + ":" + _t.name,
        _t.target,
        _t.amount,
        _t.currency,
        _t.terms,
        _t.votes,
        _t.state,
    ).where(_t.approval == _P("approval"))
)
_ASK = Prepared(approvals_table.insert())
_ANSWER = Prepared(answers_table.insert())
_ANSWERED = Prepared(
    sa.select(_a.receipt, _a.role, _a.scope, _a.terms)
    .where(
        _a.run == _P("run"),
        _a.step == _P("step"),
        _a.digest == _P("digest"),
        sa.or_(_a.decision == "approve", _a.decision == "edit"),
    )
    .order_by(_a.receipt)
)
_DECIDE = Prepared(
    approvals_table.update()
    .where(_t.approval == _P("of"), _t.state == "waiting")
    .values(
        state=_P("to_state"),
        decided=_P("receipt"),
        reason=_P("why"),
        answers=_t.answers + 1,
        votes=_t.votes + _P("more", type_=sa.Integer),
    )
)
_ESCALATE = Prepared(
    approvals_table.update()
    .where(_t.approval == _P("of"), _t.state == "waiting")
    .values(role=_P("to"), due=_P("until"), stage=_t.stage + 1, answers=_t.answers + 1)
)
_TAKE = Prepared(
    approvals_table.update()
    .where(_t.run == _P("of_run"), _t.step == _P("of_step"), _t.digest == _P("of_digest"))
    .values(taken=_P("intent"))
)
_CLOSE = Prepared(
    approvals_table.update().where(_t.run == _P("of_run"), _t.state == _P("from_state")).values(state=_P("to_state"))
)
_REPEAT = (_r.run == _P("of_run")) & (_r.name == _P("of_name")) & (_r.target == _P("of_target"))
_REPEAT &= (_r.terms == _P("of_terms")) & (_r.currency == _P("of_currency"))
_REPEATED = Prepared(sa.select(_r.amount, _r.receipts).where(_REPEAT))
_FORGET_REPEAT = Prepared(_repeats.delete().where(_REPEAT))
_FORGET_REPEATS = Prepared(_repeats.delete().where(_r.run == _P("of_run")))
_PUT_REPEAT = Prepared(_repeats.insert())
_ANY_REPEAT = Prepared(sa.select(_r.run).limit(1))
_ANY_WAITING = Prepared(sa.select(_t.run).where(_t.state == sa.literal_column("'waiting'")).limit(1))
_STATES = {"approve": "approved", "reject": "rejected", "timeout": "timed-out", "edit": "edited"}
_PHASES: frozenset[Phase] = frozenset({"held", "approval", "intent", "run.close"})


@lru_cache(maxsize=256)
def terms_of(text: str) -> ApprovalObligation:
    """The terms under which an action is held, as its receipt writes them."""
    return parse_obligations(text, policy="record")[0]


class ApprovalsProjection:
    """Keeps what waits, and rules on a held action by the answers to it."""

    def __init__(self) -> None:
        self._none_waits, self._none_repeats = Emptiness(_ANY_WAITING), Emptiness(_ANY_REPEAT)

    @property
    def tables(self) -> Sequence[sa.Table]:
        return (approvals_table, answers_table, _repeats)

    @property
    def phases(self) -> frozenset[Phase]:
        return _PHASES

    def check(self, tx: Tx, action: Action, decision: Decision, digest: str) -> Ruling | None:
        """Let an approved action through, taking its approvals; refuse a rejected one; hold any other.

        The answers are found by the digest of the action as it stands now, so a yes to anything else
        is no yes to this; and by its step, so an approval lets one action through, once.
        """
        if decision.verdict != "hold":
            return None
        found = tx.rows(_OF_STEP, run=action.run, step=action.step, digest=digest)
        if not found:
            return self._unasked(tx, action, decision, digest)
        approval, state, role, terms, reason, due = found[0]
        if state == "waiting":
            return Ruling(hold=True, wait=approval)
        if state == "approved":
            if all(is_met_by(asked, terms_of(terms)) for asked in decision.obligations):
                answers = tx.rows(_ANSWERED, run=action.run, step=action.step, digest=digest)
                return Ruling(approvals=_counting(answers, terms_of(terms)))
            problem = f"it was approved by role `{role}`, and policy has since asked for something else"
            return Ruling(refuse=PolicyFailed(action=action.name, problem=problem))
        return Ruling(refuse=_refusal(action, approval, state, role, reason, due))

    def _unasked(self, tx: Tx, action: Action, decision: Decision, digest: str) -> Ruling:
        """An action nobody was asked about: an approver's own edit, a decision for the rest of the run, or new."""
        edits = tx.rows(_ANSWERED, run=action.run, step=action.step, digest=digest)
        if edits and all(asked.n == 1 and _counting(edits, asked) for asked in decision.obligations):
            return Ruling(approvals=_counting(edits, decision.obligations[0]))
        if len(decision.obligations) == 1 and decision.obligations[0].may_repeat:
            amount = action.described.amount
            said = tx.rows(
                _REPEATED,
                of_run=action.run,
                of_name=f"{action.kind}:{action.name}",
                of_target=action.described.target,
                of_terms=str(decision.obligations[0]),
                of_currency=amount.currency if amount else "",
            )
            if said and (amount.minor if amount else 0) <= said[0][0]:
                return Ruling(approvals=tuple(ReceiptId(each) for each in said[0][1].split()))
        return Ruling(hold=True)

    def forget(self) -> None:
        """Others may have asked somebody."""
        self._none_waits.end()
        self._none_repeats.end()

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow an action held, answered or let through."""
        said = receipt.predicate
        if receipt.phase == "held":
            self._ask(tx, receipt)
        elif receipt.phase == "approval":
            self._answer(tx, receipt)
        elif receipt.phase == "intent":
            if said.get("authority", {}).get("approvals"):
                digest = said["action"]["digest"]
                tx.run(_TAKE, of_run=said["run"], of_step=said["step"], of_digest=digest, intent=said["id"])
        else:
            if not self._none_waits.stands(tx):
                tx.run(_CLOSE, of_run=said["run"], from_state="waiting", to_state="closed")
            if not self._none_repeats.stands(tx):
                tx.run(_FORGET_REPEATS, of_run=said["run"])

    def _ask(self, tx: Tx, receipt: Receipt) -> None:
        self._none_waits.end()
        said = receipt.predicate
        control, action = said["control"], said["action"]
        amount = action.get("amount") or {"minor": 0, "currency": ""}
        terms = said["authority"]["obligations"][0]
        edits = tx.rows(_ANSWERED, run=said["run"], step=said["step"], digest=action["digest"])
        tx.run(
            _ASK,
            approval=control["approval"],
            tenant=said["tenant"],
            run=said["run"],
            step=said["step"],
            digest=action["digest"],
            agent=said["agent"]["id"],
            kind=action["kind"],
            name=action["name"],
            target=action.get("target", ""),
            amount=amount["minor"],
            currency=amount["currency"],
            terms=terms,
            role=control["role"],
            stage=0,
            initiator=said.get("onBehalfOf", ""),
            asked=said["at"],
            due=control["due"],
            held=said["id"],
            state="waiting",
            answers=0,
            votes=len(_counting(edits, terms_of(terms))),  # who edited it into this has said yes to it already
            decided="",
            reason="",
            taken="",
        )

    def _answer(self, tx: Tx, receipt: Receipt) -> None:
        control = receipt.predicate["control"]
        found = tx.rows(_ONE, approval=control["approval"])
        if not found or found[0][9] != "waiting":
            return  # written by an earlier version, or about nothing: it changes nothing
        run, step, digest, name, target, amount, currency, terms, votes, _ = found[0]
        decision, id = control["decision"], receipt.predicate["id"]
        if decision == "escalate":
            tx.run(_ESCALATE, of=control["approval"], to=control["to"], until=control["due"])
            return
        if "by" in control:
            tx.run(
                _ANSWER,
                receipt=id,
                approval=control["approval"],
                run=run,
                step=step,
                digest=control.get("edited", digest),
                person=control["by"],
                decision=decision,
                role=control["role"],
                scope=control.get("scope", ""),
                terms=terms,
            )
        more = int(decision == "approve")
        is_open = decision == "approve" and votes + more < terms_of(terms).n
        state = "waiting" if is_open else _STATES[decision]
        tx.run(_DECIDE, of=control["approval"], to_state=state, receipt=id, why=control.get("reason", ""), more=more)
        if state == "approved":
            answers = tx.rows(_ANSWERED, run=run, step=step, digest=digest)
            if all(row[2] == "run" for row in answers):
                named = {"of_run": run, "of_name": name, "of_target": target, "of_terms": terms}
                tx.run(_FORGET_REPEAT, **named, of_currency=currency)
                self._none_repeats.end()
                tx.run(
                    _PUT_REPEAT,
                    run=run,
                    name=name,
                    target=target,
                    terms=terms,
                    currency=currency,
                    amount=amount,
                    receipts=" ".join(row[0] for row in answers),
                )


def _counting(answers: Sequence[Sequence[str]], asked: ApprovalObligation) -> tuple[ReceiptId, ...]:
    """The answers that count towards what is asked, each for one."""
    return tuple(ReceiptId(row[0]) for row in answers if is_met_by(replace(asked, n=1), terms_of(row[3])))


def _refusal(action: Action, approval: str, state: str, role: str, reason: str, due: str) -> AnswerableError:
    if state == "rejected":
        return ApprovalRejected(action=action.name, role=role, reason=reason or "no reason given")
    if state == "timed-out":
        return ApprovalTimedOut(action=action.name, role=role, due=due)
    return ApprovalClosed(approval=approval, state=state)
