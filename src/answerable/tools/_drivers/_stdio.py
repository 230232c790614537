"""An MCP server as a process of ours, on its standard streams.

Source: Model Context Protocol, "Transports: stdio" and "Lifecycle: shutdown".
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from answerable.tools._drivers._wires import Heard, NotSent, Outgoing, WireLost

__all__ = ["Stdio"]

_INHERITED = ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER")  # SECURITY: no key of ours by accident
_LONGEST_LINE_BYTES = 64 << 20
_GRACE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stdio:
    """How to start it."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path | None

    @property
    def address(self) -> str:
        """What the operator wrote down for it."""
        return self.command[0]

    def wire(self) -> "StdioWire":
        """A way to a new process."""
        return StdioWire(self)


class StdioWire:
    """One process."""

    keeps_sessions = False

    def __init__(self, how: Stdio) -> None:
        self._how = how
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def open(self, stderr: IO[bytes], heard: Heard, ended: Callable[[], None]) -> None:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._how.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env={**inherited, **self._how.environment},
                cwd=self._how.directory,
                limit=_LONGEST_LINE_BYTES,
                start_new_session=True,  # so that what it started can be ended with it
            )
        except OSError as error:
            said = error.strerror or type(error).__name__
            raise NotSent(f"`{self._how.address}` cannot be started ({said})") from None
        self._reading = asyncio.create_task(self._read(heard, ended))

    async def send(self, outgoing: Outgoing) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        if self._reading is None or self._reading.done():
            raise NotSent("it has ended")
        try:
            self._process.stdin.write(orjson.dumps(outgoing.message) + b"\n")
            await self._process.stdin.drain()
        except OSError:
            raise WireLost from None

    async def listen(self, headers: Mapping[str, str]) -> None:
        """There is one stream for everything."""

    async def close(self, headers: Mapping[str, str]) -> None:
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL, None):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), _GRACE_S)
                break
            if number is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _read(self, heard: Heard, ended: Callable[[], None]) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            while line := await self._process.stdout.readline():
                try:
                    said = orjson.loads(line)
                except orjson.JSONDecodeError:
                    said = None
                heard(said if isinstance(said, dict) else {}, None)
        except ValueError:
            pass  # a line beyond every measure: what follows it cannot be told apart
        finally:
            ended()
