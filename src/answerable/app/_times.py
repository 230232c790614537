"""How long a gate is patient."""

from dataclasses import dataclass
from datetime import timedelta

__all__ = ["Times"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """The times of a gate, towards agents elsewhere and towards other gates.

    Args:
        patience: how long a call that waits for a person keeps its caller waiting.
        idle: after which a session that nobody used is closed.
        retry_window: how long an answer that nobody confirmed to have read is given to the same call again.
        drain: how long calls and streams under way may go on once the gate is told to stop.
        lease: how long the other gates of a shared store wait for this one, once it is silent, to take its runs.
    """

    patience: timedelta = timedelta(seconds=20)
    idle: timedelta = timedelta(minutes=30)
    retry_window: timedelta = timedelta(minutes=10)
    drain: timedelta = timedelta(seconds=10)
    lease: timedelta = timedelta(seconds=10)
