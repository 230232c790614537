"""Tool servers that others wrote, unmodified, behind `/mcp`.

`make test` installs those from npm in the versions of `tests/integration/npm/package-lock.json`.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from answerable import Answerable, ToolDeclaration
from answerable.server import serve_gate

NPM = Path(__file__).parent / "npm" / "node_modules"
ALL = '@id("all") permit (principal, action, resource);'
REVISIONS = ["legacy", "2026-07-28"]


def app_for(directory: Path) -> Answerable:
    for folder in ("authorize", "obligations"):
        (directory / "policy" / folder).mkdir(parents=True)
    (directory / "policy" / "authorize" / "all.cedar").write_text(ALL)
    return Answerable(data=directory / "data", policy=directory / "policy")


@contextlib.asynccontextmanager
async def client_of(app: Answerable, mode: str) -> AsyncIterator[Client]:
    app.wired("desk")
    async with asyncio.timeout(50), app.gate() as gate:
        key = (await gate.desk.key(do="new", named="desk"))["key"]
        listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        server = asyncio.create_task(serve_gate(gate, host="127.0.0.1", port=0, on_listening=listening.set_result))
        try:
            async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=30) as http:
                transport = streamable_http_client(await listening + "/mcp", http_client=http)
                async with Client(transport, mode=mode) as client:
                    yield client
        finally:
            server.cancel()
            await asyncio.wait([server])


@pytest.mark.requirement("TL-1")
@pytest.mark.parametrize("mode", REVISIONS)
def test_the_time_and_git_servers_answer_through_the_gate(tmp_path: Path, mode: str) -> None:
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    (repository / "new.txt").write_text("new")
    app = app_for(tmp_path)
    read = ToolDeclaration(effect="read")
    app.mcp("time", command=[sys.executable, "-m", "mcp_server_time"], declare={"convert_time": read})
    app.mcp("git", command=[sys.executable, "-m", "mcp_server_git"], declare={"git_status": read})

    async def story() -> None:
        async with client_of(app, mode) as client:
            asked = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
            time = await client.call_tool("time.convert_time", asked)
            status = await client.call_tool("git.git_status", {"repo_path": str(repository)})
            added = await client.call_tool("git.git_add", {"repo_path": str(repository), "files": ["new.txt"]})

        assert not time.is_error
        assert "21:00" in time.content[0].text  # type: ignore[union-attr]
        assert "new.txt" in status.content[0].text  # type: ignore[union-attr]
        assert not added.is_error

    asyncio.run(story())
    staged = subprocess.run(["git", "-C", str(repository), "diff", "--cached", "--name-only"], capture_output=True)
    assert staged.stdout == b"new.txt\n"


@pytest.mark.parametrize("mode", REVISIONS)
def test_the_everything_and_filesystem_servers_answer_through_the_gate(tmp_path: Path, mode: str) -> None:
    files = tmp_path / "files"
    files.mkdir()
    servers = NPM / "@modelcontextprotocol"
    app = app_for(tmp_path)
    everything = servers / "server-everything" / "dist" / "index.js"
    app.mcp("everything", command=["node", str(everything), "stdio"], declare={"echo": ToolDeclaration(effect="read")})
    app.mcp("files", command=["node", str(servers / "server-filesystem" / "dist" / "index.js"), str(files)])

    async def story() -> None:
        async with client_of(app, mode) as client:
            echo = await client.call_tool("everything.echo", {"message": "hello"})
            image = await client.call_tool("everything.get-tiny-image", {})
            wrote = await client.call_tool("files.write_file", {"path": str(files / "a.txt"), "content": "words"})
            outside = await client.call_tool("files.write_file", {"path": "/etc/a.txt", "content": "words"})
            prompts = (await client.list_prompts()).prompts

        assert "hello" in echo.content[0].text  # type: ignore[union-attr]
        assert "image" in [block.type for block in image.content]
        assert not wrote.is_error
        assert outside.is_error
        assert "everything.simple-prompt" in [prompt.name for prompt in prompts]

    asyncio.run(story())
    assert (files / "a.txt").read_text() == "words"
