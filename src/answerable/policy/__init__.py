"""Authorize: Cedar policies and their obligations, facts about history, approvals, budgets, stops.

A `PolicySet` is loaded whole or not at all. `CedarAuthorizer` decides by it, over facts that the record holds.
Four projections keep what decisions depend on and rule inside `open`'s transaction: facts, budgets,
approvals, stops. `Approvals` and `Stops` are where people answer and interfere.
"""

from answerable.policy._approvals import ApprovalsProjection
from answerable.policy._authorizer import CedarAuthorizer, DecisionCache
from answerable.policy._budgets import Budget, BudgetProjection
from answerable.policy._checks import PolicyCheck, PolicyTest, PolicyTests, check_policies, run_policy_tests
from answerable.policy._counting import FactsProjection
from answerable.policy._deciding import Approval, ApprovalDetail, Approvals
from answerable.policy._drivers import Mail, Webhook
from answerable.policy._errors import (
    AnswerUnsigned,
    ApprovalClosed,
    ApprovalRejected,
    ApprovalTimedOut,
    ApprovalUnknown,
    ApproverAnswered,
    ApproverIsInitiator,
    ApproverIsInLine,
    ApproverLacksRole,
    BudgetExceeded,
    BudgetInvalid,
    DecisionNotFound,
    EditNotPossible,
    MandateUnknown,
    NoticeInvalid,
    NoticeLost,
    ObligationInvalid,
    PolicyDenied,
    PolicyFailed,
    PolicyInvalid,
    RepeatNotAllowed,
    Stopped,
    StopScopeInvalid,
    StopUnknown,
)
from answerable.policy._explaining import Change, Explanation, Rule, explain
from answerable.policy._lints import Lint
from answerable.policy._notices import Channel, Notice, Notices
from answerable.policy._obligations import parse_duration, parse_obligations
from answerable.policy._policies import Evaluation, PolicySet, Request
from answerable.policy._ports import Approvers
from answerable.policy._replay import PolicyReplay, ReplayedDecision, replay_decisions
from answerable.policy._schema import KnownAction, action_id
from answerable.policy._simulating import Difference, Recount, Simulation, recount_facts, simulate
from answerable.policy._spending import BudgetAlerts, Reserved, Spending, reserved_by, spending
from answerable.policy._stops import Stop, Stops, StopsProjection, is_in_scope

__all__ = [
    "AnswerUnsigned",
    "Approval",
    "ApprovalClosed",
    "ApprovalDetail",
    "ApprovalRejected",
    "ApprovalTimedOut",
    "ApprovalUnknown",
    "Approvals",
    "ApprovalsProjection",
    "ApproverAnswered",
    "ApproverIsInLine",
    "ApproverIsInitiator",
    "ApproverLacksRole",
    "Approvers",
    "Budget",
    "BudgetAlerts",
    "BudgetExceeded",
    "BudgetInvalid",
    "BudgetProjection",
    "CedarAuthorizer",
    "Change",
    "Channel",
    "DecisionCache",
    "DecisionNotFound",
    "Difference",
    "EditNotPossible",
    "Evaluation",
    "Explanation",
    "FactsProjection",
    "KnownAction",
    "Lint",
    "Mail",
    "MandateUnknown",
    "Notice",
    "NoticeInvalid",
    "NoticeLost",
    "Notices",
    "ObligationInvalid",
    "PolicyCheck",
    "PolicyDenied",
    "PolicyFailed",
    "PolicyInvalid",
    "PolicyReplay",
    "PolicySet",
    "PolicyTest",
    "PolicyTests",
    "Recount",
    "RepeatNotAllowed",
    "ReplayedDecision",
    "Request",
    "Reserved",
    "Rule",
    "Simulation",
    "Spending",
    "Stop",
    "StopScopeInvalid",
    "StopUnknown",
    "Stopped",
    "Stops",
    "StopsProjection",
    "Webhook",
    "action_id",
    "check_policies",
    "explain",
    "is_in_scope",
    "parse_duration",
    "parse_obligations",
    "recount_facts",
    "replay_decisions",
    "reserved_by",
    "run_policy_tests",
    "simulate",
    "spending",
]
