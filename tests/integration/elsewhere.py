"""The agents of `examples/` in an environment of their own, and a gate served as a process before them."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from answerable import Answerable, Gate, Limits
from answerable.server import serve_gate
from tests.architecture.files import ROOT

__all__ = ["AGENTS", "EXAMPLES", "NPM", "agent", "answerable", "gate", "permissive", "served", "tool_results"]

EXAMPLES = ROOT / "examples"
FRAMEWORKS = ROOT / ".venv-frameworks" / "bin" / "python"
NPM = Path(__file__).parent / "npm" / "node_modules" / "@modelcontextprotocol"
AGENTS = ("openai", "anthropic", "langgraph", "openai-agents", "pydantic-ai")
WIRED = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
_COMMAND = [sys.executable, "-m", "answerable.cli"]


async def answerable(folder: Path, *words: str, **environment: str) -> str:
    """What a command prints; it must end well."""
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        *words,
        cwd=folder,
        env={**WIRED, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return said.decode().strip()


@contextlib.asynccontextmanager
async def served(
    folder: Path, place: str, *more: str, **environment: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`answerable serve` at a free port: its process and its address."""
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        "serve",
        place,
        *("--port", "0", *more),
        cwd=folder,
        env={**WIRED, **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    drained: asyncio.Task[bytes] | None = None
    try:
        said = ""
        while "listening at" not in said:
            line = (await process.stderr.readline()).decode()
            assert line, said
            said += line
        drained = asyncio.create_task(process.stderr.read())  # a full pipe would stop the gate
        yield process, said.split()[-1]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if drained is not None:
            await drained


async def agent(script: Path, *words: str, folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """What an agent prints, started with the frameworks' own Python and nothing of the gate's on its path."""
    bare = {name: value for name, value in WIRED.items() if name != "PYTHONPATH"}
    process = await asyncio.create_subprocess_exec(
        FRAMEWORKS,
        *(str(script), *words),
        cwd=folder,
        env={**bare, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()[-4000:]
    return said.decode()


def permissive(directory: Path) -> Answerable:
    """An application that permits its agent `adder` everything."""
    for folder in ("authorize", "obligations"):
        (directory / "policy" / folder).mkdir(parents=True)
    (directory / "policy" / "authorize" / "all.cedar").write_text('@id("all") permit (principal, action, resource);')
    app = Answerable(data=directory / "data", policy=directory / "policy")
    app.wired("adder", limits=Limits(steps=40))
    return app


@contextlib.asynccontextmanager
async def gate(app: Answerable) -> AsyncIterator[tuple[Gate, str, str]]:
    """The application's gate, served: its address, and a key."""
    async with app.gate() as opened:
        key = (await opened.desk.key(do="new", named="adder"))["key"]
        listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        server = asyncio.create_task(serve_gate(opened, host="127.0.0.1", port=0, on_listening=listening.set_result))
        try:
            yield opened, await listening, key
        finally:
            server.cancel()
            await asyncio.wait([server])


def tool_results(asked: dict[str, Any]) -> list[str]:
    """What the model is told that its tools said, in either dialect."""
    found: list[str] = []
    for message in asked["messages"]:
        content = message["content"]
        if message["role"] == "tool":
            found.append(_text(content))
        elif isinstance(content, list):
            found += [_text(block["content"]) for block in content if block.get("type") == "tool_result"]
    return found


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.get("text", json.dumps(block)) for block in content)
