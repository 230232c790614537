"""A gate, its agents and its log belong to one environment, and crossing is refused on the record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from answerable.core import ConfigError, TenantId
from answerable.identity import AgentDeclaration
from answerable.ledger import Draft, Ledger, Reader, control_run

__all__ = ["Crossings", "EnvironmentCrossed", "bind_log", "bound_environment", "check_agents"]

_MOST_STRANGERS = 100


@dataclass(eq=False, kw_only=True)
class EnvironmentCrossed(ConfigError):
    """Something of one environment was to be used in another."""

    code = "config.environment_crossed"
    what = "{thing} belongs to `{bound}`, and this gate to `{environment}`"
    why = "environments are kept apart: what is tried in one must not act, or be believed, in another"
    fix = "use what belongs to the gate's own environment, or start the gate in `{bound}`"

    thing: str
    bound: str
    environment: str


def check_agents(environment: str, agents: Sequence[AgentDeclaration]) -> None:
    """EnvironmentCrossed where an agent belongs elsewhere; a gate of no environment takes all."""
    for agent in agents:
        if environment and agent.environment != environment:
            raise EnvironmentCrossed(thing=f"agent `{agent.id}`", bound=agent.environment, environment=environment)


def bound_environment(reader: Reader, tenant: TenantId) -> str:
    """The environment that a log belongs to; empty where it belongs to none."""
    return next(
        (
            str(control["environment"])
            for receipt in reader.receipts(run=control_run(tenant))
            if (control := receipt.predicate.get("control", {})).get("do") == "environment" and "refused" not in control
        ),
        "",
    )


class Crossings:
    """Keys of one environment that were shown to a gate of another: each is written down.

    Args:
        environment: of the gate; empty where it has none of its own.
        of_agents: the agents' environments, by name.
    """

    def __init__(self, ledger: Ledger, environment: str, of_agents: Mapping[str, str]) -> None:
        self._ledger = ledger
        self._environment = environment
        self._of_agents = of_agents
        self._strangers: set[str] = set()

    def of(self, agent: str) -> str:
        """The environment that an agent acts in here; the gate's own, where it is unknown."""
        return self._of_agents.get(agent, self._environment)

    async def record(self, stated: str, *, key: str, agent: str, tenant: TenantId) -> None:
        """Write down that a key for another environment was refused.

        Args:
            key: its id; of one that is not in use here, its digest.
            agent: whose it is; empty where nobody knows.
        """
        if not agent:
            # SECURITY: anybody can send such a key, so it must not be a way to fill the disk.
            if key in self._strangers or len(self._strangers) >= _MOST_STRANGERS:
                return
            self._strangers.add(key)
        control = {"do": "environment", "environment": stated, "refused": True, "key": key}
        control.update({"agent": agent} if agent else {})
        await self._ledger.append(
            Draft(tenant=tenant, run=control_run(tenant), phase="control", agent="", members={"control": control})
        )


async def bind_log(ledger: Ledger, environment: str, *, tenant: TenantId) -> None:
    """Have the log belong to an environment from now on; refuse, on the record, one that belongs to another.

    Raises:
        EnvironmentCrossed: it does. Nothing but that refusal was written.
    """
    bound = bound_environment(ledger.reader, tenant)
    if bound == environment:
        return
    control = {"do": "environment", "environment": environment or "none", **({"refused": True} if bound else {})}
    await ledger.append(
        Draft(tenant=tenant, run=control_run(tenant), phase="control", agent="", members={"control": control})
    )
    if bound:
        raise EnvironmentCrossed(thing="the log", bound=bound, environment=environment or "none")
