"""The demo's worker, and the tools that check the demo's evidence without us."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Worker", "run_script"]


class Worker:
    """A gate in a process of its own, which tells what it does line by line."""

    def __init__(self, module: str, arguments: Sequence[str], *, log: Path) -> None:
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def told(self) -> Iterator[dict[str, Any]]:
        """What the worker tells, until it ends."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):  # a killed worker may leave half a line
                yield json.loads(line)

    def kill(self) -> None:
        """End it as a crash would: no handler runs, nothing is flushed."""
        self._process.send_signal(signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code, negative for the signal that ended it."""
        return self._process.wait(timeout=60)

    def discard(self) -> None:
        """Make sure that nothing goes on after the demo."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def run_script(command: Sequence[str], *, directory: Path) -> tuple[int, list[str]]:
    """Exit code and output of a short program."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, (done.stdout + done.stderr).splitlines()
