"""The demo's worker, and the tools that check the demo's evidence without us."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Worker", "run_script"]

_START_S = 60.0
_END_S = 30.0
_LOOK_S = 0.01


class Worker:
    """A gate in a process of its own. It works until its standard input ends, so it never outlives us."""

    def __init__(self, module: str, arguments: Sequence[str], *, log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def is_ready(self) -> bool:
        """Wait until it says that it serves; False where it ended, or said nothing for a minute."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], _START_S)
        return bool(readable and self._process.stdout.readline())

    def freeze(self) -> None:
        """Stop it where it is, so that what is looked at next stays true; returns once it stands."""
        self._process.send_signal(signal.SIGSTOP)
        while self.is_running and _state(self.pid) not in ("T", "t", "Z", ""):
            time.sleep(_LOOK_S / 10)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would: no handler runs, nothing is flushed.

        Tool servers that it started are other parties: they finish what they were asked, see that nobody
        listens any more, and end. The call returns when they have.
        """
        servers = _children(self.pid)
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        until = time.monotonic() + _END_S
        while any(_state(pid) not in ("Z", "") for pid in servers) and time.monotonic() < until:
            time.sleep(_LOOK_S)

    def stop(self) -> int:
        """Have it end in good order; its exit code."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it may have ended by itself
            self._process.stdin.close()
        try:
            return self._process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self.discard()
            return -signal.SIGKILL

    def discard(self) -> None:
        """Make sure that nothing goes on after the demo."""
        if self.is_running:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def run_script(command: Sequence[str], *, directory: Path) -> tuple[int, list[str]]:
    """Exit code and output of a short program; 127 where there is no such program."""
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError:
        return 127, [f"`{command[0]}` is not installed"]
    return done.returncode, (done.stdout + done.stderr).splitlines()


def _state(pid: int) -> str:
    """R, S, D, T, Z …; empty where there is no such process (proc(5))."""
    return _status(pid)[0]


def _children(pid: int) -> list[int]:
    found = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [each for each in found if _status(each)[1] == pid]


def _status(pid: int) -> tuple[str, int]:
    """State and parent. The command's name stands in brackets before them and may hold anything."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", 0
    return fields[0], int(fields[1])
