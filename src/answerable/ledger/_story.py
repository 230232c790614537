"""A run as a person would tell it: its steps in order, each with what was decided and what came of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from answerable.core import Money, Usage
from answerable.ledger._receipt import Receipt

__all__ = ["RunStory", "StepStory", "tell"]

_WORDS = {
    "ok": "done",
    "failed": "failed",
    "refused": "refused",
    "unknown": "unknown",
}


@dataclass(slots=True)
class StepStory:
    """One step: the receipts that tell of it, sorted by what they say.

    Args:
        status: `done`, `failed`, `refused`, `waiting`, `unknown`; or `noted` for signals, timers and marks.
    """

    title: str
    kind: str
    receipts: list[Receipt] = field(default_factory=list)
    held: list[Receipt] = field(default_factory=list)
    approvals: list[Receipt] = field(default_factory=list)
    final: Receipt | None = None
    intents: list[Receipt] = field(default_factory=list)
    status: str = "noted"
    resolved: list[str] = field(default_factory=list)

    @property
    def action(self) -> Mapping[str, Any]:
        """What was to be done, as it finally stood."""
        for receipt in reversed(self.receipts):
            if action := receipt.predicate.get("action"):
                found: Mapping[str, Any] = action
                return found
        return {}

    @property
    def authority(self) -> Mapping[str, Any]:
        """What decided last."""
        for receipt in reversed(self.receipts):
            if authority := receipt.predicate.get("authority"):
                found: Mapping[str, Any] = authority
                return found
        return {}

    @property
    def labels(self) -> list[str]:
        """What its result carries into the run."""
        return list(self.final.predicate.get("labels", [])) if self.final else []

    @property
    def usage(self) -> Usage:
        """What it used."""
        return Usage.from_json(self.final.predicate.get("usage", {})) if self.final else Usage()

    @property
    def amount(self) -> str:
        """The money it moves, empty for none."""
        amount = self.action.get("amount")
        return str(Money(amount["minor"], amount["currency"])) if amount else ""


@dataclass(slots=True)
class RunStory:
    """One run.

    Args:
        opened: its `run.open`, where the bundle holds it; `closed` its `run.close`.
    """

    run: str
    receipts: list[Receipt]
    opened: Receipt | None
    closed: Receipt | None
    steps: list[StepStory]

    @property
    def state(self) -> str:
        """How it ended; `open` while it has not."""
        return str(self.closed.predicate.get("control", {}).get("state", "closed")) if self.closed else "open"

    @property
    def usage(self) -> Usage:
        """What all its steps used."""
        return sum((step.usage for step in self.steps), Usage())

    def count(self, status: str) -> int:
        """How many of its steps ended so."""
        return sum(step.status == status for step in self.steps)


def tell(receipts: Iterable[Receipt]) -> list[RunStory]:
    """The stories of all runs that the receipts, each run's in order, tell of."""
    runs: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        runs.setdefault(receipt.predicate["run"], []).append(receipt)
    return [_run(name, found) for name, found in runs.items()]


def _run(name: str, receipts: Sequence[Receipt]) -> RunStory:
    story = RunStory(run=name, receipts=list(receipts), opened=None, closed=None, steps=[])
    by_step: dict[str, StepStory] = {}
    approvals: dict[str, StepStory] = {}
    for receipt in receipts:
        said = receipt.predicate
        match receipt.phase:
            case "run.open":
                story.opened = receipt
            case "run.close":
                story.closed = receipt
            case "approval" if said.get("control", {}).get("approval") in approvals:
                step = approvals[said["control"]["approval"]]
                step.receipts.append(receipt)
                step.approvals.append(receipt)
            case "intent" | "held" | "denied" | "outcome" | "observation" | "compensation" | "control" if said.get(
                "step"
            ):
                if said["step"] not in by_step:
                    by_step[said["step"]] = StepStory(title="", kind="")
                    story.steps.append(by_step[said["step"]])
                step = by_step[said["step"]]
                _take(step, receipt)
                if receipt.phase == "held":
                    approvals[said["control"]["approval"]] = step
            case _:
                story.steps.append(_mark(receipt))
    for step in by_step.values():
        action = step.action
        step.title, step.kind = str(action.get("name", "step")), str(action.get("kind", ""))
        step.status = _status(step)
    return story


def _take(step: StepStory, receipt: Receipt) -> None:
    step.receipts.append(receipt)
    if receipt.phase == "intent":
        step.intents.append(receipt)
    elif receipt.phase == "held":
        step.held.append(receipt)
    elif receipt.phase in ("outcome", "denied"):
        step.final = receipt
    elif receipt.phase == "control":
        control = receipt.predicate.get("control", {})
        step.resolved.append(str(control.get("why") or control.get("do", "")))


def _status(step: StepStory) -> str:
    if step.final is not None:
        status = step.final.predicate.get("effect", {}).get("status", "refused")
        return _WORDS.get(status, "unknown")
    if step.intents:
        return "unknown"  # never "did not happen": the effect was allowed to start
    return "waiting"


def _mark(receipt: Receipt) -> StepStory:
    control = receipt.predicate.get("control", {})
    titles = {
        "signal": f"signal {control.get('name', '')}",
        "timer": f"timer {control.get('state', '')}: {control.get('due', '')}",
        "version": f"code change passed: {control.get('name', '')}",
        "control": f"{control.get('do', 'change')} {control.get('why', '')}",
        "approval": f"approval {control.get('decision', '')}",
        "key": f"{control.get('role', '')} key {control.get('state', '')}",
    }
    step = StepStory(title=titles.get(receipt.phase, receipt.phase).strip(), kind=receipt.phase)
    step.receipts.append(receipt)
    return step
