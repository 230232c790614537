"""A mistake that is planted to see whether the tests notice."""

from dataclasses import dataclass

__all__ = ["Bug"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """A mistake somebody could make.

    Args:
        name: what is wrong, in a few words.
        file: below `src`.
        right: what stands there, exactly once; `wrong`: what the bug puts in its place.
        tests: where it should be noticed, below the project's root.
    """

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]
