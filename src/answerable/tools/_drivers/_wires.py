"""What carries JSON-RPC messages to a server and back; a process's pipes, or HTTP.

Source: Model Context Protocol, "Transports".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Protocol

__all__ = ["Heard", "Message", "NotSent", "Outgoing", "Wire", "WireLost"]

Message = dict[str, Any]
Heard = Callable[[Message, "Outgoing | None"], None]


class NotSent(Exception):
    """The message did not leave, or whoever got it surely did nothing with it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class WireLost(Exception):
    """The connection ended with the message out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message on its way.

    Args:
        headers: what HTTP says of it beside the message itself.
        on_stream: told when the answer comes as a stream: after how many milliseconds its reader should come back.
        on_pause: told when the server hung up before it answered, and wants its reader to come back.
    """

    message: Message
    headers: Mapping[str, str]
    on_stream: Callable[[int | None], None] | None = None
    on_pause: Callable[[], None] | None = None

    @property
    def number(self) -> int | str | None:
        """The request's id; None for what needs no answer."""
        return self.message.get("id") if "method" in self.message else None


class Wire(Protocol):
    """One way to one server."""

    keeps_sessions: bool
    """Whether a session of the handshake era needs a header, and a stream for what the server says by itself."""

    async def open(self, stderr: IO[bytes], heard: Heard, ended: Callable[[], None]) -> None:
        """Reach the server.

        Args:
            heard: gets every message, and the request it came in answer to, where that is known.
            ended: called when the server has gone.

        Raises:
            NotSent: it cannot be reached.
        """

    async def send(self, outgoing: Outgoing) -> None:
        """Send; where the answer comes back on the same way, until it is there.

        Raises:
            NotSent, WireLost: it did not leave, or nobody knows what became of it.
        """

    async def listen(self, headers: Mapping[str, str]) -> None:
        """Hear what the server says by itself, until it hangs up or the task is cancelled."""

    async def close(self, headers: Mapping[str, str]) -> None:
        """Hang up."""
