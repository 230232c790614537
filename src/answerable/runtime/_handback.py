"""What is handed back to the agent, and in which order: that of the record, live and in replay alike.

An outcome that the agent waits for and that is on the record may be handed back; of several, the one
with the lowest `seq`. The history read so far has no gaps, so whatever it holds is preceded by
nothing that a replay would know of and this slice does not.
"""

import heapq
from collections import defaultdict, deque
from typing import Any

from answerable.core import Effect, Outcome, StepKey
from answerable.ledger import History, Reader, Recorded
from answerable.runtime._calls import Call, Signature
from answerable.runtime._errors import SignalTimedOut
from answerable.runtime._limits import Bounds

__all__ = ["HandBack"]


class HandBack:
    """The calls an agent made in this slice, matched with what the record holds.

    Attributes:
        calls: every call made, by step.
        unclaimed_effects: effects the journal holds (done or in doubt) that the agent has yet to call, by name.
        at: time on the record of the last outcome handed back.
        labels, subjects: of all outcomes handed back, sorted.
    """

    def __init__(
        self,
        history: History,
        reader: Reader,
        bounds: Bounds,
        *,
        subjects: tuple[str, ...],
        labels: tuple[str, ...],
    ) -> None:
        self.calls: dict[StepKey, Call] = {}
        self.unclaimed_effects: dict[StepKey, str] = {}
        self.at: str = history.began
        self.labels = labels
        self._exposed = dict.fromkeys(labels, -1)
        self.subjects = subjects
        self._history = history
        self._bounds = bounds
        self._cursor = 0
        self._ready: list[tuple[int, Call, Recorded]] = []
        self._unclaimed: dict[StepKey, Recorded] = {}
        self._signals: defaultdict[str, deque[Recorded]] = defaultdict(deque)
        self._listening: dict[str, deque[Call]] = {}
        self._pending_writes: dict[Signature, StepKey] = {}
        self._find_lost_effects(reader)
        self.absorb()

    @property
    def may_have_some(self) -> bool:
        """Whether there may be something to hand back."""
        return bool(self._ready or self._listening)

    @property
    def has_ready(self) -> bool:
        """Whether an outcome is there for a call that was made."""
        return bool(self._ready)

    def claim(self, call: Call) -> bool:
        """Register a call; whether its outcome is on the record already."""
        self.calls[call.step] = call
        self.unclaimed_effects.pop(call.step, None)
        recorded = self._unclaimed.pop(call.step, None)
        if recorded is None:
            return False
        if recorded.effect is not Effect.READ:
            self.hold_write(call)
        heapq.heappush(self._ready, (recorded.seq, call, recorded))
        return True

    def listen(self, name: str, call: Call) -> None:
        """Register a call for the next signal of this name."""
        self._listening.setdefault(name, deque()).append(call)

    def hold_write(self, call: Call) -> bool:
        """From here until its outcome is handed back the same write is under way; whether it was before."""
        return self._pending_writes.setdefault(call.signature, call.step) != call.step

    def absorb(self) -> None:
        """Sort what the history has gained: for a call that was made, for a later one, or a signal."""
        if self._history.dropped:
            self._count_labels()
        recorded = self._history.recorded
        while self._cursor < len(recorded):
            one = recorded[self._cursor]
            self._cursor += 1
            if one.kind == "signal":
                self._signals[one.name].append(one)
            elif (call := self.calls.get(one.step)) is not None:
                heapq.heappush(self._ready, (one.seq, call, one))
            else:
                self._unclaimed[one.step] = one
                if one.effect is not Effect.READ and one.outcome is not None and one.outcome.status != "refused":
                    self.unclaimed_effects[one.step] = one.name

    def hand_next(self) -> bool:
        """Hand the next outcome to an agent that still waits for it; False where there is none."""
        while (picked := self._pick()) is not None:
            if self._hand(*picked):
                return True
        return False

    def went_past(self, branch: str) -> bool:
        """Whether the journal holds anything of this branch that the agent has yet to call."""
        inside = branch + "/" if branch else ""
        if any(one.branch == branch or one.branch.startswith(inside) for one in self._unclaimed.values()):
            return True
        open_steps = (*self._history.timers, *self._history.intents, *self._history.held)
        return any(step not in self.calls for step in open_steps)

    def _find_lost_effects(self, reader: Reader) -> None:
        for step, intent in self._history.intents.items():
            if step not in self._history.finals and not intent.is_written_off:
                receipt = reader.find(intent.receipt)
                if receipt is not None and receipt.predicate["action"]["effect"] != Effect.READ:
                    self.unclaimed_effects[step] = receipt.predicate["action"]["name"]

    def _pick(self) -> tuple[Call, Recorded] | None:
        lowest = self._ready[0][0] if self._ready else None
        found: str | None = None
        for name, waiting in list(self._listening.items()) if self._listening else ():
            while waiting and waiting[0].future.done():
                waiting.popleft()  # timed out, or cancelled by the agent: the signal is for the next
            queue = self._signals.get(name)
            if not waiting:
                del self._listening[name]
            elif queue and (lowest is None or queue[0].seq < lowest):
                lowest, found = queue[0].seq, name
        if found is not None:
            signal = self._signals[found].popleft()
            self._history.taken.add(signal.seq)
            return self._listening[found].popleft(), signal
        if self._ready:
            _, call, recorded = heapq.heappop(self._ready)
            return call, recorded
        return None

    def _hand(self, call: Call, recorded: Recorded) -> bool:
        outcome = recorded.outcome
        if outcome is None:
            outcome = _outcome_of(call, recorded)
            self._bounds.progressed()
        else:
            _, kind, name, arguments = call.signature
            self._bounds.learn(kind, name, arguments, outcome)
            if self._pending_writes.get(call.signature) == call.step:
                del self._pending_writes[call.signature]
        if outcome.labels:
            self._exposed.update(dict.fromkeys(outcome.labels, recorded.seq))
            if self._history.dropped or not set(outcome.labels) <= set(self.labels):
                self._count_labels()
        if outcome.subjects and not set(outcome.subjects) <= set(self.subjects):
            self.subjects = tuple(sorted({*self.subjects, *outcome.subjects}))
        if call.future.done():
            return False
        self.at = recorded.at
        call.future.set_result(outcome)
        return True

    def _count_labels(self) -> None:
        dropped = self._history.dropped
        kept = (label for label, seq in self._exposed.items() if label not in dropped or seq > dropped[label])
        self.labels = tuple(sorted(kept))


def _outcome_of(call: Call, recorded: Recorded) -> Outcome:
    """The outcome that a timer, a signal or a marker stands for."""
    if recorded.kind == "signal":
        labels = (f"untrusted:signal.{recorded.name}",) if recorded.labels is None else recorded.labels
        said: dict[str, Any] = {"value": recorded.payload, "labels": labels, "subjects": recorded.subjects}
        return Outcome(status="ok", seq=recorded.seq, at=recorded.at, **said)
    _, kind, name, arguments = call.signature
    if kind == "timer" and name.startswith("signal:"):
        waited_us = int(arguments.removeprefix(b'{"us":').removesuffix(b"}"))
        return Outcome.of_error("failed", SignalTimedOut(name=name[7:], limit_s=f"{waited_us / 1e6:g}"))
    return Outcome(status="ok", value=b"true", seq=recorded.seq, at=recorded.at)
