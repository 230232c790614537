"""What belongs to one environment is not used in another."""

from collections.abc import Mapping
from dataclasses import dataclass

from answerable.core import ConfigError

__all__ = ["STATED", "EnvironmentCrossed", "check_variables"]

STATED = "ANSWERABLE_ENVIRONMENT"
"""The variable that says where those belong that it was set with: in a unit, a container, a file of secrets."""


@dataclass(eq=False, kw_only=True)
class EnvironmentCrossed(ConfigError):
    """Something of one environment was to be used in another."""

    code = "config.environment_crossed"
    what = "{thing} belongs to `{bound}`, and was to be used in `{environment}`"
    why = "environments are kept apart: what is tried in one must not act, or be believed, in another"
    fix = "give the gate what belongs to `{environment}`, or start it in `{bound}`"

    thing: str
    bound: str
    environment: str


def check_variables(started_with: Mapping[str, str], environment: str) -> str:
    """Where the variables of a process say that they belong; empty if they say nothing.

    Args:
        environment: the gate's; empty for one of none.

    Raises:
        EnvironmentCrossed: elsewhere than the gate.
    """
    stated = started_with.get(STATED, "").strip()
    if environment and stated not in ("", environment):
        thing = "what the gate was started with (its variables)"
        raise EnvironmentCrossed(thing=thing, bound=stated, environment=environment)
    return stated
