"""A Temporal server of its own for a measurement, over a SQLite file that it syncs at each commit."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["PRAGMAS", "temporal_server"]

PRAGMAS = {"journal_mode": "wal", "synchronous": "full"}


@contextlib.contextmanager
def temporal_server(directory: Path) -> Iterator[str]:
    """Its address, for the length of a block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("temporal")), "server", "start-dev", "--headless"]
    command += ["--ip", "127.0.0.1", "--port", str(port), "--log-level", "never"]
    command += ["--db-filename", str(directory / "temporal.sqlite3")]
    for name, value in PRAGMAS.items():
        command += ["--sqlite-pragma", f"{name}={value}"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the Temporal server did not come up")
            time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()
