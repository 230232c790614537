"""What a process of the benchmark is asked to do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Errand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """Args: how many `runs`; the `directory` for databases; `temporal`, a server's address; `told`, for `hold`."""

    runs: int
    directory: Path
    temporal: str
    told: Callable[[], None]
