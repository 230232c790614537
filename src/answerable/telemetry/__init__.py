"""Report: who watches actions, and what they cost."""

from answerable.telemetry._cost import Cost, cost_of
from answerable.telemetry._report import Reports

__all__ = ["Cost", "Reports", "cost_of"]
