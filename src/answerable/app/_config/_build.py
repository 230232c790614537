"""From a `Config` to the application that it describes."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from answerable.app._app import Answerable
from answerable.app._config._errors import ConfigFileInvalid, SecretMissing
from answerable.app._config._file import (
    AmountTable,
    Config,
    EngineTable,
    LimitsTable,
    NotifyTable,
    ProviderTable,
    ServerTable,
    ToolTable,
)
from answerable.app._times import Times
from answerable.core import TenantId
from answerable.models import Upstream
from answerable.policy import Budget, Channel, Mail, Webhook
from answerable.runtime import Limits, Retention, StoreEngine, Temporal
from answerable.tools import AmountOf, ToolDeclaration

__all__ = ["configured"]


class _Secrets:
    """What the file takes from the environment."""

    def __init__(self, file: Path, environment: Mapping[str, str]) -> None:
        self._file = file
        self._environment = environment

    def value(self, key: str, variable: str) -> str:
        found = self._environment.get(variable, "").strip()
        if not found:
            raise SecretMissing(file=str(self._file), key=key, variable=variable)
        return found

    def values(self, key: str, named: Mapping[str, str]) -> dict[str, str]:
        return {name: self.value(f"{key}.{name}", variable) for name, variable in named.items()}


def configured(
    config: Config, *, file: Path, environment: Mapping[str, str], app: Answerable | None = None
) -> Answerable:
    """The application that a configuration describes.

    Args:
        file: where it was read, for errors.
        environment: where its credentials are.
        app: an application in Python to add to; places that the file leaves out stay as it has them.

    Raises:
        SecretMissing: a variable that the file names is not set.
        ConfigFileInvalid: an agent is in `app` already.
        ConfigError: something does not fit with `app`.
    """
    secrets = _Secrets(file, environment)
    app = app or Answerable(data=config.data, store=config.store, policy=config.policy, specs=config.specs)
    for place in ("data", "store", "policy", "specs", "labels"):
        if place in config.model_fields_set:
            setattr(app, place, getattr(config, place))
    times = config.times
    app.times = Times(
        patience=times.patience,
        idle=times.idle,
        retry_window=times.retry_window,
        drain=times.drain,
        lease=times.lease,
    )
    if "engine" in config.model_fields_set:
        app.engine = StoreEngine if config.engine.kind == "store" else _temporal(config.engine, file.parent, secrets)
    app.budgets += tuple(
        Budget(
            scope=each.scope,
            period=each.period,
            tokens=each.tokens,
            cost_nano_usd=each.cost_usd,
            amount=each.amount,
            calls=each.calls,
            alerts=tuple(each.alerts),
            tell=each.tell,
            tenant=each.tenant or "",
            agents=tuple(each.agents),
            allow=tuple(each.allow),
        )
        for each in config.budgets
    )
    for n, told in enumerate(config.notify):
        channel, whose = _channel(f"notify[{n}]", told, secrets), told.tenant or "default"
        if whose == "default":
            app.notify += (channel,)
        else:
            app.notify_tenants[whose] = (*app.notify_tenants.get(whose, ()), channel)
    app.page = config.page or app.page
    for name, tenant in config.tenants.items():
        limits = None if tenant.limits is None else _tighter(tenant.limits)
        app.tenant(name, agents=tenant.agents, limits=limits, settings=tenant.settings)
    everyone = ["default", *(tenant.name for tenant in app.tenants)]
    app.retention += tuple(
        Retention(keep=each.keep, texts=each.texts, agent=each.agent, tenant=TenantId(name))
        for each in config.retention
        for name in ([each.tenant] if each.tenant else everyone)
    )
    app.environment = config.environment or app.environment
    for queue in config.queues:
        app.queue(
            queue.scope,
            tenant=queue.tenant or "",
            concurrency=queue.concurrency,
            rate=queue.rate,
            per=queue.per,
            waiting=queue.waiting,
            priority=queue.priority,
        )
    for name, agent in config.agents.items():
        if name in app.agents:
            problems = f"`agents.{name}` is an agent of `{config.app}` already"
            raise ConfigFileInvalid(file=str(file), problems=problems)
        app.wired(
            name,
            own_tools=agent.own_tools,
            groups=agent.groups,
            autonomy=agent.autonomy or "",
            environment=agent.environment,
            owner=agent.owner,
            escalation=agent.escalation,
            stop=agent.stop,
            limits=None if agent.limits is None else _limits(agent.limits),
            mandate=agent.mandate,
        )
    for name, said in config.credentials.items():
        app.credential(
            name,
            kind=said.kind,
            variable=said.from_env or "",
            header=said.header,
            token_url=said.token_url,
            client_id=said.client_id,
            client_secret=said.client_secret or "",
            scope=said.scope,
            audience=said.audience,
            resource=said.resource,
            tools=tuple(said.tools),
            agents=tuple(said.agents),
            groups=tuple(said.groups),
            environment=said.environment,
        )
    for name, server in config.servers.items():
        declared = {
            tool.partition(".")[2]: _declaration(said)
            for tool, said in config.tools.items()
            if tool.startswith(f"{name}.")
        }
        _serve(app, name, server, declared, secrets)
    for name, provider in config.providers.items():
        app.upstream(_upstream(name, provider, secrets, app))
    for model, served in config.models.items():
        app.route(model, *served)
    return app


def _serve(
    app: Answerable, name: str, server: ServerTable, declared: Mapping[str, ToolDeclaration], secrets: _Secrets
) -> None:
    place = f"servers.{name}"
    headers = {**server.headers, **secrets.values(f"{place}.headers_from", server.headers_from)}
    if server.bearer_from:
        headers["authorization"] = f"Bearer {secrets.value(f'{place}.bearer_from', server.bearer_from)}"
    app.mcp(
        name,
        command=server.command,
        url=server.url,
        headers=headers,
        credential=server.credential,
        declare=declared,
        environment={**server.environment, **secrets.values(f"{place}.environment_from", server.environment_from)},
        directory=server.directory,
        startup_timeout=server.startup_timeout,
        call_timeout=server.call_timeout,
    )


def _channel(place: str, said: NotifyTable, secrets: _Secrets) -> Channel:
    if said.webhook:
        return Webhook(url=said.webhook, secret=secrets.value(f"{place}.secret_from", said.secret_from or ""))
    password = secrets.value(f"{place}.password_from", said.password_from) if said.password_from else ""
    return Mail(
        host=said.mail,
        port=said.port,
        tls=said.tls,
        user=said.user,
        password=password,
        sender=said.sender,
        to=said.to,
    )


def _declaration(tool: ToolTable) -> ToolDeclaration:
    return ToolDeclaration(
        effect=tool.effect,
        idempotency=tool.idempotency,
        probe=tool.probe,
        compensate=tool.compensate,
        amount=None if tool.amount is None else _amount(tool.amount),
        resource=tool.resource,
        subjects=tuple(tool.subjects),
        timeout=tool.timeout,
        retries=tool.retries,
        trusted=tool.trusted,
        specs=tuple(tool.specs),
        attributes=tool.attributes,
    )


def _amount(said: AmountTable) -> AmountOf:
    return AmountOf(
        argument=said.minor or said.major,
        is_minor=bool(said.minor),
        currency=said.currency,
        currency_argument=said.currency_from,
    )


def _limits(said: LimitsTable) -> Limits:
    return Limits(
        steps=said.steps,
        wall=said.wall,
        tokens=said.tokens,
        cost_nano_usd=said.cost_usd,
        amount=said.amount,
        identical_calls=said.identical_calls,
    )


def _temporal(said: EngineTable, folder: Path, secrets: _Secrets) -> Temporal:
    return Temporal(
        address=said.address,
        namespace=said.namespace,
        queue=said.queue,
        tls=said.tls,
        api_key=secrets.value("engine.api_key_from", said.api_key_from) if said.api_key_from else "",
        ca_file=said.ca_file and folder / said.ca_file,
        certificate_file=said.certificate_file and folder / said.certificate_file,
        key_file=said.key_file and folder / said.key_file,
        heartbeat=said.heartbeat,
    )


def _tighter(said: LimitsTable) -> Limits:
    """Bounds of a tenant: what its table does not name, it does not tighten."""
    whole, named = _limits(said), {"cost_nano_usd" if each == "cost_usd" else each for each in said.model_fields_set}
    none = Limits(steps=None, identical_calls=None, depth=None)
    return replace(none, **{name: getattr(whole, name) for name in named})


def _upstream(name: str, said: ProviderTable, secrets: _Secrets, app: Answerable) -> Upstream:
    return Upstream(
        name=name,
        dialect=said.dialect,
        base_url=said.base_url,
        key=secrets.value(f"providers.{name}.key_from", said.key_from) if said.key_from else "",
        first_byte=said.first_byte,
        between_bytes=said.between_bytes,
        max_tokens=said.max_tokens,
        prices_of=said.prices_of,
        proxy=said.proxy,
        ca_file=said.ca_file,
        grants=app.grants(said.credential),
    )
