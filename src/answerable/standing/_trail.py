"""The chain behind an artefact, as data: specification → decision → action → evidence."""

from dataclasses import dataclass
from typing import Any

__all__ = ["ActionTrail", "ApprovalLink", "ClauseLink", "DecisionLink", "ModelLink", "PartyLink", "Trail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyLink:
    """A person or system, as the record knows them.

    Args:
        party: pairwise pseudonym or role; empty where the record names nobody.
        name: as unsealed from the record; empty if it was never sealed there, or is erased.
    """

    party: str
    name: str = ""

    def __str__(self) -> str:
        if not self.party:
            return "nobody named"
        return f"{self.name} ({self.party})" if self.name else self.party


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionLink:
    """What policy decided.

    Args:
        decision: `permit`, `hold` or `deny`.
        policy: `sha256:` name of the policy set in force then.
        request: commitment of the exact request that was decided.
        reason: the error's code, for a denial.
    """

    receipt: str
    decision: str
    rules: tuple[str, ...] = ()
    policy: str = ""
    request: str = ""
    obligations: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalLink:
    """A person's (or the clock's) answer to a held action.

    Args:
        decision: `approve`, `reject`, `timeout`; `waiting` while nobody has answered.
        is_taken: the action's intent took this approval.
    """

    receipt: str
    approval: str
    decision: str
    role: str
    person: PartyLink
    at: str
    is_taken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClauseLink:
    """A clause that governed the action.

    Args:
        title, spec, version: empty where neither the record nor the caller has the specification.
        verdict: of the clause on this run; empty with `title`.
    """

    clause: str
    title: str = ""
    spec: str = ""
    version: str = ""
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLink:
    """The model that was asked, or was heard last before the action.

    Args:
        receipt: of the model call.
        is_own: the action is the model call itself. Otherwise the link is one of order in time: the
            record does not prove that the model's words caused the action.
    """

    provider: str
    id: str
    receipt: str
    is_own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionTrail:
    """One action and everything it rests on.

    Args:
        status: `ok`, `failed`, `refused`, `held`, `written off` (it is known not to have happened), or
            `unknown`: dispatched, and it may have happened.
        receipts: phase and id, in order.
        mandate: id of the mandate; empty where the agent acted in its own role.
        evidence: what supports the outcome beside the observer, as recorded.
    """

    run: str
    step: str
    at: str
    kind: str
    name: str
    effect: str
    target: str
    amount: str
    digest: str
    status: str
    observed_by: str
    agent: str
    environment: str
    initiator: PartyLink
    mandate: str
    receipts: tuple[tuple[str, str], ...]
    decisions: tuple[DecisionLink, ...]
    approvals: tuple[ApprovalLink, ...]
    clauses: tuple[ClauseLink, ...]
    model: ModelLink | None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """What lies behind an artefact.

    Args:
        asked: what was asked about; `found_as` says what it turned out to be (`receipt`, `run`,
            `approval`, `artefact`).
        said: what the receipt is, where no action is behind it.
        runs: every run that it concerns.
        actions: what changed something or was refused, in order.
        reads: names of reads and model calls, and how often each was made.
    """

    asked: str
    found_as: str
    said: str
    runs: tuple[str, ...]
    actions: tuple[ActionTrail, ...]
    reads: tuple[tuple[str, int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The trail as JSON, members in camel case as on receipts."""
        said: dict[str, Any] = _json(self)
        said["reads"] = dict(self.reads)
        return said


def _json(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {_camel(name): _json(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, tuple):
        return [_json(each) for each in value]
    return value


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
