"""`answerable.toml`: what a gate serves, written down without any Python."""

from answerable.app._config._build import configured
from answerable.app._config._errors import ConfigFileInvalid, SecretMissing
from answerable.app._config._file import Config
from answerable.app._config._read import config_schema, parse_config, read_config

__all__ = [
    "Config",
    "ConfigFileInvalid",
    "SecretMissing",
    "config_schema",
    "configured",
    "parse_config",
    "read_config",
]
