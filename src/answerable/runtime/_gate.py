"""What all slices of a process share, and how one slice ends."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from answerable.action import Authorizer, Effects, Reporter
from answerable.core import Clock
from answerable.ledger import History, Ledger
from answerable.runtime._errors import RunKilled
from answerable.runtime._journal import Performing
from answerable.runtime._turns import Turns

Compensation = Callable[[str, dict[str, Any], Any], tuple[str, dict[str, Any]] | None]

__all__ = ["Compensation", "Ending", "Gate", "killed", "ordered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What every slice of this process shares: the rooms around the road, the clock, the linger.

    Args:
        governing: ids of the clauses that govern an agent's action, from their names.
        linger: how long a quiet run stays in memory before it parks.
        compensation: the tool that undoes a call and what to call it with, from its name, arguments and result.
        driven: runs that somebody outside drives, call by call: no engine advances them.
        turns: says whose turn it is, where queues limit how many runs are advanced.
        held_to: decides by policies on the record, by their name there, for a fork that has its own.
        unwind: how long the agent's tasks may take to end once they are cancelled.
        sleep: waits that many seconds; tests put their own in.
    """

    ledger: Ledger
    authorizer: Authorizer
    effects: Effects
    reporter: Reporter
    performing: Performing
    governing: Callable[[str, str], tuple[str, ...]] | None = None
    compensation: Compensation = lambda name, arguments, result: None
    linger: timedelta = timedelta(milliseconds=50)
    driven: set[str] = field(default_factory=set)
    turns: Turns | None = None
    held_to: Callable[[str], Authorizer] | None = None
    unwind: timedelta = timedelta(seconds=5)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    @property
    def clock(self) -> Clock:
        """The record's clock."""
        return self.ledger.clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a slice ended: the run waits, is finished, goes on as another, was killed by a person, or the slice is lost.

    Args:
        agent: who takes over from it, where it goes on as another agent's run.
        result: what the agent returned, or the input of the run it goes on as.
    """

    kind: Literal["quiet", "finished", "continued", "killed", "lost"]
    until: datetime | None = None
    result: Any = None
    error: BaseException | None = None
    agent: str = ""


def ordered(history: History) -> Ending:
    """How a slice ends whose run was paused or killed: what was dispatched is finished, and nothing else begins."""
    return Ending(kind="killed", error=killed(history)) if history.order == "kill" else Ending(kind="quiet")


def killed(history: History) -> RunKilled:
    """What a run ends with that a person killed."""
    return RunKilled(run=history.run, reason=history.reason)
