"""Who watches: every action performed is told to the log and to subscribers, after it is recorded."""

import logging
from collections.abc import Callable

from answerable.action import Step
from answerable.core import Outcome

__all__ = ["Reports"]

_log = logging.getLogger("answerable")


class Reports:
    """The road's reporter: tells, and never fails the action."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[Step, Outcome], None]] = []

    def subscribe(self, subscriber: Callable[[Step, Outcome], None]) -> None:
        """Call `subscriber(step, outcome)` for every action performed by this process."""
        self._subscribers.append(subscriber)

    def report(self, step: Step, outcome: Outcome) -> None:
        """One action was performed here; its outcome is on the record."""
        if _log.isEnabledFor(logging.INFO):
            _log.info(
                "%s %s: %s",
                step.action.kind,
                step.action.name,
                outcome.status,
                extra={"run": step.action.run, "receipt": outcome.receipt, "attempt": step.attempt},
            )
        for subscriber in self._subscribers:
            try:
                subscriber(step, outcome)
            except Exception:  # noqa: BLE001 - a watcher's bug must not touch the action: it goes to the log
                _log.exception("a subscriber failed on receipt %s", outcome.receipt)
