"""What the record holds of one run, in memory while the run is being advanced."""

from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from answerable.core import Action, Effect, Outcome, ReceiptId, RunId, StepKey, Usage, quickly_made, stable_json
from answerable.ledger._receipt import Receipt

__all__ = ["History", "Intent", "Recorded", "as_recorded"]


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Something that is handed back to the agent at its place in the run.

    Args:
        outcome: of a `final`; None otherwise.
        payload: a signal's content, stable JSON; `labels` what it carries, where it says so itself.
        due: when a timer was due.
    """

    kind: Literal["final", "timer", "signal", "version"]
    seq: int
    at: str
    step: StepKey = StepKey("")
    branch: str = ""
    name: str = ""
    effect: Effect = Effect.READ
    outcome: Outcome | None = None
    payload: bytes = b"null"
    labels: tuple[str, ...] | None = None
    subjects: tuple[str, ...] = ()
    receipt: ReceiptId = ReceiptId("")


@dataclass(frozen=True, slots=True)
class Intent:
    """The latest attempt at a step."""

    attempt: int
    receipt: ReceiptId
    is_written_off: bool = False


@dataclass(slots=True)
class History:
    """A run's receipts, sorted by what a replay asks of them.

    Args:
        opened: the `run.open` predicate; `input` its text.
        recorded: what is handed back, by `seq`.
        finals: outcomes by step; `intents`: the latest attempt by step.
        timers: due times of timers that were set, by step.
        held: approval ids by step.
        edits: arguments that an approver put in place of the agent's, by step; the last one counts.
        dropped: labels that a person took off the run, and the `seq` at which: they count again when they come later.
        began: when the run began, RFC 3339 UTC; of a fork, when the first run it shares receipts with did.
        shared: steps whose outcome a fork shares with another run.
        order: `pause` or `kill`, as last ordered from outside and not taken back; empty otherwise. `reason` is why.
        closed: the `run.close` predicate, once the run is over.
        seen: the last `seq` read.
        build: of the code that took the run's first step; empty before it.
        taken: `seq` of the signals that the agent took in this slice.
    """

    run: RunId
    opened: dict[str, Any] = field(default_factory=dict)
    input: bytes = b"null"
    recorded: list[Recorded] = field(default_factory=list)
    finals: dict[StepKey, Outcome] = field(default_factory=dict)
    intents: dict[StepKey, Intent] = field(default_factory=dict)
    timers: dict[StepKey, str] = field(default_factory=dict)
    held: dict[StepKey, str] = field(default_factory=dict)
    edits: dict[StepKey, bytes] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    began: str = ""
    shared: frozenset[StepKey] = frozenset()
    order: str = ""
    reason: str = ""
    closed: dict[str, Any] | None = None
    seen: int = -1
    build: str = ""
    taken: set[int] = field(default_factory=set)

    def intended(self, step: StepKey, attempt: int, receipt: ReceiptId, seq: int) -> None:
        """Take in an intent just written; like `follow`, without reading the receipt again."""
        self.seen = seq
        self.intents[step] = Intent(attempt, receipt)

    def finished(self, action: Action, outcome: Outcome) -> None:
        """Take in a final outcome just written, as it stands on the record (`as_recorded`)."""
        self.seen = outcome.seq
        self.finals[action.step] = outcome
        self.recorded.append(
            Recorded(
                kind="final",
                seq=outcome.seq,
                at=outcome.at,
                step=action.step,
                branch=action.branch,
                name=action.name,
                effect=action.described.effect,
                outcome=outcome,
                receipt=outcome.receipt,
            )
        )

    def follow(
        self, receipt: Receipt, texts: tuple[bytes | None, bytes | None] = (None, None), subjects: tuple[str, ...] = ()
    ) -> None:
        """Take in the next receipt.

        Args:
            texts: input and output, as far as a replay needs them.
            subjects: the people that they concern, by pseudonym.
        """
        said = receipt.predicate
        seq, phase, step = said["seq"], said["phase"], StepKey(said.get("step", ""))
        if seq <= self.seen:
            return
        self.seen = seq
        if step and not self.build:
            self.build = said["agent"].get("build", "")
        common: dict[str, Any] = {
            "seq": seq,
            "at": said["at"],
            "step": step,
            "branch": said.get("branch", ""),
            "receipt": said["id"],
        }
        if phase == "run.open":
            self.opened, self.input, self.began = said, texts[0] or b"null", said["at"]
        elif phase == "intent":
            self.intents[step] = Intent(said["attempt"], said["id"])
        elif phase == "held":
            self.held[step] = said["control"]["approval"]
        elif phase == "approval" and "edited" in said["control"]:
            self.edits[step] = stable_json(orjson.loads(texts[0] or b"{}").get("arguments"))
        elif phase in ("outcome", "denied"):
            outcome = outcome_of(said, texts[1], subjects)
            self.finals[step] = outcome
            action = said["action"]
            effect = Effect(action["effect"])
            self.recorded.append(Recorded(kind="final", name=action["name"], effect=effect, outcome=outcome, **common))
        elif phase == "timer" and said["control"]["state"] == "set":
            self.timers[step] = said["control"]["due"]
        elif phase == "timer":
            self.recorded.append(Recorded(kind="timer", **common))
        elif phase == "signal":
            self.recorded.append(_signal(said["control"], texts[0] or b"null", subjects, common))
        elif phase == "version":
            self.recorded.append(Recorded(kind="version", name=said["control"]["name"], **common))
        elif phase == "control":
            self._control(step, said["control"], seq)
        elif phase == "run.close":
            self.closed = said

    def exposed(self) -> set[str]:
        """The labels of every outcome, without those that were dropped after it."""
        return {
            label
            for outcome in self.finals.values()
            for label in outcome.labels
            if label not in self.dropped or outcome.seq > self.dropped[label]
        }

    def _control(self, step: StepKey, control: dict[str, Any], seq: int) -> None:
        if control["do"] == "write-off":
            intent = self.intents[step]
            if intent.receipt == control["intent"]:
                self.intents[step] = Intent(intent.attempt, intent.receipt, is_written_off=True)
        elif control["do"] in ("pause", "kill"):
            self.order, self.reason = control["do"], control["reason"]
        elif control["do"] == "resume":
            self.order = ""
        elif control["do"] == "declassify":
            self.dropped.update(dict.fromkeys(control["labels"], seq))


def _signal(control: dict[str, Any], payload: bytes, subjects: tuple[str, ...], common: dict[str, Any]) -> Recorded:
    labels = tuple(control["labels"]) if "labels" in control else None
    return Recorded(kind="signal", name=control["name"], payload=payload, labels=labels, subjects=subjects, **common)


def as_recorded(outcome: Outcome, receipt: ReceiptId, seq: int, at: str, *, subjects: tuple[str, ...] = ()) -> Outcome:
    """The outcome as `outcome_of` would read it from the receipt it was just written to.

    Args:
        subjects: the people that its receipt's texts concern: those of the action, and its own.
    """
    labels = tuple(sorted(outcome.labels)) if len(outcome.labels) > 1 else outcome.labels
    return Outcome(
        status=outcome.status,
        value=outcome.value,
        usage=outcome.usage,
        observed_by=outcome.observed_by,
        evidence=outcome.evidence,
        labels=labels,
        subjects=subjects,
        tries=outcome.tries,
        seq=seq,
        at=at,
        receipt=receipt,
    )


def outcome_of(said: dict[str, Any], output: bytes | None, subjects: tuple[str, ...]) -> Outcome:
    """The outcome that a final receipt and its text tell of."""
    effect = said.get("effect", {})
    return Outcome(
        status=effect.get("status", "refused"),
        value=output if output is not None else b"null",
        usage=Usage.from_json(said.get("usage", {})),
        observed_by=effect.get("observedBy", "gate"),
        evidence=tuple(effect.get("evidence", ())),
        labels=tuple(said.get("labels", ())),
        subjects=subjects,
        tries=effect.get("tries", 1),
        seq=said["seq"],
        at=said["at"],
        receipt=said["id"],
    )
