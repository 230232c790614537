"""A gate, its agents and its log belong to one environment, and crossing is refused on the record."""

from collections.abc import Sequence
from dataclasses import dataclass

from answerable.core import ConfigError, TenantId
from answerable.identity import AgentDeclaration
from answerable.ledger import Draft, Ledger, control_run

__all__ = ["EnvironmentCrossed", "bind_log", "check_agents"]


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


async def bind_log(ledger: Ledger, environment: str, *, tenant: TenantId) -> None:
    """Have the log belong to an environment from now on; refuse, on the record, one that belongs to another.

    Raises:
        EnvironmentCrossed: it does. Nothing but that refusal was written.
    """
    bound = next(
        (
            str(control["environment"])
            for receipt in ledger.reader.receipts(run=control_run(tenant))
            if (control := receipt.predicate.get("control", {})).get("do") == "environment" and "refused" not in control
        ),
        "",
    )
    if bound == environment:
        return
    control = {"do": "environment", "environment": environment or "none", **({"refused": True} if bound else {})}
    await ledger.append(
        Draft(tenant=tenant, run=control_run(tenant), phase="control", agent="", members={"control": control})
    )
    if bound:
        raise EnvironmentCrossed(thing="the log", bound=bound, environment=environment or "none")
