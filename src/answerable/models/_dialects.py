"""What the wire's dialects have in common: a question, the answer's stream, and the check of tool calls."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from answerable.models._sse import SseItem

__all__ = ["Answer", "Asked", "Check", "Counted", "Dialect", "NotGoverned"]

Check = Callable[[str, bytes], Awaitable[str | None]]
"""From a tool's name and arguments (JSON) to what the agent is told instead of the call; None lets it pass."""

Counted = tuple[int, int]
"""Tokens read and written, as the provider counts them."""


class NotGoverned(ValueError):
    """The request asks for something that would happen where the gate cannot see it, or is malformed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, as the provider will get it.

    Args:
        body: its JSON, with the most it may write and the wish for usage put in.
        most_output: tokens it may write in all.
        streams: whether the answer is a stream.
        hides_usage: the agent did not ask for the usage, so it does not see it.
    """

    body: dict[str, Any]
    most_output: int
    streams: bool
    hides_usage: bool = False


class Answer(Protocol):
    """One answer on its way through."""

    @property
    def counted(self) -> Counted | None:
        """Usage, once the provider told it."""

    @property
    def is_whole(self) -> bool:
        """Whether the answer has come to its end."""

    @property
    def model(self) -> str:
        """The model as the provider names it."""

    async def event(self, event: SseItem) -> bytes:
        """What the agent gets for this event: its bytes, nothing yet, or something else.

        Raises:
            ValueError: it is not of this dialect.
        """

    async def body(self, body: bytes) -> bytes:
        """What the agent gets for a whole answer; the same bytes if nothing in it is refused.

        Raises:
            ValueError: it is not of this dialect.
        """


class Dialect(Protocol):
    """One provider API."""

    path: str

    def asked(self, body: Any, *, model: str, most_output: int) -> Asked:
        """The request for a provider's model.

        Raises:
            NotGoverned: it cannot be let through.
        """

    def headers(self, key: str) -> dict[str, str]:
        """How the gate presents its key."""

    def answer(self, check: Check, asked: Asked) -> Answer:
        """A fresh answer."""

    def broken(self, message: str) -> bytes:
        """The last event of a stream that cannot go on."""
