"""The shape of `answerable.toml`: what may stand where, and what is taken where nothing stands."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from answerable.app._config._words import Amount, Bound, Count, Dollars, Duration, Name, Template, Variable

__all__ = [
    "AmountTable",
    "Config",
    "EngineTable",
    "LimitsTable",
    "NotifyTable",
    "ProviderTable",
    "ServerTable",
    "ToolTable",
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class LimitsTable(_Table):
    """The most that one session or run of an agent may do. `false` lifts a bound that is there by default."""

    steps: Bound = Field(default=1000, description="Calls of tools and models.")
    wall: Duration | None = Field(default=None, description="Its age, waiting included.")
    tokens: Count | None = Field(default=None, description="Tokens read and written by models.")
    cost_usd: Dollars | None = Field(default=None, description="Price of its model calls, in US dollars.")
    amount: Amount | None = Field(default=None, description="Money that its tools move; no other currency then.")
    identical_calls: Bound = Field(
        default=5, description="How often the same call may give the same result, one after the other."
    )


class AgentTable(_Table):
    """An agent that exists elsewhere and reaches the gate by its URLs and a key (`answerable agent key new`)."""

    environment: str = Field(
        default="",
        description="`development`, `staging` or `production`; the file's own, or `development`, if left out.",
    )
    owner: str = Field(
        default="", description="Who is liable for what it does. Needed in production, like the next two."
    )
    escalation: str = Field(default="", description="Whom it turns to when it cannot go on.")
    stop: str = Field(default="", description="The role that may stop it.")
    autonomy: Literal["draft", "approve", "execute"] | None = Field(
        default=None,
        description="Where it begins: no writes, each after a yes by its `escalation` role, or as policy says.",
    )
    groups: list[Name] = Field(
        default=[], description='Groups that policy may permit something to: `Group::"finance"`.'
    )
    own_tools: list[str] = Field(default=[], description="Tools that it runs itself, unseen by the gate; `*` for any.")
    limits: LimitsTable | None = Field(default=None, description="The most that one of its sessions may do.")
    mandate: str = Field(
        default="", description="That all it does is under; without, it may name those whose budgets name it."
    )


class CredentialTable(_Table):
    """A credential of the gate's own: sent by the gate, never seen by the agent, the model, the log or the record."""

    kind: Literal["bearer", "header", "client-credentials", "token-exchange"] = Field(
        default="bearer",
        description="`bearer` and `header` are sent as they are kept; the others buy a token for minutes "
        "(RFC 6749 §4.4, RFC 8693).",
    )
    from_env: Variable | None = Field(
        default=None, description="The environment variable that holds it; the vault does by default."
    )
    header: str = Field(default="", description="Of kind `header`, the one that holds it.")
    token_url: str = Field(
        default="", pattern=r"^(https?://.*)?$", description="The authorization server's token endpoint."
    )
    client_id: str = Field(default="", description="Who the gate is there.")
    client_secret: Name | None = Field(
        default=None,
        description="Of `token-exchange`, the credential with the client's secret; a public client without.",
    )
    scope: str = Field(default="", description="What a token is to be good for.")
    audience: str = Field(default="", description="Where a token is to be good.")
    resource: str = Field(default="", description="The same as an address (RFC 8707).")
    tools: list[str] = Field(
        default=["*"], description="Tools (`shop.refund`) and models (`openai:gpt-5`) it is for; `*` for any text."
    )
    agents: list[str] = Field(default=["*"], description="Agents it is for, in the same way.")
    groups: list[Name] = Field(
        default=[], description="Groups of agents, in one of which the agent must be; any if none."
    )
    environment: str = Field(default="", description="Whose agents it is for: `production`; any if left out.")


class ServerTable(_Table):
    """An MCP server behind the gate: a command to start and speak to over stdio, or the URL where it listens."""

    command: list[str] = Field(default=[], description="Starts it.")
    url: str = Field(default="", description="Where it listens (streamable HTTP).")
    environment: dict[str, str] = Field(default={}, description="Environment variables of the command, in clear.")
    environment_from: dict[str, Variable] = Field(
        default={}, description="Environment variables of the command, each from the named variable of the gate's own."
    )
    directory: Path | None = Field(default=None, strict=False, description="Where the command is started.")
    headers: dict[str, str] = Field(default={}, description="Headers of every request, in clear; no credentials.")
    headers_from: dict[str, Variable] = Field(
        default={}, description="Headers of every request, each from the named environment variable."
    )
    bearer_from: Variable | None = Field(
        default=None, description="The environment variable that holds the bearer token."
    )
    credential: list[str] = Field(
        default=[],
        description="Names of credentials that requests carry; the first that is meant for tool and agent.",
    )
    startup_timeout: Duration = Field(default=timedelta(seconds=30), description="How long it may take to start.")
    call_timeout: Duration = Field(default=timedelta(seconds=60), description="How long a call may take.")


class AmountTable(_Table):
    """The money that a tool moves, from its arguments: `minor` (cents) or `major` (euros), and the currency."""

    minor: str = Field(default="", description="The argument that holds the amount in minor units, such as cents.")
    major: str = Field(default="", description="The argument that holds the amount in major units, such as euros.")
    currency: str = Field(default="", pattern=r"^([A-Z]{3})?$", description="The currency, ISO 4217.")
    currency_from: str = Field(default="", description="The argument that holds the currency.")


class ToolTable(_Table):
    """What the operator says of a tool, under its full name `"server.tool"`."""

    effect: Literal["read", "write", "irreversible"] = Field(default="write", description="What it does to the world.")
    trusted: bool = Field(
        default=False, description="Its results may steer the agent; else they are labelled untrusted."
    )
    idempotency: str | None = Field(
        default=None, description="The argument into which the gate puts the idempotency key."
    )
    probe: str | None = Field(
        default=None,
        description="A read tool of the same server, by its name there, that tells whether a lost call happened.",
    )
    compensate: str | None = Field(default=None, description="The tool that undoes it, with the server's name.")
    amount: AmountTable | None = Field(default=None, description="The money that it moves.")
    resource: Template | None = Field(default=None, description="What it acts on: `order:{order_id}`.")
    subjects: list[Template] = Field(default=[], description="Whose data it concerns: `customer:{customer_id}`.")
    timeout: Duration | None = Field(default=None, description="After which the gate stops waiting.")
    retries: Annotated[int, Field(ge=0, le=10)] | None = Field(
        default=None, description="How often a try that surely did nothing is repeated."
    )
    specs: list[str] = Field(default=[], description="Ids of the clauses that govern it.")
    attributes: dict[str, bool | int | str] = Field(default={}, description="Further facts for policy.")


class ProviderTable(_Table):
    """A provider of models that agents reach through the gate."""

    dialect: Literal["chat", "messages"] = Field(description="`chat` (Chat Completions) or `messages` (Anthropic's).")
    base_url: str = Field(pattern=r"^https?://", description="Up to and including `/v1`.")
    key_from: Variable | None = Field(
        default=None, description="The environment variable that holds the provider's key."
    )
    credential: list[str] = Field(
        default=[],
        description="Names of credentials, instead of `key_from`; the first that is meant for model and agent.",
    )
    first_byte: Duration = Field(default=timedelta(seconds=60), description="How long it may be silent at first.")
    between_bytes: Duration = Field(default=timedelta(seconds=60), description="How long it may be silent later.")
    max_tokens: Count = Field(default=4096, description="The most an answer may have where the agent sets no limit.")
    prices_of: str = Field(default="", description="Address of the provider whose list prices apply, if not its own.")
    proxy: str = Field(default="", description="Address of the proxy to go through.")
    ca_file: str = Field(default="", description="Certificates to trust instead of the usual ones.")


class BudgetTable(_Table):
    """A limit beside each session's own."""

    scope: str = Field(
        pattern=r"^(tenant|(agent|mandate):.+)$",
        description="`agent:NAME`, `mandate:NAME` (runs started under it) or `tenant`.",
    )
    period: Literal["total", "day"] = Field(default="total", description="`day` starts anew each UTC day.")
    tokens: Count | None = Field(default=None, description="Tokens read and written by models.")
    cost_usd: Dollars | None = Field(default=None, description="Price of model calls, in US dollars.")
    amount: Amount | None = Field(default=None, description="Money that tools move; no other currency is moved then.")
    calls: Count | None = Field(default=None, description="Actions, reads too.")
    alerts: list[Annotated[int, Field(ge=1, le=100)]] = Field(
        default=[], description="People are told when these percentages of a limit are used."
    )
    tell: str = Field(default="", description="The role whose mail box is told; webhooks always are.")
    tenant: Name | None = Field(default=None, description="Whose; every tenant's, each by itself, if none is named.")
    agents: list[Name] = Field(
        default=[], description="Of a mandate: agents elsewhere that may act under it by naming it."
    )
    allow: list[str] = Field(
        default=[],
        description="Of a mandate: what may be used under it, `mail.*`, `model:*`; all, if none are named.",
    )


class NotifyTable(_Table):
    """A way to tell people that something waits for them or that a budget runs low: a `webhook` or a `mail` server."""

    webhook: str = Field(default="", description="The address that takes the notices, signed as Standard Webhooks.")
    secret_from: Variable | None = Field(
        default=None, description="The environment variable that holds the webhook's secret."
    )
    mail: str = Field(default="", description="The mail server's host.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(default=587, description="The mail server's port.")
    tls: Literal["starttls", "tls", "none"] = Field(default="starttls", description="How the way to it is secured.")
    sender: str = Field(default="", description="The address that mails come from.")
    to: dict[str, list[str]] = Field(default={}, description="Mail addresses, by role.")
    user: str = Field(default="", description="Where the mail server asks for one.")
    password_from: Variable | None = Field(
        default=None, description="The environment variable that holds the mail server's password."
    )
    tenant: Name | None = Field(
        default=None, description="Of whose approvals and budgets; of `default`'s, if not given."
    )


class QueueTable(_Table):
    """Limits on the runs of an agent, or of a tenant: how many are advanced at once, begin, and wait to begin."""

    scope: str = Field(pattern=r"^(tenant|agent:.+)$", description="`agent:NAME` or `tenant`.")
    concurrency: Count | None = Field(
        default=None, description="Runs advanced at once; of an agent elsewhere, calls under way in this gate."
    )
    rate: Count | None = Field(default=None, description="Runs (of an agent elsewhere: calls) that may begin in `per`.")
    per: Duration = Field(default=timedelta(minutes=1), description="The stretch of time that `rate` is for.")
    waiting: Count | None = Field(default=None, description="Runs that may wait to begin; one more is refused.")
    priority: Annotated[int, Field(ge=1, le=9)] | None = Field(
        default=None, description="Of the agent's runs that are started without one: 1 goes first, 9 last."
    )
    tenant: Name | None = Field(default=None, description="Whose; every tenant's, each by itself, if none is named.")


class TenantTable(_Table):
    """Somebody who shares the gate, with a log, keys, stops and approvals of their own."""

    agents: list[str] = Field(default=[], description="Agents that it may run; all, if none are named.")
    limits: LimitsTable | None = Field(
        default=None, description="Of each of its runs, where they are tighter than the agent's own."
    )
    settings: dict[str, JsonValue] = Field(default={}, description="What its agents read of it with `run.settings`.")


class RetentionTable(_Table):
    """How long texts of runs that are over are kept; receipts stay."""

    keep: Duration = Field(description="For so long after the end of their run.")
    texts: Literal["all", "tool", "model", "memory", "decision", "delegation", "run", "people"] = Field(
        default="all",
        description="Of calls of tools, models, memory, of decisions and delegations; inputs, results and signals "
        "of runs; reasons of people; or all.",
    )
    agent: str = Field(default="", description="The agent whose runs; of every agent, if not given.")
    tenant: Name | None = Field(default=None, description="Whose; every tenant's, each by itself, if none is named.")


class TimesTable(_Table):
    """How long the gate is patient."""

    patience: Duration = Field(
        default=timedelta(seconds=20), description="How long a held call keeps its caller waiting."
    )
    idle: Duration = Field(default=timedelta(minutes=30), description="After which an unused session is closed.")
    retry_window: Duration = Field(
        default=timedelta(minutes=10),
        description="How long an answer that nobody confirmed is given to the same call again.",
    )
    drain: Duration = Field(
        default=timedelta(seconds=10), description="How long calls and streams under way may go on after SIGTERM."
    )
    lease: Duration = Field(
        default=timedelta(seconds=10),
        description="How long other gates of a shared store wait for this one, once it is silent, to take its runs.",
    )


class EngineTable(_Table):
    """What has runs advanced: the store itself, or a Temporal server that many gates share."""

    kind: Literal["store", "temporal"] = Field(default="store", description="All other keys are for `temporal`.")
    address: str = Field(default="127.0.0.1:7233", pattern=r"^[^/:]+:\d+$", description="`host:port` of its front end.")
    namespace: str = Field(default="default", description="Its name for what belongs together.")
    queue: str = Field(default="answerable", description="What workers take their work from; one for each store.")
    tls: bool = Field(default=False, description="Speak TLS to it; implied by the files below.")
    api_key_from: Variable | None = Field(default=None, description="The environment variable that holds the API key.")
    ca_file: Path | None = Field(
        default=None, strict=False, description="Certificates to trust instead of the usual ones."
    )
    certificate_file: Path | None = Field(default=None, strict=False, description="This gate's certificate.")
    key_file: Path | None = Field(default=None, strict=False, description="The private key of that certificate.")
    heartbeat: Duration = Field(
        default=timedelta(seconds=5),
        description="After which silence a gate counts as dead, and its runs go to others.",
    )


class Config(_Table):
    """`answerable.toml`. Paths are relative to the file."""

    data: Path = Field(default=Path(".answerable/data"), strict=False, description="The data directory.")
    store: str = Field(
        default="",
        pattern=r"^(postgres(ql)?://\S+)?$",
        description="`postgresql://…`, a database that gates may share; empty for a file in the data directory.",
    )
    policy: Path = Field(default=Path("policy"), strict=False, description="The folder of policies.")
    specs: Path | None = Field(default=None, strict=False, description="A folder of specifications.")
    labels: Path | None = Field(
        default=None, strict=False, description="A TOML file of sources, sinks and personal data, by tool."
    )
    app: str | None = Field(
        default=None,
        pattern=r"^[\w.]+(:\w+)?$",
        description="`module:attribute`, a Python application that this adds to.",
    )
    host: str = Field(default="127.0.0.1", description="The address to listen at.")
    port: Annotated[int, Field(ge=0, le=65535)] = Field(default=8700, description="0 for any free one.")
    times: TimesTable = Field(default=TimesTable(), description="How long the gate is patient.")
    engine: EngineTable = Field(default=EngineTable(), description="What has runs advanced.")
    agents: Mapping[Name, AgentTable] = Field(default={}, description="Agents that exist elsewhere, by name.")
    credentials: Mapping[Name, CredentialTable] = Field(
        default={}, description="The gate's own credentials, by name; no secret stands here."
    )
    servers: Mapping[Name, ServerTable] = Field(default={}, description="MCP servers, by name.")
    tools: Mapping[str, ToolTable] = Field(default={}, description="What their tools do, by full name.")
    providers: Mapping[Name, ProviderTable] = Field(default={}, description="Providers of models, by name.")
    models: Mapping[str, list[str]] = Field(
        default={},
        description="Names of models, and the `provider:model` that serve each, in the order in which they are tried.",
    )
    budgets: list[BudgetTable] = Field(default=[], description="Limits of agents, mandates and the whole tenant.")
    retention: list[RetentionTable] = Field(default=[], description="How long texts are kept once their run is over.")
    notify: list[NotifyTable] = Field(default=[], description="How people are told that something waits for them.")
    tenants: Mapping[Name, TenantTable] = Field(default={}, description="Who shares the gate, by name.")
    queues: list[QueueTable] = Field(default=[], description="How many runs are advanced, begin and wait.")
    environment: str = Field(
        default="",
        description="`development`, `staging` or `production`: agents, log and credentials belong there.",
    )
    page: str = Field(
        default="",
        pattern=r"^(https?://.+)?$",
        description="The address at which people reach this gate's page, for links in notices.",
    )
