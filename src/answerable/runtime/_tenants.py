"""Tenants: whoever shares a gate with others, and has agents, limits, settings and a log of their own."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from answerable.core import TenantId
from answerable.runtime._errors import TenantInvalid
from answerable.runtime._limits import Limits

__all__ = ["DEFAULT_TENANT", "Tenant"]

DEFAULT_TENANT = TenantId("default")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A tenant, as the application declares it.

    Args:
        name: letters, digits, `_` and `-`.
        agents: those that it may run; all, if none are named.
        limits: of each of its runs, where they are tighter than the agent's own.
        settings: what its agents read of it with `run.settings`: words of a prompt, a choice of tools. JSON.
        stored: the settings' name on the record.
    """

    name: str
    agents: tuple[str, ...] = ()
    limits: Limits | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    stored: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise TenantInvalid(tenant=self.name, problem="a name is of letters, digits, `_` and `-`")

    @property
    def id(self) -> TenantId:
        """Its id on the record."""
        return TenantId(self.name)

    def may_run(self, agent: str) -> bool:
        """Whether an agent is one of its own."""
        return not self.agents or agent in self.agents
