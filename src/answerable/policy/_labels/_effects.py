"""Effects whose outcomes carry the labels that they should: a source's declaration counts, and what a target keeps."""

from dataclasses import replace
from typing import Protocol

from answerable.action import Effects, Finding, Step
from answerable.core import Action, ActionKind, Description, Outcome
from answerable.policy._labels._rules import LabelRules

__all__ = ["Kept", "LabelledEffects"]


class Kept(Protocol):
    """The labels that targets carry, because somebody under a label wrote to them."""

    def of(self, action: Action) -> tuple[str, ...]:
        """Labels of what the action acts on."""

    async def mark(self, action: Action) -> None:
        """What the action acts on carries the action's labels from now on; on the record when this returns."""


class LabelledEffects:
    """Other effects, with labels as `rules` declare them."""

    def __init__(self, inner: Effects, rules: LabelRules, kept: Kept) -> None:
        self._inner = inner
        self._rules = rules
        self._kept = kept

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        """What the call is, from its declaration."""
        return self._inner.describe(kind, name, arguments)

    async def execute(self, step: Step) -> Outcome:
        """Do it; what keeps what is written is marked before anything is written."""
        action = step.action
        sink = self._rules.sinks.get(action.name) if action.kind == "tool" else None
        if sink is not None and sink.keeps and action.labels and action.described.target:
            await self._kept.mark(action)
        return self._labelled(action, await self._inner.execute(step))

    async def probe(self, step: Step) -> Finding:
        """Ask whether an attempt in doubt happened."""
        found = await self._inner.probe(step)
        return self._labelled(step.action, found) if isinstance(found, Outcome) else found

    def _labelled(self, action: Action, outcome: Outcome) -> Outcome:
        if action.kind == "model":
            labels = {*outcome.labels, *action.labels}  # it read all that the run had been told
        elif action.kind == "tool":
            labels = set(outcome.labels)
            source = self._rules.sources.get(action.name)
            if source is not None and source.trusted:
                labels.discard(f"untrusted:{action.name}")
            if action.described.target:
                labels.update(self._kept.of(action))
        else:
            return outcome
        return outcome if labels == set(outcome.labels) else replace(outcome, labels=tuple(sorted(labels)))
