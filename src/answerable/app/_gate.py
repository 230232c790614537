"""A running gate: all rooms wired around the road."""

import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from answerable.action import Effects
from answerable.app._background import background, expire
from answerable.app._collecting import fewer_collections
from answerable.app._crossings import Crossings
from answerable.app._declared import check_labels, check_queues, check_schedules, check_tenants
from answerable.app._effects import EveryEffect
from answerable.app._environment import bind_log, reach_servers
from answerable.app._ledger import all_projections, start_ledger
from answerable.app._record import Desk
from answerable.app._times import Times
from answerable.core import Action, Clock, Mac, RunId, TenantId, stable_json
from answerable.identity import AccessKeys, AgentDeclaration, Approvers, Credentials, check_may_start
from answerable.ledger import Ledger, Reader
from answerable.models import Models, Upstreams
from answerable.policy import (
    Approvals,
    Autonomy,
    AutonomyProjection,
    Budget,
    BudgetAlerts,
    CedarAuthorizer,
    Channel,
    Cloak,
    Cloaks,
    DecisionCache,
    Flows,
    KeptLabels,
    KnownAction,
    LabelledEffects,
    LabelRules,
    Labels,
    Notices,
    PersonalEffects,
    PolicyInvalid,
    PolicySet,
    Recogniser,
    Stops,
    StopsProjection,
    is_mandate_granted,
    load_recognisers,
    scope_of_mandate,
)
from answerable.runtime import (
    Agents,
    AgentSpec,
    Control,
    DecisionEffects,
    DelegationEffects,
    EngineOver,
    Performing,
    Queue,
    Reliable,
    Retaining,
    Retention,
    RetryPolicy,
    Runs,
    Schedule,
    Schedules,
    Session,
    Sessions,
    SharedEffects,
    StoreEngine,
    Tenant,
    Turns,
    Worker,
)
from answerable.runtime import Gate as SharedByRuns
from answerable.standing import ClausesSoFar, Specs, load_specs
from answerable.telemetry import Reports
from answerable.tools import Peer, Toolbox, WholeResults

__all__ = ["Gate", "open_gate"]

_log = logging.getLogger(__name__)
_TENANT = TenantId("default")
_FOR_DOTS = ("_", "__", "-")


class Gate:
    """The process that holds the road: start runs, wait for results, answer what waits for people."""

    def __init__(
        self,
        desk: Desk,
        reports: Reports,
        *,
        sessions: Sessions,
        upstreams: Upstreams,
        tools: Toolbox,
        retries: Callable[[Action], RetryPolicy],
        labelled: Callable[[Effects], Effects],
        cloaks: Cloaks,
        crossings: Crossings,
        times: Times,
    ) -> None:
        self.desk = desk
        self.crossings = crossings
        self.reports = reports
        self.sessions = sessions
        self.upstreams = upstreams
        self.tools = tools
        self.times = times
        self._retries = retries
        self._labelled = labelled
        self._cloaks = cloaks
        self.whole = self._on_the_road(WholeResults(tools))

    def relaying(self, peer: Peer) -> Effects:
        """Performs calls of an MCP client, whom the tool's server may speak to meanwhile."""
        return self._on_the_road(WholeResults(self.tools, peer=peer))

    def cloak(self, model: str, session: Session) -> Cloak | None:
        """What hides personal data from a model that an agent elsewhere asks; None where nothing is declared."""
        if not self._cloaks:
            return None
        return self._cloaks.cloak("model", model, tenant=session.spec.tenant, run=session.run)

    def _on_the_road(self, effects: Effects) -> Effects:
        return self._labelled(Reliable(effects, self._retries))

    @property
    def reader(self) -> Reader:
        """The record, to read."""
        return self.desk.reader

    @property
    def approvals(self) -> Approvals:
        """What waits for a person."""
        return self.desk.approvals

    @property
    def labels(self) -> Labels:
        """What runs carry, and the decisions that drop it."""
        return self.desk.labels

    @property
    def stops(self) -> Stops:
        """What is stopped."""
        return self.desk.stops

    @property
    def agent_keys(self) -> AccessKeys:
        """Keys of agents elsewhere."""
        return self.desk.agent_keys

    @property
    def control(self) -> Control:
        """Orders to runs: pause, resume, kill, fork, retry, roll back."""
        return self.desk.control

    @property
    def person_keys(self) -> AccessKeys:
        """Keys of people who decide over HTTP."""
        return self.desk.person_keys

    @property
    def runs(self) -> Runs:
        """Runs, by id."""
        return self.desk.runs

    def tools_named(self, said: str) -> tuple[str, ...]:
        """The tools that a model may mean by a name.

        Providers allow no dots, so others stand for them. Where an agent was connected to one server, it
        knows only that server's own names; several servers may have the same.
        """
        plain = said.split("__", 2)[-1] if said.startswith("mcp__") else said
        names = self.tools.names()
        found = [name for name in names if plain in (name, *(name.replace(".", by) for by in _FOR_DOTS))]
        return tuple(found or (name for name in names if name.partition(".")[2] == plain))

    async def start(
        self,
        agent: str,
        input: Any,
        *,
        key: str = "",
        on_behalf_of: str = "",
        resources: Sequence[str] = (),
        subjects: Sequence[str] = (),
        mandate: str = "",
        allow: Sequence[str] | None = None,
        priority: int | None = None,
        tenant: str = "",
    ) -> RunId:
        """Open a run of an agent; it is on the record when this returns.

        Args:
            agent: the agent's name.
            input: what its function takes as second parameter.
            key: a start key: the same key gives the same run, however often it is started.
            on_behalf_of: who asked for it, `type:id`; the record carries a pseudonym.
            resources: what it is about, as whoever asked named it: `order:1001`.
            subjects: the people its data concern, `customer:c-7`: erasing one of them erases its texts.
            mandate: under which it acts: budgets of the scope `mandate:NAME` are charged; where none is declared, it
                does nothing.
            allow: names of what it may use for this task, `*` at will: `mail.*`, `model:*`, `decision:approval`; None
                for whatever policy permits. What it delegates has no more.
            priority: 1 goes first, 9 last; its agent's queue's, or 5, if not given.
            tenant: whose run it is; `default`, if none is named.

        Raises:
            QueueFull: too many runs wait already; nothing was begun, and it says when to try again.
        """
        return await self.runs.start(
            agent,
            input,
            key=key,
            on_behalf_of=on_behalf_of,
            resources=resources,
            subjects=subjects,
            mandate=mandate,
            allow=allow,
            priority=priority,
            tenant=tenant,
        )

    async def result(self, run: RunId) -> Any:
        """What the agent returned; raises what it raised. Waits as long as the run does."""
        return await self.runs.result(run)


@contextlib.asynccontextmanager
async def open_gate(
    data: Path,
    *,
    store: str = "",
    policy: Path,
    specs: Path | None,
    budgets: Sequence[Budget],
    retention: Sequence[Retention] = (),
    notify: Mapping[str, Sequence[Channel]],
    page: str = "",
    environment: str = "",
    credentials: Credentials,
    tools: Toolbox,
    models: Models,
    upstreams: Upstreams,
    agents: Sequence[tuple[AgentSpec, AgentDeclaration]],
    times: Times,
    engine: EngineOver = StoreEngine,
    schedules: Sequence[Schedule] = (),
    queues: Sequence[Queue] = (),
    tenants: Sequence[Tenant] = (),
    clock: Clock | None = None,
    linger: timedelta = timedelta(milliseconds=50),
    slots: int = 1000,
    decision_cache: int = 4096,
    labels: LabelRules | None = None,
    recognisers: Sequence[Recogniser] = (),
    isolation: str = "same-process",
) -> AsyncIterator[Gate]:
    """Wire the rooms, in the order in which they can fail without leaving anything half done."""
    for _, declaration in agents:
        check_may_start(declaration)
    check_schedules(schedules, agents)
    check_queues(queues, agents)
    named = [*notify, *(each.tenant for each in queues), *(each.tenant for each in budgets)]
    check_tenants(tenants, agents, named, schedules)
    in_force = load_specs(specs) if specs is not None else Specs(())
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(fewer_collections())
        stack.push_async_callback(tools.close)
        stack.push_async_callback(models.close)
        stack.push_async_callback(upstreams.close)

        def begin() -> Awaitable[Ledger]:
            return start_ledger(data, all_projections(budgets), clock=clock, isolation=isolation, store=store)

        await reach_servers(
            tools, credentials, data, policy=policy, environment=environment, agents=agents, begin=begin
        )
        await models.start()
        await upstreams.start()
        names = [_TENANT, *(each.name for each in tenants)]
        acts = _known_actions(tools, upstreams, agents)
        policies = PolicySet.load_all(policy, actions=acts, clauses=in_force.ids(), tenants=names)
        rules = labels or LabelRules()
        check_labels(rules, tools, agents)
        further = (*recognisers, *load_recognisers(rules.recognisers))

        projections = all_projections(budgets)
        ledger = await start_ledger(data, projections, clock=clock, isolation=isolation, store=store, lease=times.lease)
        stack.push_async_callback(ledger.close)
        await bind_log(ledger, environment)
        stored_as = {
            name: await ledger.store_object(TenantId(name), each.snapshot()) for name, each in policies.items()
        }
        spec_names = {spec.id: await ledger.store_object(_TENANT, spec.snapshot()) for spec in in_force.specs}

        stops = next(each for each in projections if isinstance(each, StopsProjection))
        rules_as = await ledger.store_object(
            _TENANT, rules.snapshot(further=[type(each).__qualname__ for each in recognisers])
        )
        flows = Flows(rules, ledger.reader, ledger.settled, further=further, declared=rules_as) if rules else None
        cache = DecisionCache(decision_cache) if decision_cache else None
        clauses = ClausesSoFar(ledger.reader, ledger.settled)

        def by(policies: PolicySet, name: str) -> CedarAuthorizer:
            return CedarAuthorizer(
                policies,
                ledger.reader.rows,
                stored_as=name,
                clock=ledger.clock,
                generation=lambda: stops.generation,
                flows=flows,
                cache=cache,
                groups={spec.agent_id: spec.groups for spec, _ in agents},
                called=ledger.pseudonym,
                autonomy=next(each for each in projections if isinstance(each, AutonomyProjection)),
                clauses=clauses,
            )

        authorizer = by(policies[_TENANT], stored_as[_TENANT])
        for name, each in policies.items():
            authorizer.use(each, tenant=TenantId(name), stored_as=stored_as[name])
        reports = Reports()
        retries = _retries_of(tools)
        theirs = [await _with_settings(ledger, each) for each in tenants]
        known = Agents(theirs)
        for spec, _ in agents:
            known.add(replace(spec, specs=spec_names))
        effects = EveryEffect(
            {
                "tool": tools,
                "model": models,
                "decision": DecisionEffects(),
                "delegation": DelegationEffects(ledger, known),
                "memory": SharedEffects(ledger),
            }
        )
        kept = KeptLabels(ledger, ledger.reader.rows)

        cloaks = Cloaks(rules, lambda tenant, run: Mac(ledger.run_key(tenant, run)).digest, further=further)

        def labelled(inner: Effects) -> Effects:
            if cloaks:
                inner = PersonalEffects(inner, cloaks)
            return LabelledEffects(inner, rules, kept) if rules else inner

        turns = Turns(ledger, queues)
        await turns.start()
        shared = SharedByRuns(
            ledger=ledger,
            authorizer=authorizer,
            effects=labelled(Reliable(effects, retries)),
            reporter=reports,
            performing=Performing(),
            compensation=tools.compensation,
            governing=lambda agent, action: in_force.governing(agent=agent, tool=action),
            linger=linger,
            turns=turns,
            held_to=functools.cache(lambda name: by(_stored_policies(ledger.reader, name), name)),
        )
        worker = Worker(shared, known)
        scopes = functools.partial(scope_of_mandate, budgets)
        runs = Runs(ledger, known, scopes=scopes)
        sessions = Sessions(
            shared,
            known,
            idle=times.idle,
            patience=times.patience,
            retry_window=times.retry_window,
            grants=functools.partial(is_mandate_granted, budgets),
            scopes=scopes,
        )
        await sessions.start()
        stack.push_async_callback(sessions.stop)
        approvals = Approvals(
            book=ledger,
            store=ledger.reader,
            clock=ledger.clock,
            approvers=Approvers.on(ledger, ledger.reader),
            describe=effects.describe,
        )
        control, stops_at = Control(ledger, known), Stops(book=ledger, store=ledger.reader)
        tiers = Autonomy(book=ledger, store=ledger.reader)
        for _, declared in agents:
            if declared.autonomy:
                begins = {"environment": declared.environment, "tier": declared.autonomy, "role": declared.escalation}
                await tiers.declare(declared.id, **begins)
        there_are = frozenset({_TENANT, *(each.id for each in tenants)})
        desk = Desk(ledger, runs, control, approvals=approvals, stops=stops_at, tools=tools, tenants=there_are)
        await desk.pinning.start()
        scheduling = sorted({each.tenant for each in schedules})
        by_clock = [Schedules(ledger, runs, schedules, tenant=TenantId(tenant)) for tenant in scheduling]
        for schedule in by_clock:
            await schedule.start()
        notices = [
            Notices(
                approvals,
                channels,
                link=page,
                alerts=BudgetAlerts(ledger.reader.rows, budgets, clock=ledger.clock, tenant=TenantId(name)),
                tenant=TenantId(name),
            )
            for name, channels in notify.items()
        ]
        advancing = engine(ledger.leases, ledger.clock).serve(worker.advance, slots=slots)
        retaining = Retaining(ledger, retention)
        by_tenant = (*(each.serve() for each in notices), *(each.serve() for each in by_clock))
        serving = (advancing, expire(approvals), sessions.serve(), turns.serve(), retaining.serve())
        async with background(*serving, *by_tenant):
            yield Gate(
                desk,
                reports,
                sessions=sessions,
                upstreams=upstreams,
                tools=tools,
                retries=retries,
                labelled=labelled,
                cloaks=cloaks,
                crossings=Crossings(ledger, environment, {spec.name: spec.environment for spec, _ in agents}),
                times=times,
            )


async def _with_settings(ledger: Ledger, tenant: Tenant) -> Tenant:
    """The tenant, with what it set on the record: a run finds it as it was when the run began."""
    if not tenant.settings:
        return tenant
    return replace(tenant, stored=await ledger.store_object(tenant.id, stable_json(dict(tenant.settings))))


def _stored_policies(reader: Reader, name: str) -> PolicySet:
    stored = reader.stored(name)
    if stored is None:
        raise PolicyInvalid(where=name, problem="it is not on the record")
    return PolicySet.from_snapshot(stored[0], where=name)


def _retries_of(tools: Toolbox) -> Callable[[Action], RetryPolicy]:
    usual = RetryPolicy()

    def policy_for(action: Action) -> RetryPolicy:
        declared = tools.tool(action.name).declaration.retries if action.kind == "tool" else None
        return usual if declared is None else RetryPolicy(tries=declared + 1)

    return policy_for


def _known_actions(
    tools: Toolbox, upstreams: Upstreams, agents: Sequence[tuple[AgentSpec, AgentDeclaration]]
) -> list[KnownAction]:
    known = [KnownAction.declared(name, attributes=tools.tool(name).declaration.attributes) for name in tools.names()]
    known += [KnownAction(name=name) for name in tools.relayed()]
    models = {spec.model for spec, _ in agents if spec.model} | set(upstreams.models())
    known += [KnownAction(name=model, kind="model") for model in sorted(models)]
    known += [KnownAction(name=spec.name, kind="delegation") for spec, _ in agents]
    known += [KnownAction(name=name, kind="memory") for name in ("shared.get", "shared.set")]
    return [*known, KnownAction(name="approval", kind="decision")]
