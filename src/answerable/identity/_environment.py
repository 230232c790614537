"""What belongs to one environment is not used in another."""

from dataclasses import dataclass

from answerable.core import ConfigError

__all__ = ["EnvironmentCrossed"]


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
