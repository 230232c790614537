"""What the runtime knows of an agent."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from answerable.core import AgentId, TenantId
from answerable.runtime._errors import AgentUnknown
from answerable.runtime._limits import Limits

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

    @property
    def agent_id(self) -> AgentId:
        """The id on its receipts."""
        return self.id or AgentId(self.name)

    @property
    def declared(self) -> dict[str, Any]:
        """What `run.open` says of it, beside its limits: the clauses that govern it, its groups."""
        said: dict[str, Any] = {"specs": self.specs, "groups": list(self.groups)}
        return {name: value for name, value in said.items() if value}


class Agents:
    """The agents of this process, by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, AgentSpec] = {}

    def add(self, spec: AgentSpec) -> None:
        """Register an agent; a second one of the same name replaces it."""
        self._by_name[spec.name] = spec

    def get(self, name: str) -> AgentSpec:
        """The agent of this name.

        Raises:
            AgentUnknown: there is none.
        """
        spec = self._by_name.get(name)
        if spec is None:
            raise AgentUnknown(agent=name, known=", ".join(sorted(self._by_name)) or "none")
        return spec

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Any:
        return iter(self._by_name.values())
