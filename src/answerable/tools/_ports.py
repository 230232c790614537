"""What the toolbox needs from whoever carries a tool out."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from answerable.action import Finding
from answerable.core import Action, Description, Outcome
from answerable.identity import Caller
from answerable.tools._declaration import ToolDeclaration

__all__ = [
    "CALLER",
    "Answer",
    "ClientSaid",
    "ListedTool",
    "NobodyAsked",
    "Peer",
    "RelayedServer",
    "ServerFace",
    "Tool",
    "ToolServer",
    "calling",
]


class NobodyAsked(Exception):
    """A server's question will not be answered. Control flow between a call's client and its server's driver."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSaid:
    """What a client says of itself with a call.

    Args:
        is_modern: it speaks a revision without handshake (2026-07-28).
        meta: the request's `_meta`, without what is the gate's own.
        capabilities: what the client can be asked.
        inputs: what it answered before it was asked.
    """

    is_modern: bool
    meta: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)


class Peer(Protocol):
    """The client that a call came from, as far as the call's server may speak to it meanwhile."""

    @property
    def said(self) -> ClientSaid:
        """What it says of itself."""

    def told(self, method: str, params: dict[str, Any]) -> None:
        """The server notes something: progress, a line of its log."""

    async def answers(self, questions: Mapping[str, Any]) -> dict[str, Any]:
        """The client's answers, under the names of the questions.

        Raises:
            NobodyAsked: it cannot be asked this, or did not answer.
        """

    def streams(self, retry_ms: int | None) -> None:
        """The server answers with a stream, and wants its reader back after so long if it breaks."""

    def pauses(self) -> None:
        """The server hung up before it answered, and will answer whoever comes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFace:
    """How a server presents itself, as on the wire.

    Args:
        streams: it answers with streams that their readers can come back to.
        retry_ms: after so long.
    """

    info: dict[str, Any] = field(default_factory=dict)
    capabilities: dict[str, Any] = field(default_factory=dict)
    instructions: str = ""
    streams: bool = False
    retry_ms: int | None = None


CALLER: ContextVar[Caller] = ContextVar("CALLER", default=Caller())  # noqa: B039 - it is frozen
"""For whom a credential is asked: the tool that is called, and the agent that calls it."""


@contextmanager
def calling(tool: str, action: Action) -> Iterator[None]:
    """For this block, requests to servers are for this action, under the tool's full name."""
    token = CALLER.set(Caller(tool=tool, agent=action.agent, environment=action.environment))
    try:
        yield
    finally:
        CALLER.reset(token)


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
        whole: all of it, as on the wire; None where a server is not reached by MCP.
    """

    error: str = ""
    structured: dict[str, Any] | None = None
    texts: tuple[str, ...] = ()
    blocks: tuple[dict[str, Any], ...] = ()
    content: tuple[dict[str, Any], ...] = ()
    whole: dict[str, Any] | None = None


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

    async def call(
        self, tool: str, arguments: dict[str, Any], *, timeout: timedelta | None, peer: Peer | None = None
    ) -> Answer:
        """Its answer; reconnects first if the server has died since.

        Args:
            peer: whom the server may speak to meanwhile.

        Raises:
            ToolServerUnavailable: nothing was sent.
            ToolChanged: the server came back with another schema; nothing was sent.
            ToolServerLost, ToolTimedOut, ToolResultInvalid: it was sent, and its fate is unknown.
        """

    async def close(self) -> None:
        """End the connection and the server."""


@runtime_checkable
class RelayedServer(Protocol):
    """A tool server that speaks all of MCP: resources, prompts, completion, changes."""

    name: str

    @property
    def offers(self) -> frozenset[str]:
        """The methods beside tool calls, once connected."""

    async def face(self, *, is_modern: bool) -> ServerFace:
        """How it presents itself to clients of that kind.

        Raises:
            ToolServerUnavailable: it cannot be reached.
        """

    async def ask(
        self, method: str, params: dict[str, Any], *, timeout: timedelta | None = None, peer: Peer | None = None
    ) -> dict[str, Any]:
        """The answer, as on the wire.

        Raises:
            ToolFailed: the server's own answer, an error.
            ToolServerUnavailable, ToolServerLost, ToolTimedOut, ToolResultInvalid: as of a call.
        """

    async def follow(self, uri: str, *, is_wanted: bool) -> None:
        """Ask for news of a resource, or no more.

        Raises:
            ToolFailed, ToolServerUnavailable, ToolServerLost, ToolTimedOut: as of a question.
        """

    async def log(self, level: str) -> None:
        """Have a server of the handshake era write its log from this level on."""

    def listen(self, heard: Callable[[str, dict[str, Any]], None]) -> None:
        """Tell of what the server says by itself: changes of its lists and resources, lines of its log."""
