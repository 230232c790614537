"""The language of checks: what a clause may ask of the record.

A check is data, not code: closed, total and free of side effects. It reads receipts and nothing
else, so whoever holds the receipts and the clause gets the same verdict.
"""

from dataclasses import dataclass
from typing import Literal

from answerable.core import Money

__all__ = [
    "ApprovalRequired",
    "AtMost",
    "Check",
    "Every",
    "Following",
    "Never",
    "ObservedBy",
    "Preceding",
    "Requirement",
    "RuleCited",
    "Same",
    "Selector",
    "SumAtMost",
    "TargetNamed",
]

Same = Literal["run", "step", "target"]
Per = Literal["", "target", "agent", "initiator"]
Within = Literal["run", "record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which receipts are meant. Every part given must match; of several patterns, one.

    Patterns are shell patterns (`shop.*`), with case.

    Args:
        status: of an outcome or observation: `ok`, `failed`, `refused` or `unknown`.
        label: one of the receipt's labels.
        rule: one of the policy rules that decided.
        model: `provider:id` of the model asked.
        amount_over, amount_up_to: of the money the action moves; another currency cannot be compared.
    """

    phase: str
    kind: tuple[str, ...] = ()
    name: tuple[str, ...] = ()
    effect: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    agent: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    rule: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    amount_over: Money | None = None
    amount_up_to: Money | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequired:
    """`n` people in this role approved exactly this action, before its intent."""

    role: str
    n: int = 1
    not_initiator: bool = False


@dataclass(frozen=True, slots=True)
class TargetNamed:
    """The action's target is among the resources that the run was opened for."""


@dataclass(frozen=True, slots=True)
class RuleCited:
    """The decision names a policy rule that matches."""

    rule: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ObservedBy:
    """The effect was seen by one of these: `gate`, `counterparty`, `independent`, `agent`."""

    observers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preceding:
    """Something in the same run came before."""

    of: Selector
    same: Same = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """Something in the same run came after."""

    of: Selector
    same: Same = "run"


Requirement = ApprovalRequired | TargetNamed | RuleCited | ObservedBy | Preceding | Following


@dataclass(frozen=True, slots=True)
class Every:
    """Each receipt selected meets every requirement."""

    of: Selector
    requires: tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Never:
    """No receipt is selected."""

    of: Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class AtMost:
    """No more than `n` receipts are selected in each group."""

    of: Selector
    n: int
    per: Per = ""
    within: Within = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class SumAtMost:
    """The amounts of the receipts selected in each group come to no more than `amount`."""

    of: Selector
    amount: Money
    per: Per = ""
    within: Within = "run"


Check = Every | Never | AtMost | SumAtMost
