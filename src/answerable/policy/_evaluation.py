"""What a policy set says of a request, and what may only make it stricter: an agent's tier, and its own doubt."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from answerable.core import AnswerableError, ApprovalObligation, Obligation, Verdict
from answerable.policy._errors import DraftOnly, PolicyFailed
from answerable.policy._obligations import merge_obligations

__all__ = ["Evaluation", "stricter", "within_tier"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a policy set says of a request.

    Args:
        rules: the policies that decided, sorted: those that permit, or those that forbid.
    """

    verdict: Verdict
    rules: tuple[str, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    error: AnswerableError | None = None


def stricter(one: Evaluation, other: Evaluation, *, action: str) -> Evaluation:
    """The stricter of two answers; where both ask for people, whoever meets both."""
    for each in (one, other):
        if each.verdict == "deny":
            return each
    rules = tuple(sorted({*one.rules, *other.rules}))
    merged = merge_obligations((*one.obligations, *other.obligations))
    if merged is None:
        problem = "it would need approvals by different roles: " + ", ".join(rules)
        return Evaluation(verdict="deny", rules=rules, error=PolicyFailed(action=action, problem=problem))
    return Evaluation(verdict="hold" if merged else "permit", rules=rules, obligations=merged)


def within_tier(found: Evaluation, autonomy: Mapping[str, str], *, action: str, agent: str) -> Evaluation:
    """The answer for an agent of less than full autonomy: `draft` does nothing, `approve` only with a person's yes.

    Where policy asks for a person already, that is the yes.
    """
    if found.verdict == "deny":
        return found
    if autonomy["tier"] == "approve":
        if found.verdict == "hold":
            return found
        return replace(found, verdict="hold", obligations=(ApprovalObligation(role=autonomy["role"]),))
    return Evaluation(verdict="deny", rules=found.rules, error=DraftOnly(action=action, agent=agent))
