"""Processes that end with the test that started them, even if that is killed and can clean up nothing."""

import ctypes
import os
import signal
from collections.abc import Callable

__all__ = ["leash"]

_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None, use_errno=True)


def leash(how: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """For `Popen(preexec_fn=…)`: the kernel sends the child this signal when the thread that starts it is gone."""
    parent = os.getpid()

    def hold() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, how)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return hold
