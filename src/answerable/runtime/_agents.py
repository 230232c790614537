"""What the runtime knows of an agent."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from answerable.core import AgentId, TenantId
from answerable.runtime._errors import AgentUnknown, TenantUnknown
from answerable.runtime._limits import Limits
from answerable.runtime._tenants import Tenant

__all__ = ["AgentSpec", "Agents", "OnChange"]

OnChange = Literal["continue", "pin", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """An agent: an async function `agent(run, input)` and what was declared of it.

    Args:
        name: its name here; also its id on receipts unless `id` gives another.
        environment: `development`, `production` …; policy sees it.
        owner: who is liable for it.
        escalation: the role that `run.escalate` turns to by default.
        model: the model that `run.model` asks by default.
        build: digest of the agent's code; empty when unknown.
        own_tools: of an agent elsewhere, the tools that it runs itself, outside the gate; `*` for any.
        on_change: what becomes of a run that another build of this agent began: it goes on (`continue`), is left to
            a worker with that build (`pin`), or ends with `BuildChanged` (`fail`).
        specs: clause ids that govern it, with the digest of their text.
        groups: of agents that it belongs to; policy may permit something to a group.
        settings: of its tenant, by their name on the record.
        mandate: of an agent elsewhere, the one that all its sessions are under; without, those that it names and has.
    """

    name: str
    fn: Callable[..., Awaitable[Any]]
    id: AgentId = AgentId("")
    limits: Limits = field(default_factory=Limits)
    environment: str = "development"
    owner: str = ""
    escalation: str = ""
    model: str = ""
    build: str = ""
    tenant: TenantId = TenantId("default")
    own_tools: tuple[str, ...] = ()
    specs: dict[str, str] = field(default_factory=dict)
    on_change: OnChange = "continue"
    groups: tuple[str, ...] = ()
    settings: str = ""
    mandate: str = ""

    @property
    def agent_id(self) -> AgentId:
        """The id on its receipts."""
        return self.id or AgentId(self.name)

    @property
    def declared(self) -> dict[str, Any]:
        """What `run.open` says of it, beside its limits: the clauses that govern it, its groups."""
        said: dict[str, Any] = {"specs": self.specs, "groups": list(self.groups), "settings": self.settings}
        return {name: value for name, value in said.items() if value}


class Agents:
    """The agents of this process, by name."""

    def __init__(self, tenants: Iterable[Tenant] = ()) -> None:
        self._by_name: dict[str, AgentSpec] = {}
        self._tenants = {tenant.id: tenant for tenant in tenants}
        self._of_tenant: dict[tuple[str, TenantId], AgentSpec] = {}

    def add(self, spec: AgentSpec) -> None:
        """Register an agent; a second one of the same name replaces it."""
        self._by_name[spec.name] = spec
        self._of_tenant.clear()

    def get(self, name: str, tenant: str = "") -> AgentSpec:
        """The agent of this name, as it is for a tenant; without one, as it was declared.

        Raises:
            AgentUnknown: there is none, or the tenant has none.
            TenantUnknown: there is no such tenant.
        """
        spec = self._by_name.get(name)
        if spec is not None and tenant in ("", spec.tenant) and TenantId(tenant) not in self._tenants:
            return spec
        its = self._tenants.get(TenantId(tenant))
        if tenant and its is None and (spec is None or tenant != spec.tenant):
            raise TenantUnknown(tenant=tenant)
        if spec is None or (its is not None and not its.may_run(name)):
            known = sorted(each for each in self._by_name if its is None or its.may_run(each))
            raise AgentUnknown(agent=name, known=", ".join(known) or "none")
        assert its is not None
        found = self._of_tenant.get((name, its.id))
        if found is None:
            limits = spec.limits if its.limits is None else spec.limits.within(its.limits)
            found = replace(spec, tenant=its.id, limits=limits, settings=its.stored)
            self._of_tenant[name, its.id] = found
        return found

    @property
    def serves(self) -> str:
        """Builds of those that are pinned to theirs, and names of the others, `|` before and after each."""
        words = [each.build if each.on_change == "pin" else each.name for each in self._by_name.values()]
        return f"|{'|'.join(words)}|" if words else ""

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Any:
        return iter(self._by_name.values())
