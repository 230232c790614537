"""What the relay and the wire's two ways to talk know of each other, in JSON as it goes over the wire."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["INTERNAL", "INVALID_PARAMS", "METHOD_NOT_FOUND", "Asked", "RpcFailed", "Voice"]

METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL = -32601, -32602, -32603


class RpcFailed(Exception):
    """The request is answered with a JSON-RPC error. Control flow between relay and wire."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def to_json(self) -> dict[str, Any]:
        """The error, as it goes over the wire."""
        said = {"code": self.code, "message": self.message}
        return said if self.data is None else {**said, "data": self.data}


class Voice(Protocol):
    """How a server may speak to a client before it has answered its request."""

    def note(self, method: str, params: Mapping[str, Any]) -> None:
        """Tell the client something, if it wants to hear it."""

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Put a question to the client, and wait for its answer.

        Raises:
            NobodyAsked: it cannot be asked, or does not answer.
        """

    def prime(self, retry_ms: int | None) -> None:
        """Begin a stream that its reader can come back to."""

    def pause(self) -> None:
        """Hang up on the reader; it comes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request.

    Args:
        params: `params` as sent.
        headers: of the HTTP request, names in lower case.
        agent: whose key it carries.
        is_modern: it stands by itself (2026-07-28), and knows `input_required`.
        capabilities: what the client can be asked.
        voice: how to speak to the client meanwhile.
        on_delivered: callbacks for when the whole answer was written to a client that was still there.
        told: headers for the answer: its session and its receipt.
    """

    method: str
    params: Mapping[str, Any]
    headers: Mapping[str, str]
    agent: str
    is_modern: bool
    capabilities: Mapping[str, Any]
    voice: Voice
    on_delivered: list[Callable[[], None]] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)

    @property
    def meta(self) -> Mapping[str, Any]:
        """The request's `_meta`."""
        said = self.params.get("_meta")
        return said if isinstance(said, dict) else {}
