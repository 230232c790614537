"""What Temporal keeps of a run: whether it is woken, and when it is due. It is told the run's id and nothing else.

Replayed by Temporal, so it may change only in ways that its old histories still fit (`workflow.patched`).
"""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

__all__ = ["ADVANCE", "WAKE", "Answer", "Order", "TemporalRun"]

ADVANCE = "answerable.advance"
WAKE = "wake"
_AS_LONG_AS_IT_TAKES = timedelta(days=3650)
_AFTER_A_LOST_WORKER = RetryPolicy(
    initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=5), maximum_attempts=0
)


@dataclass(frozen=True)
class Order:
    """What Temporal is told of a run.

    Args:
        heartbeat_s: after which silence its worker counts as dead.
        most_history: Temporal's events of it, after which its history begins anew.
    """

    run: str
    heartbeat_s: float
    most_history: int


@dataclass(frozen=True)
class Answer:
    """How a slice ended.

    Args:
        wait_s: until the run is to be looked at again, if it is not woken before; None for no such time.
    """

    is_over: bool = False
    wait_s: float | None = None


@workflow.defn(name="answerable.run")
class TemporalRun:
    """Has a run advanced, waits until it is woken or due, and begins again, until it is over."""

    def __init__(self) -> None:
        self._is_woken = False

    @workflow.signal(name=WAKE)
    def wake(self) -> None:
        """Something was recorded that the run may wait for."""
        self._is_woken = True

    @workflow.run
    async def run(self, order: Order) -> None:
        """See the run through."""
        while True:
            if workflow.info().get_current_history_length() > order.most_history:
                # A wake that has come by now is answered by the slice that the new history begins with. One that
                # comes while the old one ends makes Temporal refuse the end, and this is gone through again.
                workflow.continue_as_new(replace(order))
            self._is_woken = False
            answer = await workflow.execute_activity(
                ADVANCE,
                order.run,
                result_type=Answer,
                start_to_close_timeout=_AS_LONG_AS_IT_TAKES,
                heartbeat_timeout=timedelta(seconds=order.heartbeat_s),
                retry_policy=_AFTER_A_LOST_WORKER,
            )
            if answer.is_over and not self._is_woken:
                return
            if not answer.is_over:
                try:
                    await workflow.wait_condition(lambda: self._is_woken, timeout=answer.wait_s)
                except asyncio.TimeoutError:  # noqa: UP041 - the loop is Temporal's
                    pass
