"""The protocol's official conformance suite against a server, directly and through the gate: the same, check by check.

`make test` installs the suite and its Node, as `tests/integration/conformance/package-lock.json` has them.
"""

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from answerable import Answerable, Gate, Limits
from answerable.server._http import http_app
from answerable.server._mcp import mcp_routes

HERE = Path(__file__).parent / "conformance"
NODE = HERE / "node_modules" / ".bin" / "node"
SUITE = HERE / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
# Events as they pass are told as INFO; how many there are follows from timing, and is not what a scenario shows.
Seen = dict[str, list[tuple[str, str]]]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.requirement("TL-1")
@pytest.mark.parametrize(("revision", "scenarios"), [("2025-11-25", 33), ("2026-07-28", 40)])
def test_every_scenario_comes_out_through_the_gate_as_it_does_directly(
    tmp_path: Path, revision: str, scenarios: int
) -> None:
    async def story() -> tuple[Seen, Seen]:
        async with asyncio.timeout(100), upstream() as url:
            direct = await suite(url, revision, tmp_path / "direct")
            async with gate_before(url, tmp_path) as through:
                return direct, await suite(through, revision, tmp_path / "through")

    direct, through = asyncio.run(story())

    assert len(direct) == scenarios
    assert {status for seen in direct.values() for _, status in seen} == {"SUCCESS"}
    assert through == direct


async def suite(url: str, revision: str, directory: Path) -> Seen:
    """Every scenario of a revision, and what each of its checks came to."""
    command = ["server", "--url", url, "--suite", "all", "--spec-version", revision, "--output-dir", str(directory)]
    process = await asyncio.create_subprocess_exec(
        NODE, SUITE, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found: Seen = {}
    for path in directory.glob("*/checks.json"):
        checks = [(check["id"], check["status"]) for check in json.loads(path.read_text())]
        name = re.sub(r"^server-(.+)-\d{4}-\d\d-\d\dT.*$", r"\1", path.parent.name)
        found[name] = sorted(check for check in checks if check[1] != "INFO")
    assert found, said.decode()[-2000:]
    return found


@contextlib.asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """The server that the suite asks for, at its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "upstream.py"), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def gate_before(url: str, directory: Path) -> AsyncIterator[str]:
    """A gate before the server, at the URL of its endpoint; the suite cannot send a key, so every request gets one."""
    for folder in ("authorize", "obligations"):
        (directory / "policy" / folder).mkdir(parents=True)
    (directory / "policy" / "authorize" / "all.cedar").write_text('@id("all") permit (principal, action, resource);')
    app = Answerable(data=directory / "data", policy=directory / "policy")
    app.mcp("up", url=url)
    app.wired("suite", limits=Limits(steps=None, identical_calls=None))
    async with app.gate() as gate:
        key = (await gate.desk.key(do="new", named="suite"))["key"]
        async with mcp_routes(gate, hosts=("127.0.0.1:*", "localhost:*")) as routes, served(gate, routes, key) as base:
            yield base + "/mcp/up"


@contextlib.asynccontextmanager
async def served(gate: Gate, routes: Any, key: str) -> AsyncIterator[str]:
    app: ASGIApp = http_app(gate, mounted=routes)

    async def with_key(scope: Scope, receive: Receive, send: Send) -> None:
        await app(
            {**scope, "headers": [*scope["headers"], (b"authorization", f"Bearer {key}".encode())]}, receive, send
        )

    server = uvicorn.Server(
        uvicorn.Config(with_key, host="127.0.0.1", port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
