"""What the road needs from others. `app` plugs in whoever meets these."""

from dataclasses import dataclass
from typing import Literal, Protocol

from answerable.core import Action, ActionKind, Decision, Description, Outcome, ReceiptId, quickly_made

__all__ = ["Authorizer", "Claim", "Effects", "Finding", "Journal", "Reporter", "Step"]

Finding = Outcome | Literal["did not happen", "cannot say"]
"""What a status probe learns of an effect whose outcome was lost."""


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An action after `open`: what the journal answered, durably.

    Args:
        status: `admitted`: an intent stands (or a read needs none), the effect may run now.
            `refused`: a receipt says so and `refusal` is final. `held`: parked for a person.
            `doubt`: an intent without an outcome. `moved`: facts changed since the decision.
        attempt: 1 and up; each attempt has its own intent.
        intent: the intent's receipt, empty for reads.
        wait: what answers a held or doubtful step (an approval's or intent's id).
    """

    action: Action
    status: Literal["admitted", "refused", "held", "doubt", "moved"]
    attempt: int = 1
    decision: Decision | None = None
    intent: ReceiptId = ReceiptId("")
    refusal: Outcome | None = None
    wait: str = ""


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What the record holds of a step: its outcome, an intent in doubt, or nothing yet.

    Args:
        action: the action as last answered: an approver's edit included.
    """

    action: Action
    outcome: Outcome | None = None
    doubt: Step | None = None


class Journal(Protocol):
    """The durable record of one run. Each answer is on disk before it is given."""

    async def claim(self, action: Action) -> Claim:
        """What is already recorded of this step."""

    async def open(self, action: Action, decision: Decision) -> Step:
        """Record the intent, the hold or the refusal, in one transaction with what it depends on.

        A read that reserves nothing is admitted without a receipt.
        """

    async def close(self, step: Step, outcome: Outcome) -> Outcome:
        """Record the outcome, once; the outcome as it stands on the record comes back.

        An `unknown` outcome is recorded as an observation: the step stays in doubt.
        """

    async def write_off(self, step: Step, why: str) -> None:
        """Record that the attempt in doubt did not happen: the next attempt may be opened."""

    async def answered(self, step: Step) -> None:
        """Park until a person, the clock or another process has answered what the step waits for."""


class Authorizer(Protocol):
    """Policy, outside the model."""

    async def authorize(self, action: Action) -> Decision:
        """The decision on this action now. Any doubt or error is a denial."""


class Effects(Protocol):
    """Whoever performs actions: tools and models."""

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        """What the call is, from its declaration.

        Raises:
            Refused: no such tool or model, or the arguments do not fit its schema.
        """

    async def execute(self, step: Step) -> Outcome:
        """Do it. A failure is an outcome; an exception means the effect's fate is unknown."""

    async def probe(self, step: Step) -> Finding:
        """Ask whether an attempt in doubt happened, by the tool's declared status probe."""


class Reporter(Protocol):
    """Whoever watches. Must not fail the action: what it raises is logged and dropped."""

    def report(self, step: Step, outcome: Outcome) -> None:
        """Called once per action performed here, after its outcome is on the record."""
