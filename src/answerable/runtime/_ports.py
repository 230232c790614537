"""What the runtime asks of an engine: that runs are advanced, at least once, when there is something to do."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from answerable.core import Clock, RunId
from answerable.ledger import Leases

__all__ = ["Advance", "Advanced", "Busy", "Done", "Engine", "EngineOver", "Parked", "Retry"]


@dataclass(frozen=True, slots=True)
class Done:
    """The run is over (or there is no such run)."""


@dataclass(frozen=True, slots=True)
class Parked:
    """The run waits: until it is woken, or until this time."""

    until: datetime | None


@dataclass(frozen=True, slots=True)
class Busy:
    """Another slice advances it."""

    retry_at: datetime


@dataclass(frozen=True, slots=True)
class Retry:
    """It could not be advanced now."""

    at: datetime


Advanced = Done | Parked | Busy | Retry
Advance = Callable[[RunId], Awaitable[Advanced]]


class Engine(Protocol):
    """Has runs advanced. Liveness only: it knows nothing of steps, and doing too much does no harm."""

    def notify(self, run: RunId, *, not_before: datetime | None = None) -> None:
        """There may be something to do for this run."""

    async def serve(self, advance: Advance, *, slots: int) -> None:
        """Have runs advanced, at most `slots` at a time, until cancelled."""

    async def retire(self, run: RunId) -> None:
        """The run is over: forget it."""


EngineOver = Callable[[Leases, Clock], Engine]
"""Makes the engine of a gate over its store's leases: `StoreEngine` itself, or `Temporal(...)`."""
