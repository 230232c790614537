"""What the record holds of one run, in memory while the run is being advanced."""

from dataclasses import dataclass, field
from typing import Any, Literal

from answerable.core import Effect, Outcome, ReceiptId, RunId, StepKey, Usage
from answerable.ledger._receipt import Receipt

__all__ = ["History", "Intent", "Recorded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Something that is handed back to the agent at its place in the run.

    Args:
        outcome: of a `final`; None otherwise.
        payload: a signal's content, stable JSON.
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
        began: when the run began, RFC 3339 UTC; of a fork, when the first run it shares receipts with did.
        shared: steps whose outcome a fork shares with another run.
        order: `pause` or `kill`, as last ordered from outside and not taken back; empty otherwise. `reason` is why.
        closed: the `run.close` predicate, once the run is over.
        seen: the last `seq` read.
    """

    run: RunId
    opened: dict[str, Any] = field(default_factory=dict)
    input: bytes = b"null"
    recorded: list[Recorded] = field(default_factory=list)
    finals: dict[StepKey, Outcome] = field(default_factory=dict)
    intents: dict[StepKey, Intent] = field(default_factory=dict)
    timers: dict[StepKey, str] = field(default_factory=dict)
    held: dict[StepKey, str] = field(default_factory=dict)
    began: str = ""
    shared: frozenset[StepKey] = frozenset()
    order: str = ""
    reason: str = ""
    closed: dict[str, Any] | None = None
    seen: int = -1

    def follow(self, receipt: Receipt, texts: tuple[bytes | None, bytes | None]) -> list[Recorded]:
        """Take in the next receipt; what it adds to `recorded` comes back."""
        said = receipt.predicate
        seq, phase, step = said["seq"], said["phase"], StepKey(said.get("step", ""))
        if seq <= self.seen:
            return []
        self.seen = seq
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
        elif phase in ("outcome", "denied"):
            outcome = outcome_of(said, texts[1])
            self.finals[step] = outcome
            action = said["action"]
            return self._add(
                Recorded(kind="final", name=action["name"], effect=Effect(action["effect"]), outcome=outcome, **common)
            )
        elif phase == "timer" and said["control"]["state"] == "set":
            self.timers[step] = said["control"]["due"]
        elif phase == "timer":
            return self._add(Recorded(kind="timer", **common))
        elif phase == "signal":
            return self._add(
                Recorded(kind="signal", name=said["control"]["name"], payload=texts[0] or b"null", **common)
            )
        elif phase == "version":
            return self._add(Recorded(kind="version", name=said["control"]["name"], **common))
        elif phase == "control":
            self._control(step, said["control"])
        elif phase == "run.close":
            self.closed = said
        return []

    def _control(self, step: StepKey, control: dict[str, Any]) -> None:
        if control["do"] == "write-off":
            intent = self.intents[step]
            if intent.receipt == control["intent"]:
                self.intents[step] = Intent(intent.attempt, intent.receipt, is_written_off=True)
        elif control["do"] in ("pause", "kill"):
            self.order, self.reason = control["do"], control["reason"]
        elif control["do"] == "resume":
            self.order = ""

    def _add(self, recorded: Recorded) -> list[Recorded]:
        self.recorded.append(recorded)
        return [recorded]


def outcome_of(said: dict[str, Any], output: bytes | None) -> Outcome:
    """The outcome that a final receipt and its text tell of."""
    effect = said.get("effect", {})
    return Outcome(
        status=effect.get("status", "refused"),
        value=output if output is not None else b"null",
        usage=Usage.from_json(said.get("usage", {})),
        observed_by=effect.get("observedBy", "gate"),
        evidence=tuple(effect.get("evidence", ())),
        labels=tuple(said.get("labels", ())),
        subjects=tuple(said.get("control", {}).get("subjects", ())),
        tries=effect.get("tries", 1),
        seq=said["seq"],
        at=said["at"],
        receipt=said["id"],
    )
