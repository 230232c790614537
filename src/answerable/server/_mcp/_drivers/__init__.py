"""The one place that imports the protocol's package."""

from answerable.server._mcp._drivers._rules import (
    CAPABILITIES,
    HANDSHAKE,
    LOG_LEVEL,
    MODERN,
    SERVER_INFO,
    SUBSCRIPTION,
    check_envelope,
    check_parameters,
    status_of,
)

__all__ = [
    "CAPABILITIES",
    "HANDSHAKE",
    "LOG_LEVEL",
    "MODERN",
    "SERVER_INFO",
    "SUBSCRIPTION",
    "check_envelope",
    "check_parameters",
    "status_of",
]
