"""The public face: every name that a user may import, as one sorted list."""

import importlib
import importlib.util
from pathlib import Path

__all__ = ["PIN", "PUBLIC", "names"]

PIN = Path(__file__).with_name("public_face.txt")
PUBLIC = ("answerable", "answerable.errors", "answerable.testing", "answerable_verify")


def names() -> str:
    """One `module.name` a line."""
    found = []
    for module in PUBLIC:
        if importlib.util.find_spec(module):
            found += [f"{module}.{name}" for name in getattr(importlib.import_module(module), "__all__", ())]
    return "\n".join(sorted(found)) + "\n"
