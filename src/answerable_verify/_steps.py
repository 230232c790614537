"""What the phases of a run's steps may say after one another.

Format: `docs/formats/journal.md`, "Steps", "Approvals" and "Digests".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from answerable_verify._history import Say
from answerable_verify._receipt import Receipt

__all__ = ["Steps", "check_steps"]

_OF_STEPS = frozenset({"intent", "outcome", "held", "denied"})


@dataclass(slots=True)
class _Step:
    intents: dict[int, Receipt] = field(default_factory=dict)
    held: dict[str, Receipt] = field(default_factory=dict)  # by action digest
    outcome: Receipt | None = None
    denied: Receipt | None = None


@dataclass(slots=True)
class _Asked:
    """A held action and the answers to it so far."""

    held: Receipt
    escalated_to: str = ""
    settled: str = ""
    people: set[str] = field(default_factory=set)

    @property
    def terms(self) -> Mapping[str, Any]:
        return self.held.section("control")

    @property
    def role(self) -> str:
        """The role that is asked now."""
        return self.escalated_to or str(self.terms.get("role"))

    @property
    def n(self) -> int:
        n = self.terms.get("n", 1)
        return n if type(n) is int else 1


@dataclass(slots=True)
class Steps:
    """What came of one run's steps.

    Args:
        unknown: intents without outcome, in order.
        approvals: how many approval receipts were relied on.
        digests: how many action digests could be computed again.
    """

    unknown: list[Receipt] = field(default_factory=list)
    approvals: int = 0
    digests: int = 0


def check_steps(run: Sequence[Receipt], *, say: Say) -> Steps:
    """Check every step of one run; receipts come in the order of their seq."""
    steps: dict[str, _Step] = {}
    seen = Steps()
    by_id: dict[str, Receipt] = {}
    asked: dict[str, _Asked] = {}  # by approval
    written_off: set[str] = set()
    of_none = _Step()
    for receipt in run:
        step = steps.setdefault(receipt.step, _Step()) if receipt.phase in _OF_STEPS else of_none
        match receipt.phase:
            case "intent":
                _check_intent(receipt, step, say)
                seen.approvals += _check_approvals(receipt, step, run[0], by_id, asked, say)
                step.intents.setdefault(receipt.attempt, receipt)
            case "outcome":
                _check_outcome(receipt, step, by_id, say)
                if "intentRef" not in receipt.said():
                    seen.approvals += _check_approvals(receipt, step, run[0], by_id, asked, say)
                step.outcome = step.outcome or receipt
            case "held":
                if (digest := receipt.action_digest) in step.held:
                    say("steps", f"held again for the same action as `{step.held[digest].id}`", receipt)
                step.held.setdefault(digest, receipt)
                asked.setdefault(str(receipt.section("control").get("approval")), _Asked(receipt))
            case "denied":
                if step.outcome:
                    say("steps", f"denied after its outcome `{step.outcome.id}`", receipt)
                step.denied = step.denied or receipt
            case "approval":
                _check_approval(receipt, run, asked, say)
            case "observation" if "intentRef" in receipt.said():
                _check_reference(receipt, by_id, say)
            case "control" if receipt.section("control").get("do") == "write-off":
                written_off.add(str(receipt.section("control").get("intent")))
        if receipt.follows is not None:
            seen.digests += 1
            if not receipt.follows:
                say("digests", "the action digest does not follow from the action", receipt)
        by_id.setdefault(receipt.id, receipt)
    for step in steps.values():
        if step.intents and not step.outcome:
            last = step.intents[max(step.intents)]
            if last.id not in written_off:
                seen.unknown.append(last)
    return seen


def _check_intent(receipt: Receipt, step: _Step, say: Say) -> None:
    if step.denied:
        say("steps", f"an intent after the step was denied by `{step.denied.id}`", receipt)
    if step.outcome:
        say("steps", f"an intent after the step had its outcome `{step.outcome.id}`", receipt)
    if step.intents:
        last = step.intents[max(step.intents)]
        if receipt.attempt <= last.attempt:
            say("steps", f"attempt {receipt.attempt} does not rise above that of `{last.id}`", receipt)
        if receipt.section("action").get("idempotencyKey") != last.section("action").get("idempotencyKey"):
            say("steps", f"another idempotency key than the earlier attempt `{last.id}`", receipt)
    if receipt.section("authority").get("decision") == "deny":
        say("steps", "an intent whose decision is a denial", receipt)


def _check_outcome(receipt: Receipt, step: _Step, by_id: Mapping[str, Receipt], say: Say) -> None:
    if step.outcome:
        say("steps", f"a second outcome of the step: `{step.outcome.id}` is the first", receipt)
    if step.denied and receipt.section("effect").get("status") != "refused":
        say("steps", f"an outcome after the step was denied by `{step.denied.id}`", receipt)
    if "intentRef" in receipt.said():
        _check_reference(receipt, by_id, say)
        return
    if receipt.section("action").get("effect") != "read" and receipt.section("effect").get("status") != "refused":
        say("steps", "the outcome of an effect that answers no intent", receipt)
    if receipt.attempt in step.intents:
        say("steps", f"does not name the intent `{step.intents[receipt.attempt].id}` of its attempt", receipt)


def _check_reference(receipt: Receipt, by_id: Mapping[str, Receipt], say: Say) -> None:
    intent = by_id.get(str(receipt.said()["intentRef"]))
    if intent is None or intent.phase != "intent":
        say("steps", "intentRef names no intent before it in the run", receipt)
    elif intent.step != receipt.step or (receipt.attempt and intent.attempt != receipt.attempt):
        say("steps", f"answers the intent `{intent.id}`, which is of another step or attempt", receipt)
    elif receipt.action_digest and receipt.action_digest != intent.action_digest:
        say("steps", f"is of another action than the intent `{intent.id}` it answers", receipt)


def _check_approval(receipt: Receipt, run: Sequence[Receipt], asked: Mapping[str, _Asked], say: Say) -> None:
    """Check one answer: to something held, not settled yet, by somebody new, in the role that is asked."""
    control = receipt.section("control")
    found = asked.get(str(control.get("approval")))
    if found is None:
        say("approvals", "decides an approval that nothing was held for before it", receipt)
        return
    decision = control.get("decision")
    if control.get("digest", found.held.action_digest) != found.held.action_digest:
        say("approvals", f"decides another action than `{found.held.id}` holds", receipt)
    if found.settled:
        say("approvals", f"decides what `{found.settled}` has settled already", receipt)
    if decision == "escalate":
        found.escalated_to = str(control.get("to"))
        return
    if decision == "timeout":
        found.settled = receipt.id
        return
    if control.get("role", found.role) != found.role:
        say("approvals", f"decided in another role than `{found.role}`, which is asked", receipt)
    person = str(control.get("by"))
    if person in found.people:
        say("approvals", "a second answer by the same person", receipt)
    found.people.add(person)
    if decision != "reject":
        if found.terms.get("notInitiator") is True and person == _initiator(run):
            say("approvals", "approved by the one who asked for the run", receipt)
        if found.terms.get("signed") is True and "signature" not in control:
            say("approvals", "not signed by the person, which was asked for", receipt)
        if decision == "edit" and found.terms.get("mayEdit") is not True:
            say("approvals", "changes the arguments, which was not allowed", receipt)
    if decision != "approve" or len(found.people) >= found.n:
        found.settled = receipt.id


def _check_approvals(
    receipt: Receipt,
    step: _Step,
    opened: Receipt,
    by_id: Mapping[str, Receipt],
    asked: Mapping[str, _Asked],
    say: Say,
) -> int:
    """Check what an action that goes ahead relies on; the number of approvals it cites."""
    authority = receipt.section("authority")
    cited = authority.get("approvals", [])
    terms = _terms(authority, step.held.get(receipt.action_digest))
    people = set()
    for name in cited:
        approval = by_id.get(name)
        if approval is None or approval.phase != "approval":
            say("approvals", f"cites `{name}`, which is no approval before it in the run", receipt)
            continue
        control = approval.section("control")
        found = asked.get(str(control.get("approval")))
        if found is None or not _fits(receipt, control, found):
            say("approvals", f"cites `{name}`, which does not approve exactly this action", receipt)
        elif terms.roles - {str(found.terms.get("role"))}:
            say("approvals", f"cites `{name}`, which was given in another role than was asked for", receipt)
        else:
            people.add(str(control.get("by")))
    if terms.not_initiator:
        people.discard(_initiator((opened,)))
    if len(people) < terms.n:
        say("approvals", f"went ahead with {len(people)} valid approvals where {terms.n} were asked for", receipt)
    return len(cited)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What was asked for before an action could go ahead."""

    n: int
    roles: frozenset[str]
    not_initiator: bool


def _terms(authority: Mapping[str, Any], held: Receipt | None) -> _Terms:
    """The strictest of what the action was held for and what it was let through under."""
    ns, roles, not_initiator = [0], set(), False
    if held:
        control = held.section("control")
        n = control.get("n", 1)
        ns.append(n if type(n) is int else 1)
        roles.add(str(control.get("role")))
        not_initiator = control.get("notInitiator") is True
    for said in authority.get("obligations", []):
        word, _, rest = said.partition(":")
        if word != "approve":
            continue
        parts = dict(part.partition("=")[::2] for part in rest.split(","))
        ns.append(int(parts["n"]) if parts.get("n", "").isdecimal() else 1)
        roles |= {parts["role"]} if "role" in parts else set()
        not_initiator = not_initiator or "not" in parts
    return _Terms(max(ns), frozenset(roles), not_initiator)


def _fits(receipt: Receipt, control: Mapping[str, Any], found: _Asked) -> bool:
    """Whether an answer lets this action through: of exactly this, edited into this, or for the rest of the run."""
    if control.get("decision") == "edit":
        return bool(control.get("edited") == receipt.action_digest)
    if control.get("decision") != "approve":
        return False
    if control.get("digest") == receipt.action_digest:
        return True
    this, that = receipt.section("action"), found.held.section("action")
    if control.get("scope") != "run" or found.terms.get("mayRepeat") is not True:
        return False
    if any(this.get(name) != that.get(name) for name in ("kind", "name", "target")):
        return False
    amount, limit = this.get("amount", {}), that.get("amount", {})
    if not isinstance(amount, Mapping) or not isinstance(limit, Mapping):
        return False
    if any(type(each.get("minor", 0)) is not int for each in (amount, limit)):
        return False
    return bool(amount.get("currency") == limit.get("currency") and amount.get("minor", 0) <= limit.get("minor", 0))


def _initiator(run: Sequence[Receipt]) -> str:
    return str(run[0].said().get("onBehalfOf", "")) or "\0"
