"""What the wire's driver needs from the relay, in JSON as it goes over the wire."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Asked", "Relay", "RpcFailed"]


class RpcFailed(Exception):
    """The request is answered with a JSON-RPC error. Control flow between relay and driver."""

    def __init__(self, code: int, message: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request.

    Args:
        params: `params` as sent, with a verified `requestState` in the clear.
        headers: of the HTTP request, names in lower case.
        may_need_input: the client's protocol knows `input_required` (2026-07-28).
        can_elicit: the client can put a question to its user.
        on_delivered: callbacks for when the whole answer was written to a client that was still there.
        told: headers for the answer: its session and its receipt.
    """

    method: str
    params: Mapping[str, Any]
    headers: Mapping[str, str]
    may_need_input: bool = False
    can_elicit: bool = False
    on_delivered: list[Callable[[], None]] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)

    @property
    def meta(self) -> Mapping[str, Any]:
        """The request's `_meta`."""
        return self.params.get("_meta") or {}


class Relay(Protocol):
    """Whoever answers requests."""

    @property
    def methods(self) -> frozenset[str]:
        """The methods it answers; initialization, discovery and ping are the driver's."""

    def schema(self, name: str) -> dict[str, Any] | None:
        """The argument schema of a tool by the name its clients know; None where there is none."""

    async def answer(self, asked: Asked) -> dict[str, Any]:
        """The result.

        Raises:
            RpcFailed: the answer is an error.
        """
