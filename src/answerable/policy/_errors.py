"""What policy refuses, and what is wrong with policies themselves."""

from dataclasses import dataclass

from answerable.core import ConfigError, EvidenceError, Money, Refused, Transient

__all__ = [
    "AnswerUnsigned",
    "ApprovalClosed",
    "ApprovalRejected",
    "ApprovalTimedOut",
    "ApprovalUnknown",
    "ApproverAnswered",
    "ApproverIsInLine",
    "ApproverIsInitiator",
    "ApproverLacksRole",
    "AutonomyInvalid",
    "AutonomyUnproven",
    "BudgetExceeded",
    "BudgetInvalid",
    "DecisionNotFound",
    "DraftOnly",
    "EditNotPossible",
    "MandateUnknown",
    "NoticeInvalid",
    "NoticeLost",
    "ObligationInvalid",
    "PolicyDenied",
    "PolicyFailed",
    "PolicyInvalid",
    "RepeatNotAllowed",
    "StopScopeInvalid",
    "StopUnknown",
    "Stopped",
]


@dataclass(eq=False, kw_only=True)
class PolicyInvalid(ConfigError):
    """A policy set cannot be used as written."""

    code = "config.policy_invalid"
    what = "policies in `{where}` cannot be used: {problem}"
    why = "a policy that is guessed at would let through what nobody meant"
    fix = "correct it and run `answerable policy check`"

    where: str
    problem: str


@dataclass(eq=False, kw_only=True)
class ObligationInvalid(ConfigError):
    """An obligation is not in the closed grammar, or not supported by this version."""

    code = "config.obligation_invalid"
    what = "obligation `{obligation}` of policy `{policy}` refused: {problem}"
    why = "an obligation that nobody enforces would be a promise on paper"
    fix = "write `approve:role=ROLE`, and what `docs/guides/write-policies.md` lists after it"

    policy: str
    obligation: str
    problem: str


@dataclass(eq=False, kw_only=True)
class BudgetInvalid(ConfigError):
    """A budget cannot be used as written."""

    code = "config.budget_invalid"
    what = "budget for `{scope}` refused: {problem}"
    why = "a budget that matches nothing would limit nothing"
    fix = "write the scope as `tenant`, `agent:ID` or `mandate:NAME`, limits of at least 0, alerts from 1 to 100"

    scope: str
    problem: str


@dataclass(eq=False, kw_only=True)
class PolicyDenied(Refused):
    """Policy does not permit the action."""

    code = "refused.policy_denied"
    what = "`{action}` refused by policy: {reason}"
    why = "whatever no policy permits is denied, and one `forbid` outweighs every `permit`"
    fix = "ask a person, or have the policy's owner change it"

    action: str
    reason: str


@dataclass(eq=False, kw_only=True)
class PolicyFailed(Refused):
    """Policy could not be decided, so the action is denied."""

    code = "refused.policy_failed"
    what = "`{action}` denied because policy could not be evaluated: {problem}"
    why = "a doubt is a denial: a `forbid` that fails to evaluate would otherwise be skipped"
    fix = "correct the policy or the tool's declaration, and test it with `answerable policy test`"

    action: str
    problem: str


@dataclass(eq=False, kw_only=True)
class AutonomyInvalid(ConfigError):
    """A tier of autonomy cannot be used as written."""

    code = "config.autonomy_invalid"
    what = "autonomy of `{agent}` refused: {problem}"
    why = "a tier that matches nothing would hold nothing"
    fix = "say `draft`, `approve` with the role that is asked, or `execute`"

    agent: str
    problem: str


@dataclass(eq=False, kw_only=True)
class AutonomyUnproven(Refused):
    """More autonomy was asked for, and nothing that speaks for it."""

    code = "refused.autonomy_unproven"
    what = "autonomy of `{agent}` stays `{was}`: nothing is cited for `{tier}`"
    why = "autonomy widens only by a decision that says what was measured and what can be rolled back"
    fix = "add `--measured TEXT`, `--undo TEXT` and `--evidence FILE`"

    agent: str
    tier: str
    was: str


@dataclass(eq=False, kw_only=True)
class DraftOnly(Refused):
    """The agent may propose this, and not do it."""

    code = "refused.draft_only"
    what = "`{action}` refused: `{agent}` may only draft such things here"
    why = "its tier of autonomy is `draft` for this effect in this environment"
    fix = "have a person do it, or widen the tier with `answerable agent autonomy`"

    action: str
    agent: str


@dataclass(eq=False, kw_only=True)
class BudgetExceeded(Refused):
    """The call could use more than is left."""

    code = "refused.budget_exceeded"
    what = "`{action}` refused: it may use {asked} {dimension}, and {left} of {limit} is left"
    why = "budget `{scope}` sets the limit, and what is in flight counts as used"
    fix = "ask for less, or have the owner raise the limit"

    action: str
    scope: str
    dimension: str
    asked: int
    left: int
    limit: int

    @property
    def message(self) -> str:
        """What happened, why and what to do; money as money."""
        kind, _, currency = self.dimension.partition(":")
        if kind != "amount":
            return super().message
        said = {name: Money(getattr(self, name), currency) for name in ("asked", "left", "limit")}
        told = {"action": self.action, "scope": self.scope, "dimension": "at once", **said}
        return "; ".join(each.format_map(told) for each in (self.what, self.why, self.fix))


@dataclass(eq=False, kw_only=True)
class MandateUnknown(Refused):
    """A run was started under a mandate that has no limits here."""

    code = "refused.mandate_unknown"
    what = "`{action}` refused: nobody has set limits for mandate `{mandate}`"
    why = "a mandate without limits would be none"
    fix = "declare a budget with the scope `mandate:{mandate}`, or start the run under another"

    action: str
    mandate: str


@dataclass(eq=False, kw_only=True)
class Stopped(Refused):
    """A person or the gate has stopped what the action belongs to."""

    code = "refused.stopped"
    what = "`{action}` refused: `{scope}` is stopped ({reason})"
    why = "a stop takes effect at the next action"
    fix = "have an operator lift the stop"

    action: str
    scope: str
    reason: str


@dataclass(eq=False, kw_only=True)
class StopScopeInvalid(ConfigError):
    """A stop names nothing that can be stopped."""

    code = "config.stop_scope_invalid"
    what = "`{scope}` cannot be stopped"
    why = "a stop that matches nothing would stop nothing"
    fix = "write `run:ID`, `agent:ID`, `tool:NAME`, `model:NAME`, `tenant` or `all`"

    scope: str


@dataclass(eq=False, kw_only=True)
class StopUnknown(Refused):
    """A stop to be lifted does not stand."""

    code = "refused.stop_unknown"
    what = "`{scope}` is not stopped"
    why = "only a stop that stands can be lifted"
    fix = "list the stops that stand and name one of them"

    scope: str


@dataclass(eq=False, kw_only=True)
class ApprovalRejected(Refused):
    """A person said no."""

    code = "refused.approval_rejected"
    what = "`{action}` rejected by a person in role `{role}`: {reason}"
    why = "policy makes it wait for a person, and the answer was no"
    fix = "do something else; asking for the same again gives the same answer"

    action: str
    role: str
    reason: str


@dataclass(eq=False, kw_only=True)
class ApprovalTimedOut(Refused):
    """Nobody answered in time."""

    code = "refused.approval_timed_out"
    what = "`{action}` refused: nobody in role `{role}` answered by {due}"
    why = "policy makes it wait for a person, and silence is a denial"
    fix = "run it again when someone in that role is there to answer"

    action: str
    role: str
    due: str


@dataclass(eq=False, kw_only=True)
class ApprovalUnknown(Refused):
    """No approval has this id."""

    code = "refused.approval_unknown"
    what = "no approval `{approval}`"
    why = "nothing waits under that id in this tenant"
    fix = "list what waits with `answerable approvals list`"

    approval: str


@dataclass(eq=False, kw_only=True)
class ApprovalClosed(Refused):
    """The approval is no longer waiting for an answer."""

    code = "refused.approval_closed"
    what = "approval `{approval}` was already decided: {state}"
    why = "an approval is answered once, so that what ran is what was approved"
    fix = "nothing to do; see it with `answerable approvals show {approval}`"

    approval: str
    state: str


@dataclass(eq=False, kw_only=True)
class ApproverLacksRole(Refused):
    """The person who answers does not hold the role that policy asks for."""

    code = "refused.approver_lacks_role"
    what = "approval `{approval}` needs role `{role}`"
    why = "the policy that holds the action names the role"
    fix = "have someone in role `{role}` decide"

    approval: str
    role: str


@dataclass(eq=False, kw_only=True)
class ApproverIsInitiator(Refused):
    """The person who answers is the one who asked for the run."""

    code = "refused.approver_is_initiator"
    what = "approval `{approval}` cannot be given by the person who asked for the run"
    why = "the policy that holds the action asks for a second person"
    fix = "have someone else in that role decide"

    approval: str


@dataclass(eq=False, kw_only=True)
class ApproverIsInLine(Refused):
    """The person who answers stands above or below the one who asked for the run."""

    code = "refused.approver_is_in_line"
    what = "approval `{approval}` cannot be given from within the initiator's line of command"
    why = "the policy that holds the action says `not=chain`: who commands or obeys the initiator is no second opinion"
    fix = "have someone in that role decide who stands elsewhere"

    approval: str


@dataclass(eq=False, kw_only=True)
class ApproverAnswered(Refused):
    """The person has answered already."""

    code = "refused.approver_answered"
    what = "approval `{approval}` has this person's answer already: `{decision}`"
    why = "an answer stands, and two approvals are two people's"
    fix = "have another person in role `{role}` decide"

    approval: str
    decision: str
    role: str


@dataclass(eq=False, kw_only=True)
class AnswerUnsigned(Refused):
    """The answer needs a signature and has none."""

    code = "refused.answer_unsigned"
    what = "the answer to approval `{approval}` needs a signature: {problem}"
    why = "whoever has a key of their own signs, so that nobody answers in their name"
    fix = "answer with `--sign KEYFILE`, or on the gate's page with your passkey"

    approval: str
    problem: str


@dataclass(eq=False, kw_only=True)
class EditNotPossible(Refused):
    """The arguments cannot be changed."""

    code = "refused.edit_not_possible"
    what = "the arguments of approval `{approval}` cannot be changed: {problem}"
    why = "an edit is a new action: policy must allow it, and the tool must take it"
    fix = "approve or reject it as it stands"

    approval: str
    problem: str


@dataclass(eq=False, kw_only=True)
class RepeatNotAllowed(Refused):
    """The same decision may not be given for the rest of the run."""

    code = "refused.repeat_not_allowed"
    what = "approval `{approval}` cannot be given for the rest of the run"
    why = "the policy that holds the action does not say `repeat`"
    fix = "approve this action alone"

    approval: str


@dataclass(eq=False, kw_only=True)
class NoticeInvalid(ConfigError):
    """A channel for notices cannot be used as declared."""

    code = "config.notice_invalid"
    what = "the channel `{channel}` cannot be used: {problem}"
    why = "a notice that never arrives looks like nothing waits"
    fix = "correct where the application declares it (`docs/guides/approve.md`)"

    channel: str
    problem: str


@dataclass(eq=False, kw_only=True)
class NoticeLost(Transient):
    """A notice may not have arrived."""

    code = "execution.notice_lost"
    what = "a notice by {channel} may not have arrived: {problem}"
    why = "what it tells of waits on the record all the same"
    fix = "nothing to do: it is tried again; look at the receiver if this goes on"

    channel: str
    problem: str


@dataclass(eq=False, kw_only=True)
class DecisionNotFound(EvidenceError):
    """A receipt carries no decision that could be explained."""

    code = "evidence.decision_not_found"
    what = "the decision of `{receipt}` cannot be explained: {problem}"
    why = "policy is asked before an action, and what it was asked stands in the receipt of that moment"
    fix = "name the receipt of an intent, a hold or a denial: `answerable runs show RUN` lists them"

    receipt: str
    problem: str
