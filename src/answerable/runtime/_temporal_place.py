"""Where a Temporal server is, and how it is spoken to."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

__all__ = ["TemporalPlace"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TemporalPlace:
    """What `Temporal` is given."""

    address: str = "127.0.0.1:7233"
    namespace: str = "default"
    queue: str = "answerable"
    tls: bool = False
    api_key: str = ""
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    heartbeat: timedelta = timedelta(seconds=5)

    def __repr__(self) -> str:
        """Without the key."""
        return f"Temporal(address={self.address!r}, namespace={self.namespace!r}, queue={self.queue!r})"
