"""Runs from outside: start one, await its result, signal it, settle what is in doubt."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from answerable.core import (
    FaultPoint,
    RunId,
    StepKey,
    TenantId,
    error_from_json,
    mismatch,
    new_run_id,
    reach,
    stable_json,
)
from answerable.ledger import Draft, Ledger, Phase, Prepared, Reader, Receipt, Tx, metadata
from answerable.runtime._agents import Agents, AgentSpec
from answerable.runtime._errors import InputInvalid, QueueFull, RunUnknown, SignalInvalid
from answerable.runtime._limits import Limits
from answerable.runtime._links import links_from
from answerable.runtime._queues import check_priority, queues_of
from answerable.runtime._turns import full_queue
from answerable.runtime._typed import from_json, input_type, to_json

__all__ = [
    "RunRow",
    "Runs",
    "RunsProjection",
    "agent_of",
    "ended_between",
    "find_by_key",
    "find_run",
    "list_runs",
]

_runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("agent_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("started", sa.Text, nullable=False),
    sa.Column("ended", sa.Text),
    sa.Column("result", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("start_key", sa.Text),
    sa.Index("runs_by_key", "tenant", "agent", "start_key", unique=True),
    sa.Index("runs_by_start", "tenant", "started"),
    sa.Index("runs_by_end", "tenant", "ended"),
)
_COLUMNS = (
    _runs.c.run,
    _runs.c.tenant,
    _runs.c.agent,
    _runs.c.agent_id,
    _runs.c.state,
    _runs.c.started,
    _runs.c.ended,
    _runs.c.result,
    _runs.c.error,
)
_OPEN = Prepared(sa.insert(_runs))
_CLOSE = Prepared(
    sa.update(_runs)
    .where(_runs.c.run == sa.bindparam("of_run"))
    .values(
        state=sa.bindparam("to"), ended=sa.bindparam("at"), result=sa.bindparam("receipt"), error=sa.bindparam("code")
    )
)
_FIND = Prepared(sa.select(*_COLUMNS).where(_runs.c.run == sa.bindparam("run")))
_LIST = Prepared(
    sa.select(*_COLUMNS)
    .where(_runs.c.tenant == sa.bindparam("tenant"))
    .order_by(_runs.c.started.desc(), _runs.c.run)
    .limit(sa.bindparam("most"))
)
_ENDED = Prepared(
    sa.select(_runs.c.run, _runs.c.ended, _runs.c.agent)
    .where(
        _runs.c.tenant == sa.bindparam("tenant"),
        _runs.c.ended >= sa.bindparam("since"),
        _runs.c.ended <= sa.bindparam("until"),
    )
    .order_by(_runs.c.ended, _runs.c.run)
)
_BY_KEY = Prepared(
    sa.select(_runs.c.run).where(
        _runs.c.tenant == sa.bindparam("tenant"),
        _runs.c.agent == sa.bindparam("agent"),
        _runs.c.start_key == sa.bindparam("start_key"),
    )
)


class RunsProjection:
    """The table `runs`: which there are, and what became of them."""

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `runs`."""
        return (_runs,)

    @property
    def phases(self) -> frozenset[Phase]:
        """How a run begins and ends."""
        return frozenset({"run.open", "run.close"})

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt."""
        said = receipt.predicate
        control = said["control"]
        if said["phase"] == "run.open":
            tx.run(
                _OPEN,
                run=said["run"],
                tenant=said["tenant"],
                agent=control["agent"],
                agent_id=said["agent"]["id"],
                state="open",
                started=said["at"],
                ended=None,
                result=None,
                error=None,
                start_key=control.get("startKey"),
            )
        else:
            code = said.get("effect", {}).get("error")
            tx.run(_CLOSE, of_run=said["run"], to=control["state"], at=said["at"], receipt=said["id"], code=code)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as it stands on the record.

    Args:
        state: `open`, `done`, `failed`, `killed`, `erased`: a text it could not go on without is gone; or
            `continued`: it goes on as another run.
        started, ended: RFC 3339 UTC.
        result: id of its `run.close` receipt.
        error: code of the error it ended with.
    """

    run: RunId
    tenant: TenantId
    agent: str
    agent_id: str
    state: str
    started: str
    ended: str | None
    result: str | None
    error: str | None


def find_run(reader: Reader, run: RunId) -> RunRow | None:
    """The run, if there is one."""
    rows = reader.rows(_FIND, run=run)
    return _row(rows[0]) if rows else None


def find_by_key(reader: Reader, tenant: TenantId, agent: str, key: str) -> RunId | None:
    """The agent's run that was started with this key, if there is one."""
    rows = reader.rows(_BY_KEY, tenant=tenant, agent=agent, start_key=key)
    return RunId(rows[0][0]) if rows else None


def agent_of(tx: Tx, run: RunId) -> str:
    """The id of the run's agent, as an open transaction sees it."""
    return str(tx.rows(_FIND, run=run)[0][3])


def list_runs(reader: Reader, *, tenant: TenantId = TenantId("default"), most: int = 100) -> list[RunRow]:
    """The tenant's runs, the newest first."""
    return [_row(row) for row in reader.rows(_LIST, tenant=tenant, most=most)]


def ended_between(
    reader: Reader, tenant: TenantId, since: str, until: str, *, agent: str = ""
) -> list[tuple[RunId, str]]:
    """The tenant's runs that ended from one time up to another, and when, the earliest first."""
    rows = reader.rows(_ENDED, tenant=tenant, since=since, until=until)
    return [(RunId(row[0]), row[1]) for row in rows if agent in ("", row[2])]


def _row(row: Sequence[Any]) -> RunRow:
    names = ("run", "tenant", "agent", "agent_id", "state", "started", "ended", "result", "error")
    return RunRow(**dict(zip(names, row, strict=True)))


class Runs:
    """Starts runs and reaches them from outside. Needs `RunsProjection` among the ledger's projections."""

    def __init__(
        self,
        ledger: Ledger,
        agents: Agents,
        *,
        scopes: Callable[[str, str], list[list[str]]] = lambda tenant, mandate: [],
    ) -> None:
        self._ledger = ledger
        self._agents = agents
        self._scopes = scopes
        self._queues = queues_of(ledger)
        self._awaited: dict[str, list[asyncio.Future[None]]] = {}
        ledger.leases.listen(self._told)

    async def start(
        self,
        agent: str,
        given: Any = None,
        *,
        key: str = "",
        on_behalf_of: str = "",
        resources: Sequence[str] = (),
        subjects: Sequence[str] = (),
        limits: Limits | None = None,
        mandate: str = "",
        allow: Sequence[str] | None = None,
        schedule: Mapping[str, str] | None = None,
        priority: int | None = None,
        tenant: str = "",
    ) -> RunId:
        """Start a run, on disk when this returns; the same `key` gives the same run.

        Args:
            agent: the agent's name.
            given: its input, checked against what the agent's function declares.
            key: names the request; empty for a new run each time.
            on_behalf_of: the person or system that asks, as `type:id`.
            resources: what the run is about, as `type:id`; policy may hold the run to it.
            subjects: the people its data concern.
            limits: instead of the agent's own.
            mandate: under which it acts; charged to the budgets of that name.
            allow: names of what it may use at all, `*` at will: `mail.*`, `model:*`, `decision:approval`; None for
                whatever its mandate and policy permit.
            schedule: name and due time of the schedule that starts it.
            tenant: whose run it is; the agent's own, if none is named.
            priority: before other runs of the tenant: 1 goes first, 9 last; its agent's queue's, or 5, if not given.

        Raises:
            AgentUnknown, TenantUnknown: no such agent here, or no such tenant.
            InputInvalid: the input does not fit.
            QueueFull: too many wait already; nothing was begun, and it says when to try again.
        """
        spec = self._agents.get(agent, tenant)
        body = to_json(given)
        try:
            from_json(input_type(spec.fn), body)
        except ValueError as error:
            raise InputInvalid(agent=agent, problem=mismatch(error)) from None
        if key and (known := find_by_key(self._ledger.reader, spec.tenant, agent, key)) is not None:
            return known
        run = new_run_id()
        control: dict[str, Any] = {
            "agent": agent,
            "environment": spec.environment,
            "resources": list(resources),
            "limits": (limits or spec.limits).to_json(),
        }
        control.update({"startKey": key} if key else {})
        control.update(self._priority(spec, priority))
        control.update({"schedule": dict(schedule)} if schedule else {})
        control.update({"mandate": mandate} if mandate else {})
        scope = [*self._scopes(spec.tenant, mandate), *([] if allow is None else [list(allow)])]
        control.update({"scope": scope} if scope else {})
        control.update({"subjects": sorted(subjects)} if subjects else {})
        control.update(spec.declared)
        draft = Draft(
            tenant=spec.tenant,
            run=run,
            phase="run.open",
            agent=spec.agent_id,
            build=spec.build,
            once=f"k:{spec.tenant}:{agent}:{key}" if key else "",
            on_behalf_of=on_behalf_of and self._ledger.pseudonym(spec.tenant, on_behalf_of),
            members={"control": control},
            input=body,
            # The pseudonym stands on the receipt; who it is, is sealed beside the input.
            output=stable_json({"onBehalfOf": on_behalf_of}) if on_behalf_of else None,
            subjects=tuple(sorted(subjects)),
        )

        # Answered, not raised: a refusal must not cost those who share the transaction their work.
        appended = await self._ledger.writer.submit(
            lambda tx: full_queue(tx, self._queues, spec.tenant, agent) or tx.append(draft)
        )
        if isinstance(appended, QueueFull):
            raise appended
        reach(FaultPoint.RUN_OPENED)
        if appended.status == "dup":  # the same key, a moment earlier
            return find_by_key(self._ledger.reader, spec.tenant, agent, key) or run
        return run

    async def result(self, run: RunId) -> Any:
        """What the run returned, once it has ended.

        Raises:
            RunUnknown: there is no such run.
            AnswerableError: what the run failed with.
        """
        ending = None if self._ledger.is_open(run) else self._ending(run)
        while ending is None:
            told = asyncio.get_running_loop().create_future()
            self._awaited.setdefault(run, []).append(told)
            await told
            ending = self._ending(run)
        state, text = ending
        if state == "continued":
            return await self.result(self._latest(run))
        said = orjson.loads(text)
        if state != "done":
            raise error_from_json(said)
        return said

    async def signal(self, run: RunId, name: str, payload: Any = None, *, key: str = "") -> None:
        """Send a signal; the run finds it when it asks for it. One that goes on as another gets it there.

        Args:
            run: which.
            name: what the run awaits it by.
            payload: what it carries, as JSON.
            key: names the signal: of several with the same key, the run gets one.

        Raises:
            RunUnknown: no such run, or it has ended.
            SignalInvalid: no such name can be given.
        """
        if not name or ":" in name:  # SECURITY: so begin the names of the gate's own, a child's answer among them
            raise SignalInvalid(name=name, problem="a name is not empty, and has no colon in it")
        once = f"s:{run}:{key}" if key else ""
        while True:
            row = self._find_open(self._latest(run))
            appended = await self._ledger.append(
                Draft(
                    tenant=row.tenant,
                    run=row.run,
                    phase="signal",
                    agent=row.agent_id,
                    once=once,
                    members={"control": {"name": name}},
                    input=to_json(payload),
                    subjects=tuple(self._ledger.reader.opened(row.run)["control"].get("subjects", ())),
                    wake=True,
                )
            )
            if appended.status != "closed":  # else it ended meanwhile, or goes on as another
                return

    async def resolve(
        self,
        run: RunId,
        step: StepKey,
        *,
        happened: bool,
        result: Any = None,
        by: str,
        reason: str,
        evidence: Sequence[dict[str, str]] = (),
    ) -> None:
        """Settle a step in doubt by a person's word: with this result, or as not having happened.

        Args:
            evidence: what shows it, each `{"kind": …, "digest": "sha256:…"}`; it stands on the receipts.

        Raises:
            RunUnknown: no such run, it has ended, or the step is not in doubt.
        """
        row = self._find_open(run)
        unknown = RunUnknown(run=run, problem=f"step `{step}` is not in doubt in this run")
        history = self._ledger.reader.outline(run)
        intent = history.intents.get(step)
        if intent is None or intent.is_written_off or step in history.finals:
            raise unknown
        receipt = self._ledger.reader.find(intent.receipt)
        assert receipt is not None
        said = receipt.predicate
        shown: dict[str, Any] = {"evidence": [dict(each) for each in evidence]} if evidence else {}
        common: dict[str, Any] = {
            "tenant": row.tenant,
            "run": run,
            "agent": row.agent_id,
            "step": step,
            "branch": said.get("branch", ""),
            "wake": True,
            "subjects": tuple(who for who in self._ledger.reader.subjects(receipt) if who != run),
        }
        control = {"do": "resolve" if happened else "write-off", "intent": intent.receipt}
        word = Draft(
            phase="control",
            # INVARIANT: written off at most once, by whoever is first: the probe or a person.
            once="" if happened else f"w:{intent.receipt}",
            members={"control": {**control, "by": self._ledger.pseudonym(row.tenant, by), **shown}},
            input=stable_json({"by": by, "reason": reason}),
            **common,
        )
        outcome = Draft(
            phase="outcome",
            attempt=intent.attempt,
            intent=intent.receipt,
            once=f"o:{run}:{step}",
            members={
                "action": said["action"],
                "effect": {"status": "ok", "observedBy": "independent", **shown},
            },
            output=to_json(result),
            **common,
        )

        def work(tx: Any) -> None:
            for draft in [word, outcome] if happened else [word]:
                status = tx.append(draft).status
                if status != "ok":  # raised, so that neither is written: a word without its outcome settles nothing
                    raise RunUnknown(run=run, problem="the run has ended") if status == "closed" else unknown

        await self._ledger.writer.submit(work)

    def _priority(self, spec: AgentSpec, given: int | None) -> dict[str, int]:
        if given is not None:
            check_priority(f"agent:{spec.name}", given)
            return {"priority": given}
        declared = [each.priority for each in self._queues.limits(self._ledger.reader.rows, spec.tenant, spec.name)]
        return next(({"priority": each} for each in declared if each is not None), {})

    def _latest(self, run: RunId) -> RunId:
        """The run that this one goes on as, by now."""
        while self._find(run).state == "continued":
            links = links_from(self._ledger.reader, run)
            run = next(link.run for link in links if link.how in ("continue", "hand-over"))
        return run

    def _ending(self, run: RunId) -> tuple[str, bytes] | None:
        """State and result, or error, of a run that is over."""
        if (known := self._ledger.ending(run)) is not None:
            return known
        row = self._find(run)
        if row.result is None:
            return None
        receipt = self._ledger.reader.find(row.result)
        text = self._ledger.reader.text(receipt).output if receipt is not None else None
        return row.state, text or b"null"

    def _find(self, run: RunId) -> RunRow:
        row = find_run(self._ledger.reader, run)
        if row is None:
            raise RunUnknown(run=run, problem="there is no such run")
        return row

    def _find_open(self, run: RunId) -> RunRow:
        row = self._find(run)
        if row.state != "open":
            raise RunUnknown(run=run, problem="the run has ended")
        return row

    def _told(self, runs: Sequence[str]) -> None:
        for run in runs:
            for ended in self._awaited.pop(run, ()):
                if not ended.done():
                    ended.set_result(None)
