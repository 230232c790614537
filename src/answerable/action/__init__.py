"""The road an action travels, and what it needs from the rooms around it."""

from answerable.action._pipeline import OutcomeUnknown, Road
from answerable.action._ports import Authorizer, Claim, Effects, Finding, Journal, Reporter, Step

__all__ = ["Authorizer", "Claim", "Effects", "Finding", "Journal", "OutcomeUnknown", "Reporter", "Road", "Step"]
