"""How others reach a running gate: agents elsewhere over HTTP, the command line over a unix socket."""

from answerable.server._control import ControlServer, Writes, control
from answerable.server._errors import (
    AgentNotServed,
    GateSilent,
    GateStopping,
    KeyCrossed,
    KeyMissing,
    KeyRefused,
    NotYours,
    OperatorNeeded,
    PasskeyRefused,
    PeerRefused,
    PersonKeyRefused,
    RequestMalformed,
    ToolNotSeen,
)
from answerable.server._loop import run_on_uvloop
from answerable.server._separate import NotSeparate, isolation_of, separate_socket
from answerable.server._serve import serve_gate
from answerable.server._witness import serve_witness

__all__ = [
    "AgentNotServed",
    "ControlServer",
    "GateSilent",
    "GateStopping",
    "KeyCrossed",
    "KeyMissing",
    "KeyRefused",
    "NotSeparate",
    "NotYours",
    "OperatorNeeded",
    "PasskeyRefused",
    "PeerRefused",
    "PersonKeyRefused",
    "RequestMalformed",
    "ToolNotSeen",
    "Writes",
    "control",
    "isolation_of",
    "run_on_uvloop",
    "separate_socket",
    "serve_gate",
    "serve_witness",
]
