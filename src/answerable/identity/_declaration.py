"""What an agent's people declare of it. In production nothing may be left out."""

from dataclasses import dataclass

from answerable.core import AgentId, ConfigError

__all__ = ["PRODUCTION", "AgentDeclaration", "AgentUndeclared", "check_may_start"]

PRODUCTION = "production"


@dataclass(eq=False, kw_only=True)
class AgentUndeclared(ConfigError):
    """An agent may not act in production, because nobody answers for it yet."""

    code = "config.agent_undeclared"
    what = "agent `{agent}` may not start in `{environment}`: it has no {missing}"
    why = "in production no agent acts without an owner, bounds, a stop and someone to turn to"
    fix = "declare what is missing where the agent is defined, or start it in another environment"

    agent: str
    environment: str
    missing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentDeclaration:
    """Who answers for an agent and what holds it.

    Args:
        environment: `development`, `staging`, `production`.
        owner: the person or organisation that is liable for what it does, as `type:id`.
        is_bounded: it runs under limits on steps, time, tokens or money.
        stop: who may stop it, a role (`ops-on-call`).
        escalation: whom it turns to when it cannot go on, a role or an address.
        build: digest of its code; empty when unknown.
        autonomy: the tier that it begins at, `draft`, `approve` or `execute`; empty for `execute`.
    """

    id: AgentId
    environment: str
    owner: str = ""
    is_bounded: bool = False
    stop: str = ""
    escalation: str = ""
    build: str = ""
    autonomy: str = ""


def check_may_start(declaration: AgentDeclaration) -> None:
    """Nothing, if the agent may start in its environment.

    Raises:
        AgentUndeclared: it is to act in production and something is not declared.
    """
    # SECURITY: a blank declares nothing, and `Production` is production.
    if declaration.environment.strip().lower() != PRODUCTION:
        return
    declared = {
        "liable owner": declaration.owner.strip(),
        "bounds": declaration.is_bounded,
        "stop": declaration.stop.strip(),
        "escalation path": declaration.escalation.strip(),
    }
    if missing := [name for name, value in declared.items() if not value]:
        raise AgentUndeclared(agent=declaration.id, environment=declaration.environment, missing=", no ".join(missing))
