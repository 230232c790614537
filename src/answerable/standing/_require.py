"""Whether a receipt meets what a check requires of it. Three answers, and a reason for each."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from answerable.ledger import Receipt
from answerable.standing._checks import (
    ApprovalRequired,
    Following,
    ObservedBy,
    Preceding,
    Requirement,
    RuleCited,
    Same,
    TargetNamed,
)
from answerable.standing._run_record import RunRecord
from answerable.standing._select import Match, Truth, select

__all__ = ["Answer", "meets"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Whether a requirement is met, why, and which receipts beside the one asked about show it."""

    truth: Truth
    said: str
    receipts: tuple[str, ...] = field(default=())


def meets(match: Match, requirement: Requirement) -> Answer:
    """The answer of the record."""
    match requirement:
        case ApprovalRequired():
            return _approved(match, requirement)
        case TargetNamed():
            return _named(match)
        case RuleCited():
            return _cited(match, requirement)
        case ObservedBy():
            return _observed(match, requirement)
        case Preceding():
            return _preceded(match, requirement)
        case Following():
            return _followed(match, requirement)


def _approved(match: Match, required: ApprovalRequired) -> Answer:
    """Approvals count that the intent itself took, so that one lying around lends nothing."""
    run = match.run
    wanted = f"an approval by role `{required.role}`"
    intent = run.intent_of(match.receipt)
    if intent is None:
        return Answer(truth=False, said=f"has no intent, so nothing that could take {wanted}")
    taken = intent.predicate.get("authority", {}).get("approvals", [])
    people: dict[str, str] = {}
    faults: list[str] = []
    is_open_question = False
    for approval_id in taken:
        fault = _fault(run, intent, approval_id, required)
        if fault is None:
            people.setdefault(run.by_id[approval_id].predicate["control"]["by"], approval_id)
        else:
            is_open_question |= fault.truth is None
            faults.append(fault.said)
    shown = tuple(people.values())
    if len(people) >= required.n:
        names = ", ".join(people)
        return Answer(truth=True, said=f"has {wanted}, granted before its intent by {names}", receipts=shown)
    count = f" ({len(people)} of {required.n})" if required.n > 1 else ""
    said = f"has not {wanted}{count}" if not faults else f"has not {wanted}{count}: {'; '.join(faults)}"
    receipts = tuple(approval for approval in taken if approval in run.by_id)
    return Answer(truth=None if is_open_question else False, said=said, receipts=receipts)


def _fault(run: RunRecord, intent: Receipt, approval_id: str, required: ApprovalRequired) -> Answer | None:
    """Why an approval that the intent took does not count; None if it does."""
    receipt = run.by_id.get(approval_id)
    if receipt is None:
        return Answer(truth=False, said=f"{approval_id} is not on the run's record")
    control: dict[str, Any] = receipt.predicate.get("control", {})
    faults = {
        "is not an approval": receipt.phase != "approval",
        "was not granted": control.get("decision") != "approve",
        f"was given in the role `{control.get('role', '')}`": control.get("role") != required.role,
        "is for another action": control.get("digest") != intent.predicate.get("action", {}).get("digest"),
        "came after the intent": receipt.predicate["seq"] > intent.predicate["seq"],
        "names nobody": not control.get("by"),
    }
    for said, is_so in faults.items():
        if is_so:
            return Answer(truth=False, said=f"{approval_id} {said}")
    if required.not_initiator:
        if not run.initiator:
            return Answer(truth=None, said="the run does not say who asked for it, so it may have been the approver")
        if _is_pseudonym(control["by"]) is not _is_pseudonym(run.initiator):
            said = f"{approval_id} and the run name people in different ways, so they may be the same person"
            return Answer(truth=None, said=said)
        if control["by"] == run.initiator:
            return Answer(truth=False, said=f"{approval_id} was given by the one who asked for the run")
    return None


def _is_pseudonym(party: str) -> bool:
    return party.startswith("party_")


def _named(match: Match) -> Answer:
    named = ", ".join(match.run.resources) or "nothing"
    if not match.target:
        return Answer(truth=False, said=f"names no target, and the run was opened for {named}")
    is_named = match.target in match.run.resources
    verb = "is" if is_named else "is not"
    said = f"touches {match.target}, which {verb} among what the run was opened for ({named})"
    opened: tuple[str, ...] = (match.run.opened["id"],) if match.run.opened else ()
    return Answer(truth=is_named, said=said, receipts=opened)


def _cited(match: Match, required: RuleCited) -> Answer:
    rules = match.run.authority(match.receipt).get("rules", [])
    is_cited = any(fnmatchcase(rule, pattern) for rule in rules for pattern in required.rule)
    return Answer(truth=is_cited, said=f"was decided by {', '.join(rules) or 'no rule'}")


def _observed(match: Match, required: ObservedBy) -> Answer:
    effect = match.receipt.predicate.get("effect", {})
    if match.receipt.phase == "intent":
        return Answer(truth=None, said="was not seen by anyone yet")
    observer = effect.get("observedBy", "nobody")
    return Answer(truth=observer in required.observers, said=f"was seen by {observer}")


def _preceded(match: Match, required: Preceding) -> Answer:
    before = [each for each in _alike(match, required.of, required.same) if each.seq < match.seq]
    return _first(before, "comes after", "has nothing before it that the clause asks for", is_final=True)


def _followed(match: Match, required: Following) -> Answer:
    if match.is_unseen:
        return Answer(truth=None, said="has no place on the record yet that anything could follow")
    # An open intent of an earlier place may still get its outcome, which would then come after.
    after = [each for each in _alike(match, required.of, required.same) if each.seq > match.seq or each.is_unseen]
    lack = "is not followed by what the clause asks for"
    return _first(after, "is followed by", lack, is_final=match.run.is_closed)


def _alike(match: Match, of: Any, same: Same) -> list[Match]:
    found = select(of, match.run)
    if same == "target":
        return [each for each in found if each.target and each.target == match.target]
    if same == "step":
        step = match.receipt.predicate.get("step")
        return [each for each in found if step and each.receipt.predicate.get("step") == step]
    return list(found)


def _first(found: list[Match], verb: str, lack: str, *, is_final: bool) -> Answer:
    sure = next((each for each in found if not each.doubt), None)
    if sure:
        return Answer(truth=True, said=f"{verb} {sure.words}", receipts=(sure.id,))
    if found:
        return Answer(truth=None, said=f"may be met by {found[0].words}: {found[0].doubt}", receipts=(found[0].id,))
    return Answer(truth=False if is_final else None, said=lack if is_final else f"{lack}, so far: the run is open")
