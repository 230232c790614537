"""The protocol's words and its rules for headers, from the official package; pure functions, no transport.

Source: Model Context Protocol 2026-07-28, "Streamable HTTP: request headers", "Error handling".
"""

from collections.abc import Mapping
from typing import Any

import mcp_types
from mcp.shared import inbound
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from answerable.server._mcp._ports import RpcFailed

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

HANDSHAKE = tuple(HANDSHAKE_PROTOCOL_VERSIONS)
MODERN = tuple(MODERN_PROTOCOL_VERSIONS)
CAPABILITIES = mcp_types.CLIENT_CAPABILITIES_META_KEY
LOG_LEVEL = mcp_types.LOG_LEVEL_META_KEY
SERVER_INFO = mcp_types.SERVER_INFO_META_KEY
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


def check_envelope(message: Mapping[str, Any], headers: Mapping[str, str], raw: Any) -> None:
    """Hold a request of 2026-07-28 to what its headers and its `_meta` must say.

    Args:
        raw: the header lines as they came, in which a name may stand twice.

    Raises:
        RpcFailed: they do not agree, or name a revision that is not served.
    """
    lines = ((name.decode("latin-1"), said.decode("latin-1")) for name, said in raw)
    if (twice := inbound.find_duplicated_routing_header(lines)) is not None:
        raise RpcFailed(mcp_types.HEADER_MISMATCH, f"header {twice} stands there twice")
    found = inbound.classify_inbound_request(message, headers=headers)
    if isinstance(found, inbound.InboundLadderRejection):
        raise RpcFailed(found.code, found.message, found.data)


def check_parameters(schema: Mapping[str, Any], arguments: Any, headers: Mapping[str, str]) -> None:
    """Hold the headers that repeat a tool's arguments to the arguments.

    Raises:
        RpcFailed: they do not agree.
    """
    if isinstance(arguments, Mapping):
        found = inbound.validate_mcp_param_headers(schema, arguments, headers)
        if found is not None:
            raise RpcFailed(found.code, found.message, found.data)


def status_of(code: int) -> int:
    """The HTTP status of an answer of 2026-07-28 that is this error."""
    return inbound.ERROR_CODE_HTTP_STATUS.get(code, 200)
