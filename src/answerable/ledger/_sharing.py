"""What a fork shares with the run it was forked from: the receipts before the fork, by digest.

A fork begins where another run once was. Nothing is copied: its history starts with what the record
holds of the other run, pinned by two envelope digests, and goes on with receipts of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from answerable.core import EvidenceError, RunId, StepKey
from answerable.ledger._history import History, Recorded
from answerable.ledger._receipt import Receipt

__all__ = ["SharedReceiptsChanged", "begun_at", "share"]

_BEGINS = frozenset({"intent", "held", "denied", "outcome"})


@dataclass(eq=False, kw_only=True)
class SharedReceiptsChanged(EvidenceError):
    """What a fork shares with another run is not what it was when it was forked."""

    code = "evidence.shared_receipts_changed"
    what = "run `{run}` shares receipts of `{shared}` that are not there as they were"
    why = "a fork goes on from receipts named by digest; with others it would be another run"
    fix = "restore the data directory from a backup"

    run: str
    shared: str


class _Record(Protocol):
    def receipts(self, *, run: RunId) -> list[Receipt]:
        """All receipts of a run."""

    def history(self, run: RunId) -> History:
        """What the record holds of a run."""


def begun_at(receipts: Sequence[Receipt]) -> dict[StepKey, int]:
    """The `seq` at which each step of a run began."""
    begun: dict[StepKey, int] = {}
    for receipt in receipts:
        said = receipt.predicate
        if said["phase"] in _BEGINS:
            begun.setdefault(StepKey(said["step"]), said["seq"])
    return begun


def share(reader: _Record, history: History, origin: dict[str, Any]) -> None:
    """Put what a fork shares before what is its own.

    Shared is what had begun before `origin.seq`, with what had become of it by `origin.upto`; its own
    numbers follow, so shared ones are shifted below zero and keep their order.

    Raises:
        SharedReceiptsChanged: the other run's receipts are not those that were forked from.
    """
    shared, seq, upto = RunId(origin["run"]), origin["seq"], origin["upto"]
    receipts = reader.receipts(run=shared)
    if len(receipts) <= upto or receipts[seq - 1].digest != origin["last"] or receipts[upto].digest != origin["head"]:
        raise SharedReceiptsChanged(run=history.run, shared=shared)
    other = reader.history(shared)
    begun = begun_at(receipts)
    kept = [one for one in other.recorded if _is_shared(one, begun, seq, upto)]
    own = history.recorded
    history.recorded = [replace(one, seq=one.seq - upto - 1) for one in kept] + own
    history.began = other.began
    history.shared = frozenset(one.step for one in kept if one.kind == "final")
    for step in history.shared:
        history.finals[step] = other.finals[step]
    for receipt in receipts[:seq]:
        said = receipt.predicate
        if said["phase"] == "timer" and said["control"]["state"] == "set":
            history.timers.setdefault(StepKey(said["step"]), said["control"]["due"])


def _is_shared(one: Recorded, begun: dict[StepKey, int], seq: int, upto: int) -> bool:
    if one.kind == "final":
        return begun.get(one.step, one.seq) < seq and one.seq <= upto
    return one.seq < seq
