"""Keeps llama.cpp's server running for as long as the gate needs it."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from answerable.models._drivers._http import ProviderClient
from answerable.models._errors import ModelUnavailable

__all__ = ["LlamaServer"]

_START_S = 120.0
_STOP_S = 5.0
_DYING_S = 1.0
_LONGEST_SOCKET = 100  # a unix socket's path has room for 107 bytes
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "SYSTEMROOT")
_LONGEST_WORDS = 200


class LlamaServer:
    """A model's process: started at the first call, and again at the next one after it died.

    Args:
        name: `provider:model`, for errors.
    """

    def __init__(self, weights: Path, *, name: str, context_tokens: int, threads: int) -> None:
        self._weights = weights
        self._name = name
        self._context_tokens = context_tokens
        self._threads = threads
        self._process: asyncio.subprocess.Process | None = None
        self._client: ProviderClient | None = None
        self._place: Path | None = None
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def client(self) -> ProviderClient:
        """A way to ask the running model; starts it if need be.

        Raises:
            ModelUnavailable: it does not start.
        """
        async with self._starting:
            if self._client is not None and self.pid is not None:
                return self._client
            await self.close()
            try:
                return await self._start()
            except BaseException:
                await self.close()
                raise

    async def look(self) -> None:
        """After a broken connection: see whether the process is dying, so that the next call starts another."""
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DYING_S):
                    await self._process.wait()

    async def close(self) -> None:
        """End the process."""
        process, client, place = self._process, self._client, self._place
        self._process = self._client = self._place = None
        if client is not None:
            await client.close()
        if process is not None:
            await _ended(process)
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)

    async def _start(self) -> ProviderClient:
        place = self._place = _place()
        socket = str(place / "model.sock")
        asked = {
            "weights": str(self._weights),
            "model": self._name.partition(":")[2],
            "socket": socket,
            "context_tokens": self._context_tokens,
            "threads": self._threads,
        }
        program = str(Path(__file__).with_name("_llama_process.py"))
        with (place / "log").open("wb") as log:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                program,
                json.dumps(asked),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                # SECURITY: the gate's keys stand in its environment; a model needs none of it.
                env={name: os.environ[name] for name in _KEPT if name in os.environ},
                start_new_session=True,  # Ctrl-C is for the gate, which ends this in good order
            )
        assert process.stdout is not None
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                line = await process.stdout.readline()
        if line != b"ready\n":
            raise ModelUnavailable(model=self._name, reason=f"its process did not start: {_last_words(place)}")
        self._client = ProviderClient(socket=socket)
        return self._client


async def _ended(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(_STOP_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _place() -> Path:
    """A directory that only this user may enter: whoever reaches the socket may ask the model."""
    place = Path(tempfile.mkdtemp(prefix="answerable-"))
    if len(os.fsencode(place)) <= _LONGEST_SOCKET - len("/model.sock"):
        return place
    place.rmdir()
    return Path(tempfile.mkdtemp(prefix="answerable-", dir="/tmp"))  # made with 0700


def _last_words(place: Path) -> str:
    # It has been asked nothing yet, so its log quotes nobody.
    said = (place / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return said[-1].strip()[:_LONGEST_WORDS] if said else "it said nothing"
