"""How an MCP server is reached: as a process of ours, or at an address.

Source: Model Context Protocol, "Transports".
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

__all__ = ["Http", "Stdio", "Transport"]


class Transport(Protocol):
    """A way to a server."""

    @property
    def address(self) -> str:
        """What the operator wrote down for it."""

    def open(self, stderr: IO[bytes]) -> Any:
        """Its streams, as an async context; what a process says beside the protocol goes to `stderr`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stdio:
    """A process of ours that speaks on its standard streams."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path | None

    @property
    def address(self) -> str:
        return self.command[0]

    @asynccontextmanager
    async def open(self, stderr: IO[bytes]) -> AsyncIterator[Any]:
        from mcp import StdioServerParameters, stdio_client

        command, *args = self.command
        server = StdioServerParameters(command=command, args=args, env=dict(self.environment), cwd=self.directory)
        async with stdio_client(server, errlog=stderr) as streams:  # type: ignore[arg-type]
            yield streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """A server at a URL (streamable HTTP).

    Args:
        headers: sent with every request; the agent never sees them.
    """

    url: str
    headers: Mapping[str, str]

    @property
    def address(self) -> str:
        return self.url

    @asynccontextmanager
    async def open(self, stderr: IO[bytes]) -> AsyncIterator[Any]:
        from mcp.client.streamable_http import streamable_http_client
        from mcp.shared._httpx_utils import create_mcp_http_client

        async with (
            create_mcp_http_client(headers=dict(self.headers)) as client,
            streamable_http_client(self.url, http_client=client) as streams,
        ):
            yield streams
