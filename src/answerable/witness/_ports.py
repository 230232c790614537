"""What asking others for signatures needs of the network."""

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Http", "HttpReply"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """What came back."""

    status: int
    body: bytes


class Http(Protocol):
    """Bounded requests: never longer than a time-out, never more than a size."""

    async def post(self, url: str, body: bytes, *, content_type: str) -> HttpReply:
        """Send a body.

        Raises:
            Unreachable: nobody answered in time.
        """

    async def get(self, url: str) -> HttpReply:
        """Fetch what is there.

        Raises:
            Unreachable: nobody answered in time.
        """
