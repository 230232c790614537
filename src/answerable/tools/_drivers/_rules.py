"""The protocol's own words and rules for headers, from the official package.

Source: Model Context Protocol 2026-07-28, "Streamable HTTP: request headers"; 2025-11-25, "Versioning".
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

import mcp_types
from mcp.shared import inbound
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

__all__ = [
    "HANDSHAKE",
    "MODERN",
    "envelope",
    "parameter_headers",
    "parameters_in_headers",
    "routing_headers",
    "us",
]

HANDSHAKE = tuple(HANDSHAKE_PROTOCOL_VERSIONS)
MODERN = tuple(MODERN_PROTOCOL_VERSIONS)


def envelope(revision: str, capabilities: Mapping[str, Any], us: Mapping[str, str]) -> dict[str, Any]:
    """What each request of 2026-07-28 says of its client."""
    return {
        mcp_types.PROTOCOL_VERSION_META_KEY: revision,
        mcp_types.CLIENT_INFO_META_KEY: dict(us),
        mcp_types.CLIENT_CAPABILITIES_META_KEY: dict(capabilities),
    }


def routing_headers(revision: str, method: str, params: Mapping[str, Any]) -> dict[str, str]:
    """The headers that repeat what stands in a message."""
    headers = {inbound.MCP_PROTOCOL_VERSION_HEADER: revision}
    if revision in MODERN and method:
        headers[inbound.MCP_METHOD_HEADER] = method
        named = params.get(inbound.NAME_BEARING_METHODS.get(method, ""))
        if isinstance(named, str):
            headers[inbound.MCP_NAME_HEADER] = inbound.encode_header_value(named)
    return headers


def parameters_in_headers(schema: Mapping[str, Any]) -> dict[tuple[str, ...], str]:
    """Which arguments of a tool are repeated in headers, by its schema."""
    return {} if inbound.find_invalid_x_mcp_header(schema) else inbound.x_mcp_header_map(schema)


def parameter_headers(declared: Mapping[tuple[str, ...], str], arguments: Mapping[str, Any]) -> dict[str, str]:
    """The headers that repeat arguments."""
    return inbound.mcp_param_headers(declared, arguments) if declared else {}


@cache
def us() -> dict[str, str]:
    """Who the gate says it is."""
    return {"name": "answerable", "version": version("answerable")}
