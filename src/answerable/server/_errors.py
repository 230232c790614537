"""What can go wrong between the command line and a gate."""

from dataclasses import dataclass

from answerable.core import ExecutionError, Refused

__all__ = ["GateSilent", "NotYours"]


@dataclass(eq=False, kw_only=True)
class GateSilent(ExecutionError):
    """The gate took the request and the connection ended before it answered."""

    code = "execution.gate_silent"
    what = "the gate behind `{socket}` did not answer `{asked}`"
    why = "it stopped, or was stopped, while it worked: what was asked may or may not have been done"
    fix = "look at the record (`answerable runs list`, `answerable approvals list`) before asking again"

    socket: str
    asked: str


@dataclass(eq=False, kw_only=True)
class NotYours(Refused):
    """Another user asked."""

    code = "refused.not_yours"
    what = "user {uid} may not write through this gate"
    why = "only the user that runs the gate, or root, writes through its socket"
    fix = "run the command as the gate's user"

    uid: int
