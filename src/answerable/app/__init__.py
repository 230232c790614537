"""The composition root: the only place that knows every room."""

from answerable.app._app import Answerable
from answerable.app._checking import check_runs
from answerable.app._config import Config, ConfigFileInvalid, SecretMissing, config_schema, configured, read_config
from answerable.app._continuing import Continued, GapOnSharedRecord, NothingStandsStill, continue_log
from answerable.app._gate import Gate
from answerable.app._ledger import all_projections
from answerable.app._reaching import reaching_tools
from answerable.app._record import Desk, open_desk
from answerable.app._times import Times

__all__ = [
    "Answerable",
    "Config",
    "ConfigFileInvalid",
    "Continued",
    "Desk",
    "GapOnSharedRecord",
    "Gate",
    "NothingStandsStill",
    "SecretMissing",
    "Times",
    "all_projections",
    "check_runs",
    "config_schema",
    "configured",
    "continue_log",
    "open_desk",
    "reaching_tools",
    "read_config",
]
