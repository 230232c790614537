"""What can go wrong between a log and those who watch it."""

from dataclasses import dataclass

from answerable.core import Transient

__all__ = ["Unreachable"]


@dataclass(eq=False, kw_only=True)
class Unreachable(Transient):
    """Somebody outside did not answer."""

    code = "execution.unreachable"
    what = "`{url}` did not answer: {problem}"
    why = "it is down, or the network between is"
    fix = "nothing is lost: it is asked again"

    url: str
    problem: str
