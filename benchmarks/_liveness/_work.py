"""What a process of the benchmark is asked to do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Errand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """Args: how many `runs`; `directory` for databases, or the `url` of one; `temporal`, a server's address; `told`."""

    runs: int
    directory: Path
    url: str
    temporal: str
    told: Callable[[], None]
