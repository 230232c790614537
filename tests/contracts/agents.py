"""A real `ssh-agent` with keys of its own, to be killed, locked and started again."""

import os
import subprocess
from pathlib import Path

__all__ = ["Agent"]


class Agent:
    """OpenSSH's agent on a socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "agent.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self, *, keeping: str = "") -> None:
        """Start it; whatever keys it had are gone, and it keeps the one named."""
        self.socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(self.socket)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        assert b"SSH_AUTH_SOCK" in self._process.stdout.readline()  # it listens now
        if keeping:
            self.add(keeping)

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def key(self, name: str) -> Path:
        """The file of a key of this name, made where there is none."""
        path = self.folder / name
        if not path.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
        return path

    def add(self, name: str) -> None:
        """Have it keep the key of this name."""
        self._do("ssh-add", "-q", str(self.key(name)))

    def remove(self, name: str) -> None:
        """Have it forget the key of this name."""
        self._do("ssh-add", "-q", "-d", str(self.key(name)))

    def _do(self, *words: str) -> None:
        subprocess.run(words, check=True, env={**os.environ, "SSH_AUTH_SOCK": str(self.socket)}, capture_output=True)
