"""`make soak`: the same tests, for longer."""

from hypothesis import settings

__all__ = ["IS_SOAK", "longer"]

IS_SOAK = settings().max_examples > 1_000


def longer(count: int) -> int:
    """So many examples on every change, twenty times as many in a soak: each takes a tenth of a second and more."""
    return 20 * count if IS_SOAK else count
