"""The road's effects: every kind of action finds whoever performs it."""

from collections.abc import Coroutine, Mapping
from typing import Any

from answerable.action import Effects, Finding, Step
from answerable.core import ActionKind, Description, Outcome

__all__ = ["EveryEffect"]


class EveryEffect:
    """Tools, models and decisions behind one door.

    Args:
        by_kind: who performs which kind of action.
    """

    def __init__(self, by_kind: Mapping[ActionKind, Effects]) -> None:
        self._by_kind = by_kind

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        """What the call is, from its declaration."""
        return self._by_kind[kind].describe(kind, name, arguments)

    def execute(self, step: Step) -> Coroutine[Any, Any, Outcome]:
        """Do it."""
        return self._by_kind[step.action.kind].execute(step)

    def probe(self, step: Step) -> Coroutine[Any, Any, Finding]:
        """Ask whether an attempt in doubt happened."""
        return self._by_kind[step.action.kind].probe(step)
