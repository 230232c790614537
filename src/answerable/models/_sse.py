"""Server-sent events, with the bytes they came in: what is not touched passes as it was.

Source: WHATWG HTML, "Server-sent events", "Parsing an event stream".
"""

import re
from dataclasses import dataclass
from typing import Any

import orjson

__all__ = ["SseItem", "SseReader", "event_bytes"]

# A lone CR, which the standard allows as well, cannot be told from half a CRLF; a stream of such lines never ends
# an event here, and so comes to nothing.
_END = re.compile(rb"\r?\n\r?\n")
_LINE = re.compile(rb"\r\n|\n|\r")
_MOST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class SseItem:
    """One event.

    Args:
        raw: its bytes, with the blank line that ends it.
        data: what it says; None for a comment.
    """

    raw: bytes
    data: bytes | None

    def json(self) -> dict[str, Any]:
        """Its data as a JSON object.

        Raises:
            ValueError: it is none.
        """
        said = orjson.loads(self.data or b"null")
        if not isinstance(said, dict):
            raise ValueError("not a JSON object")
        return said


class SseReader:
    """Cuts a byte stream into events."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[SseItem]:
        """The events that these bytes complete.

        Raises:
            ValueError: one event is beyond all measure.
        """
        self._rest += chunk
        events = []
        while (end := _END.search(self._rest)) is not None:
            events.append(_event(self._rest[: end.end()]))
            self._rest = self._rest[end.end() :]
        if len(self._rest) > _MOST_BYTES:
            raise ValueError("an event without end")
        return events


def event_bytes(said: Any, *, name: str = "") -> bytes:
    """An event of our own."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + orjson.dumps(said) + b"\n\n"


def _event(raw: bytes) -> SseItem:
    lines = [line[5:].removeprefix(b" ") for line in _LINE.split(raw) if line.startswith(b"data:")]
    return SseItem(raw, b"\n".join(lines) if lines else None)
