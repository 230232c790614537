"""Which labels a run carried, and when, by its receipts."""

from collections.abc import Iterable, Mapping
from typing import Any

from answerable.ledger import Receipt

__all__ = ["Exposure"]


class Exposure:
    """The labels of one run, as far as its record was followed.

    The record says when an outcome was written, not when the agent had it: of calls made side by side, one may be
    made before another's outcome and recorded after it. So what a call was made under is the labels of *some* moment
    before its receipt. Signals label a run only once it takes them, and what a fork shares counts once it is called
    for again: such labels may be there or not.

    Args:
        shared: labels of what it shares with the run that it was forked from.
    """

    def __init__(self, control: Mapping[str, Any], shared: Iterable[str] = ()) -> None:
        self.maybe = set(shared)
        self._brought: dict[str, int] = dict.fromkeys(control.get("labels", ()), -1)
        self.moments = [frozenset(self._brought)]
        """What it carried for certain, whenever that changed; the last is now."""

    @property
    def ever(self) -> set[str]:
        """Every label that it carried at some time, or may have."""
        return self.maybe.union(*self.moments)

    def follow(self, receipt: Receipt) -> None:
        """Take in one receipt of the run."""
        said = receipt.predicate
        control = said.get("control", {})
        if receipt.phase == "outcome":
            self._brought.update(dict.fromkeys(said.get("labels", ()), said["seq"]))
        elif receipt.phase == "signal":
            self.maybe.update(control.get("labels", [f"untrusted:signal.{control['name']}"]))
        elif receipt.phase == "control" and control.get("do") == "declassify":
            for label in control["labels"]:
                self._brought.pop(label, None)
        if self._brought.keys() != self.moments[-1]:
            self.moments.append(frozenset(self._brought))

    def was(self, labels: Iterable[str]) -> bool:
        """Whether these can have been its labels at some moment so far."""
        said = frozenset(labels)
        return any(each <= said <= each | self.maybe for each in self.moments)
