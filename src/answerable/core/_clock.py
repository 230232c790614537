"""Time: aware UTC, from a clock that tests can hold still."""

import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock", "format_time", "parse_time"]


class Clock(Protocol):
    """Where the gate reads the time."""

    def now(self) -> datetime:
        """Aware UTC wall time."""

    def monotonic_s(self) -> float:
        """Seconds that never run backwards and go on while the machine is suspended."""


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        # CLOCK_BOOTTIME counts suspended time: a worker that slept past its lease must notice.
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds: `2026-11-21T03:40:00.000000Z`; sorts as text."""
    if moment.utcoffset() is None:
        raise ValueError("a time without a zone cannot go on the record")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def parse_time(text: str) -> datetime:
    """The moment that `format_time` wrote."""
    return datetime.fromisoformat(text)
