"""How others reach a running gate: the unix socket through which the command line writes."""

from answerable.server._control import ControlServer, Writes, control
from answerable.server._errors import GateSilent, NotYours

__all__ = ["ControlServer", "GateSilent", "NotYours", "Writes", "control"]
