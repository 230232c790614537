"""What can go wrong with a run, and the control flow that ends one.

`RunCancelled` is not an error: it derives from `BaseException`, so that `except Exception` in an
agent lets it pass.
"""

from dataclasses import dataclass

from answerable.core import ConfigError, Permanent, Refused, RunId

__all__ = [
    "AgentFailed",
    "AgentUnknown",
    "BuildChanged",
    "CallInProgress",
    "ControlRefused",
    "DelegationRefused",
    "DelegationTooDeep",
    "Held",
    "InputInvalid",
    "MandateNotGranted",
    "NotDelegated",
    "QueueFull",
    "QueueInvalid",
    "RepeatedCall",
    "ReplayDiverged",
    "RollbackIncomplete",
    "RunCancelled",
    "RunKilled",
    "RunPaused",
    "RunUnknown",
    "ScheduleInvalid",
    "ScheduleUnknown",
    "SessionUnknown",
    "SharedValueMoved",
    "SignalInvalid",
    "SignalTimedOut",
    "StepLimitExceeded",
    "TemporalMissing",
    "TenantInvalid",
    "TenantRefused",
    "TenantUnknown",
    "TimeLimitExceeded",
    "TimedOut",
]


class RunCancelled(BaseException):
    """The slice that drove this run is over: it parked, ended, or its worker is shutting down.

    Calls on its `Run` do nothing any more. Let it pass.
    """


@dataclass(eq=False, kw_only=True)
class ReplayDiverged(Permanent):
    """The agent's code no longer does what the journal says it did."""

    code = "execution.replay_diverged"
    what = "the journal holds `{journalled}`, which the agent did not call again; instead came {instead}"
    why = "an effect that was done cannot be left out of its run in silence"
    fix = "restore the old code path for this run, or mark the change with `run.version`"

    journalled: str
    instead: str


@dataclass(eq=False, kw_only=True)
class BuildChanged(Refused):
    """The agent's code is another than the one that began the run, and it may not go on with it."""

    code = "refused.build_changed"
    what = "the run was begun by build `{was}` of `{agent}`, and the code here is `{now}`"
    why = 'its agent is declared with `on_change="fail"`: no run goes on with other code than it began with'
    fix = "fork it (`answerable runs fork RUN`): the fork belongs to the code of today"

    agent: str
    was: str
    now: str


@dataclass(eq=False, kw_only=True)
class TenantInvalid(ConfigError):
    """A tenant that cannot be."""

    code = "config.tenant_invalid"
    what = "tenant `{tenant}` cannot be used: {problem}"
    why = "a tenant's name stands in the origin of its log, and in every receipt"
    fix = "declare it as `docs/guides/tenants.md` shows"

    tenant: str
    problem: str


@dataclass(eq=False, kw_only=True)
class TenantUnknown(Refused):
    """Nobody declared this tenant here."""

    code = "refused.tenant_unknown"
    what = "there is no tenant `{tenant}` here"
    why = "what a tenant may do is declared, and nothing is declared of this one"
    fix = "declare it with `app.tenant(...)` or `[tenants.{tenant}]`, or name another"

    tenant: str


@dataclass(eq=False, kw_only=True)
class TenantRefused(Refused):
    """It would concern others than the tenant that asks."""

    code = "refused.tenant_refused"
    what = "`{do}` refused: it concerns every tenant, and `{tenant}` asks"
    why = "no tenant changes what others may do"
    fix = "ask whoever runs the gate; theirs is the tenant `default`"

    do: str
    tenant: str


@dataclass(eq=False, kw_only=True)
class QueueFull(Refused):
    """There is more to do than the queue holds; nothing was begun."""

    code = "refused.queue_full"
    what = "`{agent}` takes nothing more just now: {problem}"
    why = "a queue without a bound turns a burst into an outage"
    fix = "try again in {retry_after_s} s, or raise the queue's limits; `answerable queues list` shows them"

    agent: str
    problem: str
    retry_after_s: int


@dataclass(eq=False, kw_only=True)
class QueueInvalid(ConfigError):
    """A queue that cannot be followed."""

    code = "config.queue_invalid"
    what = "queue `{scope}` cannot be used: {problem}"
    why = "limits that nobody could keep are worse than none"
    fix = "declare it as `docs/guides/queues.md` shows"

    scope: str
    problem: str


@dataclass(eq=False, kw_only=True)
class CallInProgress(Refused):
    """The same write is still under way in the same branch."""

    code = "refused.call_in_progress"
    what = "call refused: the same call of `{name}` is still under way in this branch"
    why = "two identical writes side by side cannot be told apart when the run is replayed"
    fix = "await the first one, or give each its own `run.branch(name)`"

    name: str


@dataclass(eq=False, kw_only=True)
class StepLimitExceeded(Refused):
    """The run has used up its steps."""

    code = "refused.step_limit"
    what = "call of `{name}` refused: the run has taken {limit} steps, its limit"
    why = "the agent's declaration bounds each run"
    fix = "finish in fewer steps, or raise `steps` in the agent's limits"

    name: str
    limit: int


@dataclass(eq=False, kw_only=True)
class TimeLimitExceeded(Refused):
    """The run has used up its time."""

    code = "refused.time_limit"
    what = "call of `{name}` refused: the run is older than {limit_s} s, its limit"
    why = "the agent's declaration bounds each run"
    fix = "finish sooner, or raise `wall` in the agent's limits"

    name: str
    limit_s: int


@dataclass(eq=False, kw_only=True)
class RepeatedCall(Refused):
    """The agent keeps making the same call and keeps getting the same answer."""

    code = "refused.repeated_call"
    what = "call of `{name}` refused: the same call gave the same result {times} times"
    why = "an agent that repeats itself makes no progress and costs money"
    fix = "use the answer already given, or raise `identical_calls` in the agent's limits"

    name: str
    times: int


@dataclass(eq=False, kw_only=True)
class TimedOut(Permanent):
    """Nothing came back within the declared time, and the call had no effect to lose."""

    code = "execution.timed_out"
    what = "`{name}` did not answer within {limit_s} s"
    fix = "raise the time-out in its declaration"

    name: str
    limit_s: str


@dataclass(eq=False, kw_only=True)
class Held(Refused):
    """A session's call waits for a person, and its caller has waited long enough."""

    code = "refused.held"
    what = "`{name}` was not done yet: approval `{approval}` is open"
    why = "policy lets it through only when a person agrees, and nothing runs before"
    fix = "have it decided (`answerable approvals show {approval}`), then make the same call again"

    name: str
    approval: str


@dataclass(eq=False, kw_only=True)
class RunKilled(Refused):
    """A person killed the run."""

    code = "refused.run_killed"
    what = "run `{run}` was killed: {reason}"
    why = "nothing more begins in a killed run; what was dispatched before is on the record"
    fix = "have it done anew (`answerable runs retry {run}`), or undone (`answerable runs rollback {run}`)"

    run: str
    reason: str


@dataclass(eq=False, kw_only=True)
class RunPaused(Refused):
    """A session's call waits for its run to be resumed, and its caller has waited long enough."""

    code = "refused.run_paused"
    what = "`{name}` was not done yet: run `{run}` is paused"
    why = "nothing begins in a paused run"
    fix = "have it resumed (`answerable runs resume {run}`), then make the same call again"

    name: str
    run: str


@dataclass(eq=False, kw_only=True)
class ControlRefused(Refused):
    """What was ordered of a run does not fit how it stands."""

    code = "refused.control"
    what = "`{do}` of run `{run}` refused: {problem}"
    fix = "look at the run with `answerable runs show {run}`"

    run: str
    do: str
    problem: str


@dataclass(eq=False, kw_only=True)
class RollbackIncomplete(Permanent):
    """Something that a run did could not be undone."""

    code = "execution.rollback_incomplete"
    what = "run `{run}` is undone in part: {undone} effects undone, {left} left, the next of them `{at}`: {problem}"
    why = "effects are undone in reverse order, and none is left out in silence"
    fix = "remove the cause and roll back again (what is undone stays so), or leave it out with `--partial`"

    run: str
    undone: int
    left: int
    at: str
    problem: str


@dataclass(eq=False, kw_only=True)
class SessionUnknown(Refused):
    """The agent has no open session of this id."""

    code = "refused.session_unknown"
    what = "agent `{agent}` has no open session `{session}`"
    why = "a session is closed when it idles, and belongs to the agent that opened it"
    fix = "leave the id out to have a session opened, or give a name of your own"

    agent: str
    session: str


@dataclass(eq=False, kw_only=True)
class MandateNotGranted(Refused):
    """An agent elsewhere names a mandate that nobody gave it."""

    code = "refused.mandate_not_granted"
    what = "session refused: agent `{agent}` may not act under mandate `{mandate}`"
    why = "a mandate is given by whoever runs the gate; that the agent says so is not enough"
    fix = "name the agent in `agents` of the budget `mandate:{mandate}`, or leave the mandate out"

    agent: str
    mandate: str


@dataclass(eq=False, kw_only=True)
class ScheduleInvalid(ConfigError):
    """A schedule says nothing that the gate could follow."""

    code = "config.schedule_invalid"
    what = "schedule `{name}` cannot be followed: {problem}"
    fix = "give `every` (a time of a second or more) or `cron` (five fields) with a `timezone` like `Europe/Berlin`"

    name: str
    problem: str


@dataclass(eq=False, kw_only=True)
class ScheduleUnknown(Refused):
    """There is no schedule of this name."""

    code = "refused.schedule_unknown"
    what = "there is no schedule `{name}` on the record"
    why = "a schedule is there from when a gate of its application first started"
    fix = "list them with `answerable schedules list`"

    name: str


@dataclass(eq=False, kw_only=True)
class SharedValueMoved(Permanent):
    """Another run wrote the value meanwhile."""

    code = "execution.shared_value_moved"
    what = "`{key}` was not written: version {expected} was expected, and it is at {found}"
    why = "what another run wrote meanwhile would be lost"
    fix = "read it again, and write what follows from that"

    key: str
    expected: int
    found: int


@dataclass(eq=False, kw_only=True)
class SignalInvalid(Refused):
    """A signal has a name that is not free, or carries something else than is awaited."""

    code = "refused.signal_invalid"
    what = "signal `{name}` is of no use: {problem}"
    fix = "send what the agent's code declares where it awaits the signal"

    name: str
    problem: str


@dataclass(eq=False, kw_only=True)
class NotDelegated(Refused):
    """The run was given other things to do: by who started it, or by who delegated it."""

    code = "refused.not_delegated"
    what = "`{name}` refused: what this run was given to use is {allowed}"
    why = "a run may do no more than whoever started or delegated it allowed"
    fix = "start or delegate it with more in `allow`, if that is meant"

    name: str
    allowed: str


@dataclass(eq=False, kw_only=True)
class DelegationTooDeep(Refused):
    """The run may not delegate further."""

    code = "refused.delegation_depth"
    what = "delegation to `{agent}` refused: the run is as deep as its limits allow"
    why = "a bound on depth ends agents that delegate to each other for ever"
    fix = "do it in this run, or raise `depth` in the limits of the agent that started"

    agent: str


@dataclass(eq=False, kw_only=True)
class DelegationRefused(Refused):
    """Nothing can be delegated to this agent from here."""

    code = "refused.delegation"
    what = "delegation to `{agent}` refused: {problem}"
    fix = "delegate to an agent of this application and environment"

    agent: str
    problem: str


@dataclass(eq=False, kw_only=True)
class SignalTimedOut(Permanent):
    """The signal did not arrive in time."""

    code = "execution.signal_timed_out"
    what = "no signal `{name}` arrived within {limit_s} s"

    name: str
    limit_s: str


@dataclass(eq=False, kw_only=True)
class AgentFailed(Permanent):
    """The agent's own code raised."""

    code = "execution.agent_failed"
    what = "the agent's code raised `{kind}` at {where}"
    why = "its message is not put on the record, because it may hold personal data"
    fix = "read the gate's log for the traceback"

    kind: str
    where: str


@dataclass(eq=False, kw_only=True)
class InputInvalid(Refused):
    """The input does not fit the type that the agent's function declares."""

    code = "refused.input_invalid"
    what = "input for agent `{agent}` refused: {problem}"
    fix = "give what the agent's second parameter declares"

    agent: str
    problem: str


@dataclass(eq=False, kw_only=True)
class TemporalMissing(ConfigError):
    """The extra `temporal` is not installed."""

    code = "config.temporal_missing"
    what = "the engine `temporal` needs the package `temporalio`, which is not installed"
    why = "it is an extra: most gates need no engine but their own store"
    fix = "run `pip install 'answerable[temporal]'`"


@dataclass(eq=False, kw_only=True)
class AgentUnknown(ConfigError):
    """No agent of this name is registered here."""

    code = "config.agent_unknown"
    what = "no agent `{agent}` is registered; there are: {known}"
    fix = "register it with `@app.agent`"

    agent: str
    known: str


@dataclass(eq=False, kw_only=True)
class RunUnknown(Refused):
    """There is no such run, or it has ended."""

    code = "refused.run_unknown"
    what = "{problem}: `{run}`"
    fix = "list the runs with `answerable runs list`"

    run: RunId
    problem: str
