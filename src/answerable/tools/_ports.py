"""What the toolbox needs from whoever carries a tool out."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from answerable.action import Finding
from answerable.core import Action, Description, Outcome
from answerable.tools._declaration import ToolDeclaration

__all__ = ["Answer", "ListedTool", "RelayedServer", "Tool", "ToolServer"]


class Tool(Protocol):
    """One thing an agent may ask for."""

    name: str
    declaration: ToolDeclaration
    description: str
    schema: dict[str, Any]
    """JSON schema of the arguments an agent gives: without the idempotency key."""

    def describe(self, arguments: bytes) -> Description:
        """What this call is; raises `Refused` if the arguments do not fit."""

    async def execute(self, action: Action) -> Outcome:
        """Do it. `failed` means surely not done, `unknown` that it may have been."""

    async def probe(self, action: Action) -> Finding:
        """Whether a lost call happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTool:
    """A tool as its server lists it.

    Args:
        more: what else the server says of it, as on the wire: title, annotations, output schema.
    """

    name: str
    description: str
    schema: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a tool server answered to a call.

    Args:
        error: empty, or what kind of failure the server reports (`isError`, `JSON-RPC -32602`).
        structured: the structured result, None where there is none.
        texts: the text blocks, in order.
        blocks: the blocks that are not text, as JSON.
        content: all blocks in order, as JSON.
    """

    error: str = ""
    structured: dict[str, Any] | None = None
    texts: tuple[str, ...] = ()
    blocks: tuple[dict[str, Any], ...] = ()
    content: tuple[dict[str, Any], ...] = ()


class ToolServer(Protocol):
    """A process that serves tools."""

    name: str

    @property
    def is_connected(self) -> bool:
        """Whether a connection stands, as far as was noticed."""

    async def connect(self) -> tuple[ListedTool, ...]:
        """Its tools, over a connection that is kept.

        Raises:
            ToolServerUnavailable: it cannot be started, stays silent, or speaks something else.
        """

    async def call(self, tool: str, arguments: dict[str, Any], *, timeout: timedelta | None) -> Answer:
        """Its answer; reconnects first if the server has died since.

        Raises:
            ToolServerUnavailable: nothing was sent.
            ToolChanged: the server came back with another schema; nothing was sent.
            ToolServerLost, ToolTimedOut, ToolResultInvalid: it was sent, and its fate is unknown.
        """

    async def close(self) -> None:
        """End the connection and the server."""


@runtime_checkable
class RelayedServer(Protocol):
    """A tool server that answers further methods of MCP: resources, prompts, completion."""

    name: str

    @property
    def offers(self) -> frozenset[str]:
        """The methods, once connected."""

    async def ask(self, method: str, params: dict[str, Any], *, timeout: timedelta | None = None) -> dict[str, Any]:
        """The answer, as on the wire.

        Raises:
            ToolFailed: the server's own answer, an error.
            ToolServerUnavailable, ToolServerLost, ToolTimedOut, ToolResultInvalid: as of a call.
        """
