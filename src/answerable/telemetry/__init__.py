"""Report: who watches actions, and what they cost."""

from answerable.telemetry._cost import Cost, cost_of
from answerable.telemetry._metering import Grouping, Metered, metered
from answerable.telemetry._report import Reports

__all__ = ["Cost", "Grouping", "Metered", "Reports", "cost_of", "metered"]
