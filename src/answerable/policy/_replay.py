"""Decide again, from the record alone, what was decided then."""

from dataclasses import dataclass
from typing import Any

from answerable.core import AnswerableError, RunId, TenantId
from answerable.ledger import Receipt
from answerable.policy._errors import PolicyInvalid
from answerable.policy._evaluation import Evaluation
from answerable.policy._policies import PolicySet
from answerable.policy._ports import Record

__all__ = ["PolicyReplay", "ReplayedDecision", "replay_decisions"]

_NOT_EVALUATED = b"{}"
_OF_POLICY = ("refused.policy_denied", "refused.policy_failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedDecision:
    """One decision on the record, and what its policies say of its request today.

    Args:
        recorded: `permit`, `hold` or `deny`, as the receipt has it.
        refused_by: code of what refused it after policy had let it through (a budget, a stop, a person).
        difference: in words; empty if the decision came out the same.
        is_replayable: the request and the policies are still on the record.
    """

    receipt: str
    action: str
    recorded: str
    rules: tuple[str, ...]
    evaluation: Evaluation | None = None
    refused_by: str = ""
    difference: str = ""
    is_replayable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReplay:
    """Every decision of a run, decided again."""

    run: RunId
    decisions: tuple[ReplayedDecision, ...]

    @property
    def is_same(self) -> bool:
        """Every decision could be replayed, and came out the same."""
        return all(each.is_replayable and not each.difference for each in self.decisions)


def replay_decisions(reader: Record, run: RunId, *, tenant: TenantId = TenantId("default")) -> PolicyReplay:
    """Evaluate each stored request against the policies that decided it then, without any cache.

    It shows that the decision follows from the request and the policies on record. It does not show that the
    facts in the request were right.
    """
    sets: dict[str, PolicySet | None] = {}
    decisions = []
    for receipt in reader.receipts(run=run, tenant=tenant):
        authority = receipt.predicate.get("authority", {})
        if "request" in authority and "decision" in authority:
            decisions.append(_replay(reader, receipt, authority, sets))
    return PolicyReplay(run=run, decisions=tuple(decisions))


def _replay(
    reader: Record, receipt: Receipt, authority: dict[str, Any], sets: dict[str, PolicySet | None]
) -> ReplayedDecision:
    said = receipt.predicate
    named: dict[str, Any] = {
        "receipt": said["id"],
        "action": said["action"]["name"],
        "recorded": authority["decision"],
        "rules": tuple(authority.get("rules", ())),
    }
    reason = authority.get("reason", "")
    stored = reader.stored(authority["request"])
    if stored is None:
        return ReplayedDecision(**named, is_replayable=False, difference="the request is not on the record")
    if stored[0] == _NOT_EVALUATED:
        # Refused before policy was asked (an unknown tool, a bound of the run) or because asking failed.
        refused = authority["decision"] == "deny"
        return ReplayedDecision(
            **named, refused_by=reason, difference="" if refused else "let through without a request to policy"
        )
    name = authority.get("policy", "")
    if name not in sets:
        sets[name] = _policies(reader, name)
    policies = sets[name]
    if policies is None:
        return ReplayedDecision(**named, is_replayable=False, difference="the policies are not on the record")
    evaluation = policies.evaluate(stored[0])
    refused_by = reason if authority["decision"] == "deny" and evaluation.verdict != "deny" else ""
    return ReplayedDecision(
        **named,
        evaluation=evaluation,
        refused_by=refused_by,
        difference=_difference(said, authority, evaluation, reason),
    )


def _policies(reader: Record, name: str) -> PolicySet | None:
    stored = reader.stored(name) if name else None
    if stored is None:
        return None
    try:
        return PolicySet.from_snapshot(stored[0], where=name)
    except AnswerableError as error:
        raise PolicyInvalid(where=name, problem=str(error)) from None


def _difference(said: dict[str, Any], authority: dict[str, Any], evaluation: Evaluation, reason: str) -> str:
    recorded = authority["decision"]
    rules = tuple(authority.get("rules", ()))
    then = _verdict_then(said, authority, reason)
    if then != "any" and then != evaluation.verdict:
        is_question = said["action"]["kind"] == "decision" and {then, evaluation.verdict} == {"hold", "permit"}
        if not is_question:  # a question to a person holds by its own nature, not by a policy
            return f"recorded `{recorded}`, policy now says `{evaluation.verdict}`"
    if rules != evaluation.rules:
        return f"recorded rules {list(rules)}, policy now gives {list(evaluation.rules)}"
    asked = sorted(authority.get("obligations", ()))
    if then == "hold" and said["action"]["kind"] != "decision":
        now = sorted(str(each) for each in evaluation.obligations)
        if asked != now:
            return f"recorded obligations {asked}, policy now gives {now}"
    return ""


def _verdict_then(said: dict[str, Any], authority: dict[str, Any], reason: str) -> str:
    """What policy said then, which is not always what became of the action."""
    if authority["decision"] != "deny":
        # An intent after an approval records the permit; its obligations say that policy held it.
        return "hold" if authority.get("obligations") else str(authority["decision"])
    if reason in _OF_POLICY:
        return "deny"
    return "any"  # let through by policy, and refused by a budget, a stop or a person: its rules must still match
