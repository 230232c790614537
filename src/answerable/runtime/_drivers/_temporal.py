"""The engine that is a Temporal server: for runs that many workers share.

The store stays the only truth. Whatever Temporal forgets, repeats or is late with, the sweep finds in
the store and tells it again; whatever it asks for twice, the lease answers `Busy`.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from temporalio import activity
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.enums.v1 import WorkflowIdReusePolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest
from temporalio.client import Client, TLSConfig
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from answerable.core import Clock, RunId
from answerable.ledger import Leases
from answerable.runtime._drivers._temporal_run import ADVANCE, WAKE, Answer, Order, TemporalRun
from answerable.runtime._ports import Advance, Advanced, Busy, Done, Parked
from answerable.runtime._temporal_place import TemporalPlace

__all__ = ["TemporalEngine"]

log = logging.getLogger("answerable.runtime")

_SWEEP = timedelta(seconds=5)
_BATCH = 256
_SENDERS = 16
_MOST_HISTORY = 2_000  # events; Temporal gives up at 51,200, and a worker that is new to a run replays all of them
_CACHED = 200  # histories that are kept in memory: what waits longest is replayed from Temporal when it is woken
# How long Temporal waits for a worker that may be dead: to begin with a wake of a run that it knows, and to answer it.
_STICKY = timedelta(seconds=1)
_TURN = timedelta(seconds=3)
_RPC = timedelta(seconds=10)
_ON_ERROR_S = 5.0
_AT_ONCE_S = 0.01
_GOODBYE_S = 3.0
_BUSY_S = 1.0
_ELSEWHERE_S = 2.0
_SHORT_S = 2.0  # MEASURED: a timer of half a second comes half a second late, one of Temporal's ticks
_LONGEST_PATIENCE_S = 60.0


@dataclass(slots=True)
class _Told:
    """That Temporal was told of a run that nobody advances: not to be said again in every sweep."""

    times: int
    not_before_s: float


class TemporalEngine:
    """Has Temporal advance runs: on a wake, on a timer, and when a worker died.

    Args:
        sweep: how long a lost notification may go unnoticed: found twice in a row, a run is told of again.
        most_history: events after which Temporal's history of a run begins anew.
    """

    def __init__(
        self,
        leases: Leases,
        clock: Clock,
        place: TemporalPlace,
        *,
        sweep: timedelta = _SWEEP,
        most_history: int = _MOST_HISTORY,
    ) -> None:
        self._leases = leases
        self._clock = clock
        self._place = place
        self._sweep_s = sweep.total_seconds()
        self._most_history = most_history
        self._outbox: asyncio.Queue[RunId] = asyncio.Queue()
        self._in_outbox: set[RunId] = set()
        self._later: dict[RunId, datetime] = {}
        self._active: dict[RunId, asyncio.Task[Advanced]] = {}
        self._again: set[RunId] = set()
        self._short: dict[RunId, asyncio.Event] = {}
        self._told_of: dict[RunId, _Told] = {}
        self._missed: set[RunId] = set()
        self._trouble = ""
        leases.listen(self._told)

    def notify(self, run: RunId, *, not_before: datetime | None = None) -> None:
        """There may be something to do for this run."""
        if not_before is not None and not_before > self._clock.now():
            self._later[run] = not_before
        elif run not in self._in_outbox:
            self._in_outbox.add(run)
            self._outbox.put_nowait(run)

    async def serve(self, advance: Advance, *, slots: int = 100) -> None:
        """Advance what Temporal asks for, at most `slots` at a time, until cancelled.

        Effects under way are then finished first. While Temporal cannot be reached, runs wait.
        """
        while True:
            try:
                await self._serve(await self._connected(), advance, slots)
            except Exception as error:  # noqa: BLE001 - whatever it is, the store has everything: begin anew
                self._complain(f"the engine cannot use Temporal at {self._place.address}: {_said(error)}")
            await asyncio.sleep(min(_ON_ERROR_S, self._sweep_s))

    async def retire(self, run: RunId) -> None:
        """The run is over: forget it."""
        self._later.pop(run, None)
        self._told_of.pop(run, None)

    # -- what Temporal asks for ---------------------------------------------------------------------------------------

    async def _serve(self, client: Client, advance: Advance, slots: int) -> None:
        @activity.defn(name=ADVANCE)
        async def slice_of(run: str) -> Answer:
            return await self._advance(RunId(run), advance)

        worker = Worker(
            client,
            task_queue=self._place.queue,
            workflows=[TemporalRun],
            activities=[slice_of],
            max_concurrent_activities=slots,
            max_cached_workflows=_CACHED,
            sticky_queue_schedule_to_start_timeout=_STICKY,
            workflow_runner=UnsandboxedWorkflowRunner(),  # its only code is ours, and imports nothing at run time
        )
        asked, telling = asyncio.create_task(worker.run()), asyncio.create_task(self._tell(client))
        try:
            done, _ = await asyncio.wait([asked, telling], return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        finally:
            telling.cancel()
            await self._end_slices()  # at once, before the worker has said goodbye to Temporal
            goodbye = asyncio.create_task(worker.shutdown())
            await asyncio.wait([asked], timeout=_GOODBYE_S)
            for task in (goodbye, asked, telling):
                task.cancel()  # a Temporal that does not answer must not hold the gate
            await self._end_slices()

    async def _end_slices(self) -> None:
        """Give back what is being advanced; effects under way are finished first."""
        while tasks := list(self._active.values()):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await asyncio.sleep(0)  # for whoever awaited them to take note

    async def _advance(self, run: RunId, advance: Advance) -> Answer:
        self._told_of.pop(run, None)
        self._again.discard(run)
        task = asyncio.create_task(self._slices(run, advance))
        self._active.setdefault(run, task)
        beating = asyncio.create_task(_beat(self._place.heartbeat))
        try:
            answer = await task
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is None or me.cancelling():
                raise  # by Temporal, which gave the run to another worker or wants it no more
            return Answer(wait_s=_AT_ONCE_S)
        except Exception:
            log.exception("run %s could not be advanced", run)
            return Answer(wait_s=_ON_ERROR_S)
        finally:
            beating.cancel()
            self._short.pop(run, None)
            if self._active.get(run) is task:
                del self._active[run]
        was_woken = run in self._again
        self._again.discard(run)
        if isinstance(answer, Done):
            return Answer(is_over=True)
        if isinstance(answer, Parked):
            if (was_woken or answer.until is None) and self._is_unserved(run):
                # Woken too late for the slice; or this worker has not the code for it, and another may.
                return Answer(wait_s=_AT_ONCE_S if was_woken else _ELSEWHERE_S)
            return self._after(answer.until)
        if isinstance(answer, Busy):
            return Answer(wait_s=max(_BUSY_S, self._after(answer.retry_at).wait_s or 0))
        return self._after(answer.at)

    async def _slices(self, run: RunId, advance: Advance) -> Advanced:
        """Advance the run until it is over, or waits for longer than is worth a word to Temporal."""
        standing = self._leases.standing(run)
        if standing is not None and standing.is_parked and not standing.is_unserved:
            return Parked(standing.until)  # woken for what an earlier slice has seen: it would only replay
        while True:
            answer = await advance(run)
            if not isinstance(answer, Parked) or answer.until is None:
                return answer
            wait_s = (answer.until - self._clock.now()).total_seconds()
            if wait_s > _SHORT_S:
                return answer
            self._short[run] = news = asyncio.Event()
            if not self._is_unserved(run):  # else it was woken before anybody could listen
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), wait_s)
            del self._short[run]

    def _is_unserved(self, run: RunId) -> bool:
        standing = self._leases.standing(run)
        return standing is not None and standing.is_unserved

    def _after(self, moment: datetime | None) -> Answer:
        # As a length of time, because Temporal's clock is not the gate's.
        if moment is None:
            return Answer()
        return Answer(wait_s=max(0.001, (moment - self._clock.now()).total_seconds()))

    # -- what Temporal is told ----------------------------------------------------------------------------------------

    async def _connected(self) -> Client:
        place = self._place
        tls: bool | TLSConfig = place.tls
        if place.ca_file or place.certificate_file or place.key_file:
            tls = TLSConfig(
                server_root_ca_cert=place.ca_file.read_bytes() if place.ca_file else None,
                client_cert=place.certificate_file.read_bytes() if place.certificate_file else None,
                client_private_key=place.key_file.read_bytes() if place.key_file else None,
            )
        return await Client.connect(
            place.address,
            namespace=place.namespace,
            api_key=place.api_key or None,
            tls=tls,
            identity=f"{os.getpid()}@{socket.gethostname()}",
        )

    async def _tell(self, client: Client) -> None:
        """Tell Temporal of every run that may have something to do, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_SENDERS):
                tasks.create_task(self._send_all(client))
            is_first = True
            while True:
                try:
                    is_first = self._sweep(everything=is_first)
                except Exception as error:  # noqa: BLE001 - the store is away for a moment: slices go on, the next sweep too
                    self._complain(f"the engine cannot read the store: {_said(error)}")
                await asyncio.sleep(0.05 if is_first else self._pause_s())

    async def _send_all(self, client: Client) -> None:
        while True:
            run = await self._outbox.get()
            self._in_outbox.discard(run)
            try:
                await self._send(client, run)
            except Exception as error:  # noqa: BLE001 - nothing is lost, only late: the sweep finds the run
                self._complain(f"Temporal at {self._place.address} is not told of runs: {_said(error)}")
            else:
                self._trouble = ""

    async def _send(self, client: Client, run: RunId) -> None:
        standing = self._leases.standing(run)
        if standing is None or not standing.is_unserved:
            return
        told = self._told_of.setdefault(run, _Told(0, 0.0))
        told.times += 1
        told.not_before_s = time.monotonic() + min(self._sweep_s * 2**told.times, _LONGEST_PATIENCE_S)
        order = Order(run=run, heartbeat_s=self._place.heartbeat.total_seconds(), most_history=self._most_history)
        request = SignalWithStartWorkflowExecutionRequest(
            namespace=self._place.namespace,
            workflow_id=f"{self._place.queue}/{run}",
            workflow_type=WorkflowType(name="answerable.run"),
            task_queue=TaskQueue(name=self._place.queue),
            input=await client.data_converter.encode_wrapper([order]),
            identity=client.identity,
            # Several workers hear of the same wake: Temporal takes it once.
            request_id=f"{run}.{standing.fence}.{standing.wake}.{told.times}",
            workflow_id_reuse_policy=WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
            signal_name=WAKE,
        )
        request.workflow_task_timeout.FromTimedelta(_TURN)
        try:
            await client.workflow_service.signal_with_start_workflow_execution(request, timeout=_RPC)
        except RPCError:
            told.not_before_s = 0.0  # the next sweep tells it again
            raise

    def _complain(self, trouble: str) -> None:
        """Say what is wrong, once, until something works again."""
        if trouble != self._trouble:
            log.warning("%s; until then runs wait", trouble)
            self._trouble = trouble

    def _told(self, runs: Sequence[str]) -> None:
        for run in map(RunId, runs):
            if run in self._short:
                self._short[run].set()
            elif run in self._active:  # the slice's own news: `park` looks for it; only one that comes later is ours
                self._again.add(run)
            else:
                self._told_of.pop(run, None)
                self.notify(run)

    def _sweep(self, *, everything: bool) -> bool:
        """Tell of runs that nobody came for; whether there may be more of them than one sweep looks at.

        Args:
            everything: also of those that an earlier sweep did not see, as after a crash.
        """
        now, now_s = self._clock.now(), time.monotonic()
        for run in [run for run, at in self._later.items() if at <= now]:
            del self._later[run]
            self.notify(run)
        # So many more as are known already: else those would hide the others.
        found = self._leases.unserved(_BATCH + len(self._told_of))
        fresh = [run for run in found if run not in self._told_of and run not in self._active]
        for run in found:
            told = self._told_of.get(run)
            is_fresh = told is None and (everything or run in self._missed)
            if run not in self._active and (is_fresh or (told is not None and told.not_before_s <= now_s)):
                self.notify(run)
        self._missed = set(found)
        self._told_of = {run: told for run, told in self._told_of.items() if run in self._missed}
        return everything and len(fresh) >= _BATCH

    def _pause_s(self) -> float:
        """Until the next sweep, or the next thing that is due."""
        if not self._later:
            return self._sweep_s
        return max(0.001, min(self._sweep_s, (min(self._later.values()) - self._clock.now()).total_seconds()))


async def _beat(heartbeat: timedelta) -> None:
    """Tell Temporal, while a slice lasts, that its worker lives; a short slice says nothing."""
    while True:
        await asyncio.sleep(heartbeat.total_seconds() / 3)
        activity.heartbeat()


def _said(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}".splitlines()[0]
