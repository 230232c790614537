"""The code of an agent: what it is named by, and what stands in for it where it runs elsewhere."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from answerable.core import sha256_name

__all__ = ["build_of", "driven_from_outside"]


async def driven_from_outside(run: Any, given: Any) -> None:
    """Stands for an agent that reaches the gate over the wire."""
    raise TypeError("this agent has no code here: it reaches the gate over the wire")


def build_of(function: Callable[..., Any]) -> str:
    """The digest of the file that a function is written in; empty where there is none."""
    source = inspect.getsourcefile(function)
    return sha256_name(Path(source).read_bytes()) if source and Path(source).is_file() else ""
