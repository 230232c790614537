"""Sessions of this gate: opened when an agent first calls, kept through restarts, closed when idle."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from answerable.core import Outcome, RunId, TenantId, new_run_id, stable_json
from answerable.ledger import Draft, Emptiness, Phase, Prepared, Receipt, Tx, control_run, metadata
from answerable.ledger import Slice as Lease
from answerable.runtime._agents import Agents, AgentSpec
from answerable.runtime._errors import AgentUnknown, MandateNotGranted, SessionUnknown, TenantUnknown
from answerable.runtime._gate import Gate
from answerable.runtime._session import Session
from answerable.runtime._tenants import DEFAULT_TENANT

__all__ = ["Sessions", "SessionsProjection"]

log = logging.getLogger("answerable.runtime")

_LOOK = timedelta(seconds=15)

_sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_OPEN = Prepared(sa.insert(_sessions))
_CLOSE = Prepared(sa.delete(_sessions).where(_sessions.c.run == sa.bindparam("run")))
_ANY = Prepared(sa.select(_sessions.c.run).limit(1))
_ALL = Prepared(sa.select(_sessions.c.run).order_by(_sessions.c.run))


class SessionsProjection:
    """The table `sessions`: those that are open."""

    def __init__(self) -> None:
        self._none_open = Emptiness(_ANY)

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `sessions`."""
        return (_sessions,)

    @property
    def phases(self) -> frozenset[Phase]:
        """How a session begins and ends."""
        return frozenset({"run.open", "run.close"})

    def forget(self) -> None:
        """Others may have opened some."""
        self._none_open.end()

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt."""
        said = receipt.predicate
        if said["phase"] == "run.close":
            if not self._none_open.stands(tx):
                tx.run(_CLOSE, run=said["run"])
        elif (session := said["control"].get("session")) is not None:
            self._none_open.end()
            tx.run(_OPEN, run=said["run"], tenant=said["tenant"], agent=said["control"]["agent"], name=session["name"])


class Sessions:
    """Opens sessions and finds them again. Needs `SessionsProjection` among the ledger's projections.

    Args:
        idle: after which a session that nobody used is closed.
        patience: how long a call that waits for a person keeps its caller waiting.
        retry_window: how long an answer that nobody confirmed counts as undelivered.
        grants: whether a mandate names an agent: asked with tenant, the agent's id and mandate.
        scopes: what may be used under a mandate, as lists of names: asked with tenant and mandate.
    """

    def __init__(
        self,
        gate: Gate,
        agents: Agents,
        *,
        idle: timedelta = timedelta(minutes=30),
        patience: timedelta = timedelta(seconds=20),
        retry_window: timedelta = timedelta(minutes=10),
        grants: Callable[[str, str, str], bool] = lambda tenant, agent, mandate: False,
        scopes: Callable[[str, str], list[list[str]]] = lambda tenant, mandate: [],
    ) -> None:
        self._gate = gate
        self._agents = agents
        self._idle = idle
        self._patience = patience
        self._retry_window = retry_window
        self._by_run: dict[str, Session] = {}
        self._grants = grants
        self._scopes = scopes
        self._by_name: dict[tuple[str, str, str, str], Session] = {}
        self._opening = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()
        gate.ledger.leases.listen(self._told)

    async def start(self) -> None:
        """Take up the sessions that an earlier gate left open. Before any engine serves."""
        for (run,) in self._gate.ledger.reader.rows(_ALL):
            self._gate.driven.add(run)
            try:
                await self._take(RunId(run), "")
            except (AgentUnknown, TenantUnknown) as error:
                log.warning("session %s stays closed to calls: %s", run, error)
        self._told(list(self._by_run))

    async def serve(self) -> None:
        """Close idle sessions, until cancelled."""
        while True:
            await self._gate.sleep(min(_LOOK, self._idle).total_seconds())
            await self.close_idle()

    def hurry(self) -> None:
        """Answer at once every call that waits for a person: the gate is on its way out."""
        for session in self._by_run.values():
            session.hurry()

    async def stop(self) -> None:
        """Let what is under way end; the sessions stay open for the next gate."""
        await asyncio.gather(*self._ending)
        for session in self._by_run.values():
            await session.finish()

    async def get(self, agent: str, name: str = "", *, tenant: TenantId = DEFAULT_TENANT, mandate: str = "") -> Session:
        """The agent's session of this name or id; without one, its current session. Opened if need be.

        Args:
            agent: its name here.
            name: of the session. Under each mandate the same name is another session.
            tenant: whose.
            mandate: that it is under; by default the one that the agent is bound to, if it is bound to one.

        Raises:
            AgentUnknown, TenantUnknown: no such agent here, or no such tenant.
            SessionUnknown: an id that is not that of an open session of this agent, under this mandate.
            MandateNotGranted: nobody gave it to the agent. The refusal is on the record.
        """
        if name.startswith("run_"):
            session = self._by_run.get(name)
            if (
                session is None
                or (session.spec.tenant, session.spec.name) != (tenant, agent)
                or mandate not in ("", session.mandate)
            ):
                raise SessionUnknown(session=name, agent=agent)
            if await self._check_mandate(agent, session.mandate, tenant) != session.mandate:
                raise SessionUnknown(session=name, agent=agent)  # from before the agent was bound to one
        else:
            mandate = await self._check_mandate(agent, mandate, tenant)
            place = tenant, agent, name, mandate
            if (session := self._by_name.get(place)) is None:
                async with self._opening:
                    session = self._by_name.get(place) or await self._open(agent, name, tenant=tenant, mandate=mandate)
        session.last_used = self._gate.clock.now()  # now, not at its first call: a body may take its time to come
        return session

    async def _check_mandate(self, agent: str, mandate: str, tenant: TenantId) -> str:
        """The mandate that a session of the agent's is under, if it names this one or none."""
        spec = self._agents.get(agent, tenant)
        granted = mandate or spec.mandate
        if granted == spec.mandate or (not spec.mandate and self._grants(spec.tenant, spec.agent_id, granted)):
            return granted
        control = {"do": "session", "agent": spec.agent_id, "mandate": mandate, "refused": True}
        await self._gate.ledger.append(
            Draft(
                tenant=spec.tenant,
                run=control_run(spec.tenant),
                phase="control",
                agent=spec.agent_id,
                members={"control": control},
            )
        )
        raise MandateNotGranted(agent=agent, mandate=mandate)

    async def open(
        self,
        agent: str,
        *,
        name: str = "",
        on_behalf_of: str = "",
        resources: Sequence[str] = (),
        tenant: TenantId = DEFAULT_TENANT,
    ) -> Session:
        """A new session; it takes the place of an open one of the same name, which then idles out.

        Raises:
            AgentUnknown: no such agent here.
        """
        async with self._opening:
            return await self._open(agent, name, on_behalf_of=on_behalf_of, resources=resources, tenant=tenant)

    async def close(self, session: Session) -> None:
        """End a session: its run is closed as done, or as killed where a person ordered it."""
        self._forget(session)
        await session.finish()
        killed = session.killed
        outcome = Outcome(status="ok") if killed is None else Outcome.of_error("refused", killed)
        effect = {"status": outcome.status, "observedBy": "gate", **({"error": killed.code} if killed else {})}
        await self._gate.ledger.append(
            Draft(
                tenant=session.spec.tenant,
                run=session.run,
                phase="run.close",
                agent=session.spec.agent_id,
                build=session.spec.build,
                once=f"c:{session.run}",
                members={"control": {"state": "killed" if killed else "done"}, "effect": effect},
                output=outcome.value,
                fence=session.lease.fence,
                wake=True,
            )
        )
        await session.drop()
        self._gate.driven.discard(session.run)

    async def _let_go(self, session: Session) -> None:
        """The session's run was closed by somebody else."""
        await session.finish()
        await session.drop()
        self._gate.driven.discard(session.run)

    async def close_idle(self) -> None:
        """Close the sessions that nobody used for a while."""
        now = self._gate.clock.now()
        for session in list(self._by_run.values()):
            if not session.is_busy and now - session.last_used > self._idle:
                await self.close(session)

    async def _open(
        self,
        agent: str,
        name: str,
        *,
        on_behalf_of: str = "",
        resources: Sequence[str] = (),
        tenant: TenantId,
        mandate: str = "",
    ) -> Session:
        spec = self._agents.get(agent, tenant)
        mandate = mandate or spec.mandate
        run = new_run_id()
        # INVARIANT: before the run is on the record, so that no engine ever advances it.
        self._gate.driven.add(run)
        control: dict[str, Any] = {
            "agent": agent,
            "session": {"name": name},
            "environment": spec.environment,
            "resources": list(resources),
            "limits": spec.limits.to_json(),
        }
        control.update({"mandate": mandate} if mandate else {})
        control.update({"scope": scope} if (scope := self._scopes(spec.tenant, mandate)) else {})
        control.update(spec.declared)
        ledger = self._gate.ledger
        await ledger.open_run(
            Draft(
                tenant=spec.tenant,
                run=run,
                phase="run.open",
                agent=spec.agent_id,
                build=spec.build,
                on_behalf_of=on_behalf_of and ledger.pseudonym(spec.tenant, on_behalf_of),
                members={"control": control},
                input=b"{}",
                output=stable_json({"onBehalfOf": on_behalf_of}) if on_behalf_of else None,
            )
        )
        return await self._take(run, on_behalf_of)

    async def _take(self, run: RunId, on_behalf_of: str) -> Session:
        ledger = self._gate.ledger
        lease = await ledger.leases.claim(run)
        assert isinstance(lease, Lease)
        journal = await ledger.journal(lease)
        opened = journal.history.opened
        spec: AgentSpec = self._agents.get(opened["control"]["agent"], opened["tenant"])
        session = Session(
            self._gate,
            spec,
            lease,
            journal,
            on_behalf_of=on_behalf_of or self._initiator(opened),
            patience=self._patience,
            retry_window=self._retry_window,
        )
        self._by_run[run] = session
        self._by_name[spec.tenant, spec.name, session.name, session.mandate] = session
        return session

    def _initiator(self, opened: dict[str, Any]) -> str:
        if "onBehalfOf" not in opened:
            return ""
        reader = self._gate.ledger.reader
        receipt = reader.find(opened["id"])
        text = reader.text(receipt).output if receipt is not None else None
        return orjson.loads(text)["onBehalfOf"] if text else ""

    def _forget(self, session: Session) -> None:
        self._by_run.pop(session.run, None)
        place = session.spec.tenant, session.spec.name, session.name, session.mandate
        if self._by_name.get(place) is session:
            del self._by_name[place]

    def _told(self, runs: Sequence[str]) -> None:
        for run in runs:
            session = self._by_run.get(run)
            if session is None:
                continue
            session.wake()
            if session.is_over:
                self._forget(session)
                ending = asyncio.get_running_loop().create_task(self._let_go(session))
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)
            elif session.killed is not None:
                ending = asyncio.get_running_loop().create_task(self.close(session))
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)
