"""What can be wrong with `answerable.toml`."""

from dataclasses import dataclass

from answerable.core import ConfigError

__all__ = ["ConfigFileInvalid", "SecretMissing"]


@dataclass(eq=False, kw_only=True)
class ConfigFileInvalid(ConfigError):
    """A configuration file says something that the gate cannot take at its word."""

    code = "config.file_invalid"
    what = "`{file}` cannot be used: {problems}"
    why = "every key is checked before anything starts, because a misspelt one would silently not hold"
    fix = "correct it; `docs/reference/configuration.md` lists every key"

    file: str
    problems: str


@dataclass(eq=False, kw_only=True)
class SecretMissing(ConfigError):
    """A configuration file names an environment variable that is not there."""

    code = "config.secret_missing"
    what = "`{file}` takes `{key}` from the environment variable `{variable}`, and it is not set"
    why = "credentials stand in the gate's environment, not in the file"
    fix = "set `{variable}` where the gate is started"

    file: str
    key: str
    variable: str
