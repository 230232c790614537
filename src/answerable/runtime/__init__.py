"""Durable runs: an agent's function is advanced until it waits, and replayed from its journal after a crash.

`Worker.advance` drives one slice of a run; an `Engine` decides when; `Runs` is the door from outside.
The store is the journal: see `docs/concepts/runs.md`.
"""

from answerable.runtime._agents import Agents, AgentSpec, OnChange
from answerable.runtime._control import Control, Order, OrdersProjection, find_order
from answerable.runtime._decisions import DecisionEffects
from answerable.runtime._delegation import DelegationEffects
from answerable.runtime._engine import StoreEngine
from answerable.runtime._erasing import Erased, Erasing, ErasureHeld, ErasureUnnamed
from answerable.runtime._errors import (
    AgentFailed,
    AgentUnknown,
    BuildChanged,
    CallInProgress,
    ControlRefused,
    DelegationRefused,
    DelegationTooDeep,
    Held,
    InputInvalid,
    MandateNotGranted,
    NotDelegated,
    QueueFull,
    QueueInvalid,
    RepeatedCall,
    ReplayDiverged,
    RollbackIncomplete,
    RunCancelled,
    RunKilled,
    RunPaused,
    RunUnknown,
    ScheduleInvalid,
    ScheduleUnknown,
    SessionUnknown,
    SharedValueMoved,
    SignalInvalid,
    SignalTimedOut,
    StepLimitExceeded,
    TemporalMissing,
    TenantInvalid,
    TenantRefused,
    TenantUnknown,
    TimedOut,
    TimeLimitExceeded,
)
from answerable.runtime._gate import Gate
from answerable.runtime._journal import Performing
from answerable.runtime._limits import Limits
from answerable.runtime._links import Link, LinksProjection, links_from
from answerable.runtime._ports import Advance, Advanced, Busy, Done, Engine, EngineOver, Parked, Retry
from answerable.runtime._queues import Queue, QueueRow, QueuesProjection, list_queues, runs_in_line
from answerable.runtime._rehearsal import Describe, Rehearsed, rehearse
from answerable.runtime._reliable import Reliable, RetryPolicy
from answerable.runtime._retention import Retained, Retaining, Retention, RetentionInvalid, RetentionProjection
from answerable.runtime._run import Run
from answerable.runtime._runs import RunRow, Runs, RunsProjection, find_run, list_runs
from answerable.runtime._schedules import Schedule, ScheduleRow, Schedules, SchedulesProjection, list_schedules
from answerable.runtime._session import Session
from answerable.runtime._sessions import Sessions, SessionsProjection
from answerable.runtime._shared import SharedEffects, SharedState, SharedValue, SharedValuesProjection
from answerable.runtime._temporal import Temporal
from answerable.runtime._tenants import DEFAULT_TENANT, Tenant
from answerable.runtime._timers import Timer, TimersProjection, list_timers
from answerable.runtime._turns import Turns
from answerable.runtime._worker import Worker

__all__ = [
    "DEFAULT_TENANT",
    "Advance",
    "Advanced",
    "AgentFailed",
    "AgentSpec",
    "AgentUnknown",
    "Agents",
    "BuildChanged",
    "Busy",
    "CallInProgress",
    "Control",
    "ControlRefused",
    "DecisionEffects",
    "DelegationEffects",
    "DelegationRefused",
    "DelegationTooDeep",
    "Describe",
    "Done",
    "Engine",
    "EngineOver",
    "Erased",
    "Erasing",
    "ErasureHeld",
    "ErasureUnnamed",
    "Gate",
    "Held",
    "InputInvalid",
    "Limits",
    "Link",
    "LinksProjection",
    "MandateNotGranted",
    "NotDelegated",
    "OnChange",
    "Order",
    "OrdersProjection",
    "Parked",
    "Performing",
    "Queue",
    "QueueFull",
    "QueueInvalid",
    "QueueRow",
    "QueuesProjection",
    "Rehearsed",
    "Reliable",
    "RepeatedCall",
    "ReplayDiverged",
    "Retained",
    "Retaining",
    "Retention",
    "RetentionInvalid",
    "RetentionProjection",
    "Retry",
    "RetryPolicy",
    "RollbackIncomplete",
    "Run",
    "RunCancelled",
    "RunKilled",
    "RunPaused",
    "RunRow",
    "RunUnknown",
    "Runs",
    "RunsProjection",
    "Schedule",
    "ScheduleInvalid",
    "ScheduleRow",
    "ScheduleUnknown",
    "Schedules",
    "SchedulesProjection",
    "Session",
    "SessionUnknown",
    "Sessions",
    "SessionsProjection",
    "SharedEffects",
    "SharedState",
    "SharedValue",
    "SharedValueMoved",
    "SharedValuesProjection",
    "SignalInvalid",
    "SignalTimedOut",
    "StepLimitExceeded",
    "StoreEngine",
    "Temporal",
    "TemporalMissing",
    "Tenant",
    "TenantInvalid",
    "TenantRefused",
    "TenantUnknown",
    "TimeLimitExceeded",
    "TimedOut",
    "Timer",
    "TimersProjection",
    "Turns",
    "Worker",
    "find_order",
    "find_run",
    "links_from",
    "list_queues",
    "list_runs",
    "list_schedules",
    "list_timers",
    "rehearse",
    "runs_in_line",
]
