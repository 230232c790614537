"""`Answerable`: agents, tools, models, policy and specifications of one application, and its gate."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from answerable.app._code import build_of, driven_from_outside
from answerable.app._gate import Gate, open_gate
from answerable.app._times import Times
from answerable.core import AgentId, Clock
from answerable.identity import AgentDeclaration, Credential, Credentials, Grants
from answerable.models import LocalProvider, Models, Provider, Upstream, Upstreams
from answerable.policy import Budget, Channel, LabelRules, Recogniser, Sink, Source, UserSpeech, read_labels
from answerable.runtime import AgentSpec, EngineOver, Limits, OnChange, Queue, Retention, Schedule, StoreEngine, Tenant
from answerable.tools import Toolbox, ToolDeclaration

__all__ = ["Answerable"]

F = TypeVar("F", bound=Callable[..., Any])


class Answerable:
    """An application whose agents act only through a gate.

    Args:
        data: the data directory: the record, and the keys it is signed with.
        store: a database for the record, which several gates may share: `postgresql://…`. By default the record is
            in the data directory.
        policy: a folder with `authorize` and `obligations` (`docs/concepts/policy.md`). Without one
            nothing is permitted.
        specs: a folder of specifications; none by default.
        budgets: limits of agents and of the tenant, beside each run's own.
        retention: how long texts are kept once their run is over; without a rule, until they are erased.
        notify: how people are told that something waits for them (`Webhook`, `Mail`).
        environment: `development`, `staging` or `production`: its agents, log and credentials belong there.
            Left out, each agent says for itself.
        page: the address at which people reach this gate's page, for links: `https://gate.example.com/decide`.
        times: how long its gate is patient with agents elsewhere.
        labels: a TOML file of sources and sinks (`docs/guides/contain-prompt-injection.md`), or `label` them here.
        engine: what has runs advanced: the store itself, or `Temporal(...)`, for fleets.
    """

    def __init__(
        self,
        *,
        data: Path | str,
        store: str = "",
        policy: Path | str,
        specs: Path | str | None = None,
        budgets: Sequence[Budget] = (),
        retention: Sequence[Retention] = (),
        notify: Sequence[Channel] = (),
        page: str = "",
        environment: str = "",
        times: Times | None = None,
        labels: Path | str | None = None,
        engine: EngineOver = StoreEngine,
    ) -> None:
        self.data = Path(data)
        self.store = store
        self.policy = Path(policy)
        self.specs = Path(specs) if specs is not None else None
        self.budgets = tuple(budgets)
        self.retention = tuple(retention)
        self.notify = tuple(notify)
        self.notify_tenants: dict[str, tuple[Channel, ...]] = {}
        self.page = page
        self.environment = environment
        self.times = times or Times()
        self.labels = Path(labels) if labels is not None else None
        self._labelled = LabelRules()
        self._recognisers: list[Recogniser] = []
        self.engine = engine
        self.tools = Toolbox()
        self.models = Models()
        self.upstreams = Upstreams()
        self.credentials = Credentials()
        self.schedules: list[Schedule] = []
        self.queues: list[Queue] = []
        self.tenants: list[Tenant] = []
        self.agents: dict[str, tuple[AgentSpec, AgentDeclaration]] = {}

    @overload
    def tool(self, function: F, /, **declaration: Any) -> F: ...

    @overload
    def tool(self, /, **declaration: Any) -> Callable[[F], F]: ...

    def tool(self, function: F | None = None, /, **declaration: Any) -> F | Callable[[F], F]:
        """Put a Python function behind the gate: `@app.tool(effect="read")`.

        The words are those of `ToolDeclaration`, and `name`. The function is called by the gate, with
        arguments checked against its annotations; what it returns is checked too.

        Raises:
            ToolUnusable: its signature or declaration does not work.
        """

        def add(decorated: F) -> F:
            self.tools.add(decorated, **declaration)
            return decorated

        return add if function is None else add(function)

    def label(self, tool: str, *, source: Source | None = None, sink: Sink | None = None) -> None:
        """Declare what of a tool's results may be relied on, and which of its arguments matter.

        Args:
            tool: its full name, `mail.send`.
            source: its results; else none of them is.
            sink: its arguments.
        """
        self._labelled |= LabelRules(
            sources={tool: source} if source else {},
            sinks={tool: sink} if sink else {},
        )

    def user_speaks(self, agent: str, *, input: Sequence[str] = (), messages: bool = False) -> None:
        """Declare where an agent's user speaks; else no argument of its calls counts as the user's.

        Args:
            agent: its name.
            input: parts of a run's input that the user wrote, as paths; `.` for all of it.
            messages: what has the role `user` in its model calls over the wire.
        """
        self._labelled |= LabelRules(speech={agent: UserSpeech(input=tuple(input), messages=messages)})

    def recognise(self, recogniser: Recogniser) -> None:
        """Look for more personal data than is recognised by form: names, addresses, whatever this finds in a text."""
        self._recognisers.append(recogniser)

    def mcp(
        self,
        server: str,
        *,
        command: Sequence[str] = (),
        url: str = "",
        headers: Mapping[str, str] | None = None,
        credential: str | Sequence[str] = (),
        declare: Mapping[str, ToolDeclaration] | None = None,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        startup_timeout: timedelta = timedelta(seconds=30),
        call_timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        """Put the tools of an MCP server behind the gate, named `server.tool`.

        A tool that `declare` leaves out counts as a write with untrusted results.

        Args:
            command: starts it, to be spoken to over stdio; or
            url: where it listens (streamable HTTP), with the `headers` that it asks for.
            credential: which of the gate's credentials its requests carry; of several, the first that is meant for
                the tool and the agent.
        """
        self.tools.add_mcp(
            server,
            command=command,
            url=url,
            headers=headers,
            grants=self.grants(credential),
            declare=declare,
            environment=environment,
            directory=directory,
            startup_timeout=startup_timeout,
            call_timeout=call_timeout,
        )

    def credential(self, name: str, **said: Any) -> None:
        """Declare a credential of the gate, for tool servers and providers: its words are those of `Credential`.

        Its secret is in the vault (`answerable credentials set NAME`), or in the environment (`variable=`).

        Raises:
            CredentialInvalid: it lacks what its kind needs.
        """
        self.credentials.add(Credential(name=name, **said))

    def grants(self, credential: str | Sequence[str]) -> Grants | None:
        """Who has these credentials, for an `Upstream`; None for none.

        Raises:
            CredentialInvalid: one is not declared.
        """
        names = [credential] if isinstance(credential, str) and credential else list(credential)
        return self.credentials.grants(names) if names else None

    def provider(self, provider: Provider) -> None:
        """Make a provider's models callable as `provider:model`."""
        self.models.add(provider)

    @overload
    def agent(
        self,
        function: F,
        /,
        *,
        name: str = "",
        model: str = "",
        environment: str = "",
        owner: str = "",
        escalation: str = "",
        stop: str = "",
        limits: Limits | None = None,
        on_change: OnChange = "continue",
        groups: Sequence[str] = (),
        autonomy: str = "",
    ) -> F: ...

    @overload
    def agent(
        self,
        /,
        *,
        name: str = "",
        model: str = "",
        environment: str = "",
        owner: str = "",
        escalation: str = "",
        stop: str = "",
        limits: Limits | None = None,
        on_change: OnChange = "continue",
        groups: Sequence[str] = (),
        autonomy: str = "",
    ) -> Callable[[F], F]: ...

    def agent(
        self,
        function: F | None = None,
        /,
        *,
        name: str = "",
        model: str = "",
        environment: str = "",
        owner: str = "",
        escalation: str = "",
        stop: str = "",
        limits: Limits | None = None,
        on_change: OnChange = "continue",
        groups: Sequence[str] = (),
        autonomy: str = "",
    ) -> F | Callable[[F], F]:
        """Register an agent, an async function `agent(run, input)`.

        Args:
            function: the agent.
            name: its id on the record; the function's name by default.
            model: what `run.model` asks by default.
            environment: `development`, `staging`, `production`; by default the application's, or `development`. In
                production an agent without owner,
                limits, stop and escalation does not start.
            owner: who is liable for what it does.
            escalation: whom it turns to when it cannot go on.
            stop: the role that may stop it.
            limits: the most a run may do; `Limits()` by default, which only bounds its steps.
            on_change: what becomes of a run that another build of its file began: it goes on (`continue`), is left
                to a worker that has that build (`pin`), or ends with `BuildChanged` (`fail`).
            groups: of agents that it belongs to: `principal in Group::"finance"` in a policy.
            autonomy: where it begins: `draft`, `approve` (its `escalation` is the role that is asked) or `execute`.
                What was decided since on the record stands (`answerable agent autonomy`).
        """

        def register(decorated: F) -> F:
            agent = name or decorated.__name__
            build = build_of(decorated)
            place = environment or self.environment or "development"
            spec = AgentSpec(
                name=agent,
                fn=decorated,
                limits=limits or Limits(),
                environment=place,
                owner=owner,
                escalation=escalation,
                model=model,
                build=build,
                on_change=on_change,
                groups=tuple(groups),
            )
            declared = AgentDeclaration(
                id=AgentId(agent),
                environment=place,
                owner=owner,
                is_bounded=limits is not None,
                stop=stop,
                escalation=escalation,
                build=build,
                autonomy=autonomy,
            )
            self.agents[agent] = (spec, declared)
            return decorated

        return register if function is None else register(function)

    def schedule(
        self,
        name: str,
        *,
        agent: str,
        given: Any = None,
        every: timedelta | None = None,
        cron: str = "",
        timezone: str = "UTC",
        catch_up: Literal["one", "all", "none"] = "one",
        tenant: str = "default",
    ) -> None:
        """Start an agent by the clock, each due time once.

        Args:
            name: the schedule's, on the record and for `answerable schedules`.
            agent: the agent's name.
            given: its input.
            every: how often, counted from when a gate first knew the schedule; or
            cron: five fields, by the clock of `timezone` (`Europe/Berlin`).
            catch_up: what becomes of due times while no gate ran: `one` run for the last, `all` (at most 100), `none`.
            tenant: whose run it is.

        Raises:
            ScheduleInvalid: it cannot be followed.
        """
        when: dict[str, Any] = {"every": every, "cron": cron, "timezone": timezone, "catch_up": catch_up}
        self.schedules.append(Schedule(name=name, agent=agent, given=given, tenant=tenant, **when))

    def queue(
        self,
        scope: str,
        *,
        tenant: str = "",
        concurrency: int | None = None,
        rate: int | None = None,
        per: timedelta = timedelta(minutes=1),
        waiting: int | None = None,
        priority: int | None = None,
    ) -> None:
        """Limit how many runs of an agent, or of a tenant, are advanced, begin and wait.

        Of an agent elsewhere, `concurrency` and `rate` limit its calls instead, in this gate.

        Args:
            scope: `agent:NAME`, counted within each tenant, or `tenant`: all runs of a tenant.
            tenant: whose; every tenant's, each by itself, if none is named.
            concurrency: runs advanced at once; those that wait for something are not.
            rate: runs that may begin within `per`.
            per: the stretch of time that `rate` is for.
            waiting: runs that may wait to begin; one more is refused with `QueueFull`.
            priority: of the agent's runs that are started without one: 1 goes first, 9 last.

        Raises:
            QueueInvalid: it cannot be followed.
        """
        self.queues.append(
            Queue(
                scope=scope,
                tenant=tenant,
                concurrency=concurrency,
                rate=rate,
                per=per,
                waiting=waiting,
                priority=priority,
            )
        )

    def tenant(
        self,
        name: str,
        *,
        agents: Sequence[str] = (),
        limits: Limits | None = None,
        settings: Mapping[str, Any] | None = None,
        notify: Sequence[Channel] = (),
    ) -> None:
        """Let a tenant share this gate: with its own log, keys, stops, approvals and start keys.

        Its policies are those of `policy/`, and of the layers that name it there.

        Args:
            name: letters, digits, `_` and `-`. The tenant `default` is there always: whoever runs the gate.
            agents: those that it may run; all, if none are named.
            limits: of each of its runs, where they are tighter than the agent's own.
            settings: what its agents read of it with `run.settings`. JSON.
            notify: how its people are told of what waits for them.

        Raises:
            TenantInvalid: it cannot be.
        """
        self.notify_tenants[name] = (*self.notify_tenants.get(name, ()), *notify)
        self.tenants.append(Tenant(name=name, agents=tuple(agents), limits=limits, settings=dict(settings or {})))

    def upstream(self, upstream: Upstream | LocalProvider) -> None:
        """Let agents elsewhere reach a provider's models through the gate (`answerable serve`)."""
        self.upstreams.add(upstream)

    def route(self, name: str, *models: str) -> None:
        """Serve `name` on the wire by the first of these `provider:model` that answers."""
        self.upstreams.route(name, *models)

    def wired(
        self,
        name: str,
        *,
        own_tools: Sequence[str] = (),
        environment: str = "",
        owner: str = "",
        escalation: str = "",
        stop: str = "",
        limits: Limits | None = None,
        groups: Sequence[str] = (),
        autonomy: str = "",
        mandate: str = "",
    ) -> None:
        """Register an agent that exists elsewhere and reaches the gate by its URLs and a key.

        Args:
            name: its id on the record; `answerable agent key new NAME` gives it a key.
            own_tools: tools that it runs itself and the gate cannot see; `*` for any. A call of any other
                tool that the gate does not serve is taken out of the model's answer.
            environment: as for `agent`, like what follows.
            owner: who is liable for what it does.
            escalation: whom it turns to when it cannot go on.
            stop: the role that may stop it.
            limits: the most a session may do.
            groups: of agents that it belongs to.
            autonomy: where it begins, as for `agent`.
            mandate: that all it does is under, whatever it names itself: budgets of the scope `mandate:NAME` are
                charged. Without one, it may name those whose budgets name it (`agents`).
        """
        place = environment or self.environment or "development"
        spec = AgentSpec(
            name=name,
            fn=driven_from_outside,
            mandate=mandate,
            limits=limits or Limits(),
            environment=place,
            owner=owner,
            escalation=escalation,
            own_tools=tuple(own_tools),
            groups=tuple(groups),
        )
        declared = AgentDeclaration(
            id=AgentId(name),
            environment=place,
            owner=owner,
            is_bounded=limits is not None,
            stop=stop,
            escalation=escalation,
            build="",
            autonomy=autonomy,
        )
        self.agents[name] = (spec, declared)

    def runnable(self) -> tuple[str, ...]:
        """The agents whose code is here, sorted."""
        return tuple(sorted(name for name, (spec, _) in self.agents.items() if spec.fn is not driven_from_outside))

    @contextlib.asynccontextmanager
    async def gate(
        self,
        *,
        clock: Clock | None = None,
        isolation: Literal["same-process", "same-user", "separate-user"] = "same-process",
    ) -> AsyncIterator[Gate]:
        """Own the data directory and perform actions until the block ends.

        Runs that an earlier gate left unfinished go on at once.

        Args:
            clock: instead of the machine's, to see what policy does at another time.
            isolation: how far agents are kept from this process, as receipts say it; more than the default is for
                those who know that no agent's code runs here (`answerable serve` does).

        Raises:
            ConfigError: something declared does not fit; nothing has started then.
        """
        async with open_gate(
            self.data,
            store=self.store,
            policy=self.policy,
            specs=self.specs,
            budgets=self.budgets,
            retention=self.retention,
            notify={"default": self.notify, **self.notify_tenants},
            page=self.page,
            environment=self.environment,
            credentials=self.credentials,
            tools=self.tools,
            models=self.models,
            upstreams=self.upstreams,
            agents=list(self.agents.values()),
            schedules=self.schedules,
            queues=self.queues,
            tenants=self.tenants,
            times=self.times,
            labels=self._labelled if self.labels is None else self._labelled | read_labels(self.labels),
            recognisers=self._recognisers,
            engine=self.engine,
            clock=clock,
            isolation=isolation,
        ) as gate:
            yield gate
