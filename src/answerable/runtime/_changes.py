"""Runs in flight across a deploy: what becomes of one that other code began."""

from answerable.ledger import History
from answerable.runtime._agents import AgentSpec
from answerable.runtime._errors import BuildChanged
from answerable.runtime._gate import Ending

__all__ = ["changed", "is_changed"]


def is_changed(spec: AgentSpec, history: History) -> bool:
    """Whether the run may not go on with this code. One that took no step yet begins with any."""
    return spec.on_change != "continue" and history.build not in ("", spec.build)


def changed(spec: AgentSpec, history: History) -> Ending:
    """The end of a run that may not go on with this code."""
    error = BuildChanged(agent=spec.name, was=history.build, now=spec.build or "unknown")
    return Ending(kind="finished", error=error)
