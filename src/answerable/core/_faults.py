"""Named points along the road where a test may end the process, as a crash would.

Nothing happens at a point unless a test armed it in this very process.
"""

import os
import signal
from enum import StrEnum

__all__ = ["FaultPoint", "arm", "reach"]


class FaultPoint(StrEnum):
    """Where a crash is interesting: before and after everything that becomes durable or visible."""

    RUN_OPENED = "run-opened"
    BEFORE_INTENT = "before-intent"
    AFTER_INTENT = "after-intent"
    EFFECT_DISPATCHED = "effect-dispatched"
    AFTER_EFFECT = "after-effect"
    BEFORE_COMMIT = "before-commit"
    AFTER_COMMIT = "after-commit"
    HANDED_BACK = "handed-back"
    AFTER_OUTCOME = "after-outcome"
    AFTER_HELD = "after-held"
    AFTER_DENIED = "after-denied"
    BEFORE_PARK = "before-park"
    AFTER_PARK = "after-park"
    AFTER_TIMER = "after-timer"
    AFTER_APPROVAL = "after-approval"
    BEFORE_RUN_CLOSE = "before-run-close"
    AFTER_RUN_CLOSE = "after-run-close"


_armed: dict[str, int] = {}


def arm(point: FaultPoint, passes: int = 0) -> None:
    """End this process by SIGKILL when it reaches `point` for the `passes + 1`-th time."""
    _armed[point] = passes


def reach(point: FaultPoint) -> None:
    """Mark that the road got here."""
    if _armed and point in _armed:
        if _armed[point] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        _armed[point] -= 1
