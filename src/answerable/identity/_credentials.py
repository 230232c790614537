"""The gate's credentials toward tool servers and providers of models: for whom, for what, for how long.

The gate puts them on a request as it leaves. The agent, the model, the log and the record never have them.
A credential is used as it is kept, or buys a token that lives for minutes.
"""

import asyncio
import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from answerable.core import Clock, ConfigError, Refused, SystemClock, Transient
from answerable.identity._drivers import TokenEndpoint
from answerable.identity._environment import STATED, EnvironmentCrossed, check_variables
from answerable.identity._vault import CredentialMissing, CredentialVault, EnvironmentVault

__all__ = [
    "Caller",
    "Credential",
    "CredentialInvalid",
    "CredentialOutOfScope",
    "Credentials",
    "Grant",
    "Grants",
    "TokenNotIssued",
]

Kind = Literal["bearer", "header", "client-credentials", "token-exchange"]
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name, RFC 8693 §3
_USUAL_LIFE_S = 300.0
_EARLY_S = 30.0


@dataclass(eq=False, kw_only=True)
class CredentialInvalid(ConfigError):
    """A credential is declared in a way that cannot work."""

    code = "config.credential_invalid"
    what = "the credential `{credential}` cannot be used: {problem}"
    why = "a request with half a credential would be refused, or made in somebody else's name"
    fix = "`docs/guides/credentials.md` shows what each kind needs"

    credential: str
    problem: str


@dataclass(eq=False, kw_only=True)
class CredentialOutOfScope(Refused):
    """No credential is meant for this agent and tool."""

    code = "refused.credential_out_of_scope"
    what = "no credential is meant for `{tool}` called by `{agent}`"
    why = "each credential names the tools, agents, groups and environment that it is for, and none of these fits"
    fix = "widen `tools`, `agents`, `groups` or `environment` of a credential of this server, if they are to have it"

    tool: str
    agent: str


@dataclass(eq=False, kw_only=True)
class TokenNotIssued(Transient):
    """An authorization server gave no token, so nothing was asked in its name."""

    code = "execution.token_not_issued"
    what = "no token for `{credential}`: {reason}"
    why = "the call needs a token that lives for minutes, and only this server mints it; nothing was sent"
    fix = (
        "look at the authorization server; if it no longer knows the secret, `answerable credentials set {credential}`"
    )

    credential: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a credential is, without its secret.

    Args:
        kind: `bearer` and `header` are sent as they are kept; `client-credentials` and `token-exchange` (whose secret
            is the subject token) buy a token.
        header: of kind `header`, the one that holds it.
        variable: the environment variable that holds it; the vault does where this is empty.
        token_url, client_id, scope, audience, resource: what the authorization server is asked for.
        client_secret: of `token-exchange`, the credential with the client's secret; public where this is empty.
        tools: tools (`shop.refund`) and models (`openai:gpt-5`) it is for, `*` standing for any text.
        agents: agents it is for, in the same way.
        groups: of agents, in one of which the caller must be; empty for any.
        environment: whose agents it is for, and where a secret in a variable belongs; empty for any.
    """

    name: str
    kind: Kind = "bearer"
    header: str = ""
    variable: str = ""
    token_url: str = ""
    client_id: str = ""
    client_secret: str = ""
    scope: str = ""
    audience: str = ""
    resource: str = ""
    tools: tuple[str, ...] = ("*",)
    agents: tuple[str, ...] = ("*",)
    groups: tuple[str, ...] = ()
    environment: str = ""

    @property
    def is_minted(self) -> bool:
        """Whether it buys tokens."""
        return self.kind in ("client-credentials", "token-exchange")

    def is_for(self, caller: "Caller", groups: Collection[str]) -> bool:
        """Whether it may be used for this caller, who is in these groups."""
        if self.environment and self.environment != caller.environment:
            return False
        if not caller.tool:
            return True
        is_in = not self.groups or not set(self.groups).isdisjoint(groups)
        return is_in and _fits(caller.tool, self.tools) and _fits(caller.agent, self.agents)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """For whom a credential is asked.

    Args:
        tool: the full name of the tool or model that is called; empty for what the gate asks on its own account.
        environment: of the agent; on the gate's own account, the gate's.
    """

    tool: str = ""
    agent: str = ""
    environment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What goes on a request. Its values are secret.

    Args:
        headers: to send.
        token: the secret itself, for those who put it elsewhere.
        is_minted: a refused one may be replaced by a new one.
    """

    headers: Mapping[str, str] = field(repr=False)
    token: str = field(repr=False)
    is_minted: bool = False


class Minter(Protocol):
    """Asks an authorization server. Any `OSError` means that there is no token."""

    async def ask(self, url: str, form: Mapping[str, str], *, client: str = "", secret: str = "") -> dict[str, Any]:
        """Its answer, an object with `access_token`."""


@dataclass(slots=True)
class _Token:
    """A token that was bought: `until` on the monotonic clock; nobody but the one who holds the lock buys another."""

    text: str = ""
    bought_with: str = ""
    until_s: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Credentials:
    """All credentials of a gate."""

    def __init__(self, *, minter: Minter | None = None, clock: Clock | None = None) -> None:
        self._known: dict[str, Credential] = {}
        self._minter = minter or TokenEndpoint()
        self._clock = clock or SystemClock()
        self._vault: CredentialVault | None = None
        self._variables: CredentialVault | None = None
        self._environment = ""
        self._groups: Mapping[str, Collection[str]] = {}
        self._tokens: dict[str, _Token] = {}
        self._wanted: set[str] = set()

    def add(self, credential: Credential) -> None:
        """Declare a credential.

        Raises:
            CredentialInvalid: its name is taken, or it lacks what its kind needs.
        """
        problem = ""
        if credential.name in self._known:
            problem = "there is one of this name already"
        elif credential.kind == "header" and not credential.header:
            problem = "`header` is missing: which one holds it?"
        elif credential.is_minted and not credential.token_url.startswith(("https://", "http://")):
            problem = "`token_url` is missing, or no http address"
        elif credential.kind == "client-credentials" and not credential.client_id:
            problem = "`client_id` is missing"
        if problem:
            raise CredentialInvalid(credential=credential.name, problem=problem)
        self._known[credential.name] = credential

    def names(self) -> tuple[str, ...]:
        """The credentials declared, sorted."""
        return tuple(sorted(self._known))

    def open(
        self,
        vault: CredentialVault,
        started_with: Mapping[str, str],
        *,
        environment: str = "",
        groups: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """Take secrets from here on from these; each credential that something here may use must be there.

        Args:
            started_with: the variables of the process; `ANSWERABLE_ENVIRONMENT` says where they belong.
            environment: where the gate belongs; empty for one whose agents say so each for itself.
            groups: of agents, by their id.

        Raises:
            CredentialMissing, CredentialInvalid: one is not there, was never declared, or is in a variable of which
                nothing says that it belongs where the gate does.
            EnvironmentCrossed: a secret, or all variables of the process, belong to another environment.
        """
        stated = check_variables(started_with, environment)
        self._vault = vault
        # SECURITY: what they say of themselves counts before what a file says that they are.
        variables = {
            each.name: (each.variable, stated or each.environment) for each in self._known.values() if each.variable
        }
        self._variables = EnvironmentVault(started_with, variables)
        self._environment, self._groups = environment, groups or {}
        self._tokens.clear()
        for name in sorted(self._wanted):
            credential = self._known.get(name)
            if credential is None:
                raise CredentialInvalid(credential=name, problem="it is a `client_secret`, and not declared")
            if environment and credential.environment in ("", environment):
                if credential.variable and not (stated or credential.environment):
                    problem = f"nothing says that `{credential.variable}` belongs to `{environment}`: declare its "
                    problem += f"`environment`, or start the gate with `{STATED}={environment}`"
                    raise CredentialInvalid(credential=name, problem=problem)
                self._secret(credential, environment)
            elif not environment:
                self._place_of(credential).find(name)  # for whom it is used is seen when it is

    def grants(self, names: Sequence[str]) -> "Grants":
        """What a server or provider that is reached with these credentials asks for; the first that fits is used.

        Raises:
            CredentialInvalid: one is not declared.
        """
        for name in names:
            if name not in self._known:
                raise CredentialInvalid(credential=name, problem="it is not declared")
            self._wanted.update(each for each in (name, self._known[name].client_secret) if each)
        return Grants(self, tuple(names))

    async def grant(self, names: Sequence[str], caller: Caller, *, is_again: bool) -> Grant:
        """See `Grants.grant`."""
        if not caller.tool:
            caller = replace(caller, environment=self._environment)
        groups = self._groups.get(caller.agent, ())
        found = next((self._known[name] for name in names if self._known[name].is_for(caller, groups)), None)
        if found is None:
            raise CredentialOutOfScope(tool=caller.tool or "tools/list", agent=caller.agent or "the gate itself")
        if found.is_minted:
            token = await self._minted(found, caller.environment, is_again=is_again)
        else:
            token = self._secret(found, caller.environment)
        headers = {found.header.lower(): token} if found.kind == "header" else {"authorization": f"Bearer {token}"}
        return Grant(headers=headers, token=token, is_minted=found.is_minted)

    def _place_of(self, credential: Credential) -> CredentialVault:
        place = self._variables if credential.variable else self._vault
        if place is None:
            raise CredentialMissing(credential=credential.name, place="there before the gate is open")
        return place

    def _secret(self, credential: Credential, environment: str) -> str:
        """Its secret, to be used in an environment.

        SECURITY: a gate of an environment uses no secret that does not say that it belongs there; a gate of none uses
        what belongs nowhere for all its agents, and the rest for those of its environment only.
        """
        kept = self._place_of(credential).find(credential.name)
        if kept.environment != environment and (kept.environment or self._environment):
            raise EnvironmentCrossed(
                thing=f"the credential `{credential.name}`",
                bound=kept.environment or "none",
                environment=environment or "none",
            )
        return kept.text

    async def _minted(self, credential: Credential, environment: str, *, is_again: bool) -> str:
        kept = self._tokens.setdefault(credential.name, _Token())
        refused = kept.text if is_again else ""
        async with kept.lock:
            secret = self._secret(credential, environment)  # one that was removed buys nothing, nor do its tokens count
            is_live = kept.bought_with == secret and self._clock.monotonic_s() < kept.until_s
            if is_live and kept.text != refused:  # somebody else may have bought a new one meanwhile
                return kept.text
            said = await self._bought(credential, secret, environment)
            life_s = said.get("expires_in", _USUAL_LIFE_S)
            life_s = float(life_s) if isinstance(life_s, int | float) and life_s > 0 else _USUAL_LIFE_S
            kept.text, kept.bought_with = said["access_token"], secret
            kept.until_s = self._clock.monotonic_s() + max(life_s - _EARLY_S, life_s / 2)
            return kept.text

    async def _bought(self, credential: Credential, secret: str, environment: str) -> dict[str, Any]:
        asked = {name: getattr(credential, name) for name in ("scope", "audience", "resource")}
        form = {name: said for name, said in asked.items() if said}
        if credential.kind == "client-credentials":
            form["grant_type"] = "client_credentials"
        else:
            form |= {"grant_type": _EXCHANGE, "subject_token": secret, "subject_token_type": _ACCESS_TOKEN}
            client = credential.client_secret
            secret = self._secret(self._known[client], environment) if client else ""
        try:
            return await self._minter.ask(credential.token_url, form, client=credential.client_id, secret=secret)
        except OSError as error:
            raise TokenNotIssued(credential=credential.name, reason=str(error)) from None


@dataclass(frozen=True, slots=True)
class Grants:
    """The credentials of one server or provider."""

    _of: Credentials
    _names: tuple[str, ...]

    async def grant(self, caller: Caller, *, is_again: bool = False) -> Grant:
        """What goes on a request for this caller.

        Args:
            is_again: the last one was refused: a token is bought anew.

        Raises:
            CredentialOutOfScope: none is meant for them.
            EnvironmentCrossed: its secret belongs to another environment. Nothing was sent then.
            CredentialMissing, VaultDamaged, TokenNotIssued: there is none. Nothing was sent then.
        """
        return await self._of.grant(self._names, caller, is_again=is_again)


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
