"""The agents of `examples/`, unmodified, each in its framework: behind the gate and without it."""

import asyncio
import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from answerable import LocalProvider, Reader, ToolDeclaration, Upstream
from tests.integration.elsewhere import (
    AGENTS,
    EXAMPLES,
    NPM,
    agent,
    answerable,
    gate,
    permissive,
    served,
    tool_results,
)
from tests.integration.upstream import Script, ScriptedUpstream, chat_stream, messages_stream, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

GATE = EXAMPLES / "gate"
FILES_SERVER = f"node {NPM / 'server-filesystem' / 'dist' / 'index.js'}"
QUESTION = "What is new in the repository? Write it down in NOTES.md, with the time in Tokyo."


def stream(dialect: str, *texts: str, calls: tuple[tuple[str, dict[str, Any]], ...] = ()) -> tuple[int, Any]:
    said = tuple((name, json.dumps(arguments)) for name, arguments in calls)
    return 200, (messages_stream if dialect == "anthropic" else chat_stream)(*texts, calls=said)


def reached(name: str, base_url: str, key: str, mcp_url: str) -> dict[str, str]:
    """An agent's environment: the two URLs, the key, and the model's name."""
    vendor, path = ("ANTHROPIC", "") if name == "anthropic" else ("OPENAI", "/v1")
    return {
        f"{vendor}_BASE_URL": base_url + path,
        f"{vendor}_API_KEY": key,
        "MODEL": "tiny",
        "MCP_URL": mcp_url,
        "MCP_KEY": key,
    }


def repository(directory: Path) -> Path:
    made = directory / "repository"
    made.mkdir()
    git = ["git", "-C", str(made), "-c", "user.name=Lee", "-c", "user.email=lee@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    (made / "a.txt").write_text("a")
    subprocess.run([*git, "add", "a.txt"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "lamps may be dimmed"], check=True)
    return made


@pytest.mark.requirement("FW-1", "TL-1", "MD-2")
@pytest.mark.parametrize("name", AGENTS)
def test_an_unmodified_agent_works_through_the_gate_and_every_call_is_on_the_record(name: str, tmp_path: Path) -> None:
    code, files = repository(tmp_path), tmp_path / "files"
    files.mkdir()
    note = {"path": str(files / "NOTES.md"), "content": "Lamps may be dimmed."}
    noon = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    script: list[Script] = [
        stream(
            name,
            calls=(
                ("git__git_log", {"repo_path": str(code), "max_count": 5}),
                ("time__convert_time", noon),
            ),
        ),
        stream(name, "Writing. ", calls=(("files__write_file", note),)),
        stream(name, "Undoing. ", calls=(("git__git_reset", {"repo_path": str(code)}),)),
    ]

    async def story() -> str:
        async with asyncio.timeout(200), serving(ScriptedUpstream(script)) as upstream:
            key = await answerable(tmp_path, "agent", "key", "new", "caretaker", "--data", str(tmp_path / "data"))
            environment = {
                "OPENAI_BASE_URL": upstream.url,
                "ANTHROPIC_BASE_URL": upstream.url,
                "REPOSITORY": str(code),
                "FILES": str(files),
                "FILES_SERVER": FILES_SERVER,
            }
            async with served(GATE, "caretaker:app", "--data", str(tmp_path / "data"), **environment) as (_, url):
                where = reached(name, url, key, f"{url}/mcp")
                said = await agent(EXAMPLES / name / "agent.py", QUESTION, folder=tmp_path, environment=where)
            log, time, *_ = tool_results(upstream.asked[-1])
            assert "lamps may be dimmed" in log
            assert "21:00" in time
            assert all(each["stream"] for each in upstream.asked)
            return said

    said = asyncio.run(story())

    assert (files / "NOTES.md").read_text() == "Lamps may be dimmed."
    assert said.startswith("Writing. Undoing. [The gate refused the call of `git__git_reset`")
    with contextlib.closing(Reader.open(tmp_path / "data")) as reader:
        steps = [each.predicate for each in reader.receipts() if each.predicate.get("step")]
    done = [each["action"]["name"] for each in steps if each["phase"] == "outcome"]
    model = f"{'anthropic' if name == 'anthropic' else 'openai'}:tiny"
    assert sorted(done) == sorted([model] * 3 + ["git.git_log", "time.convert_time", "files.write_file"])
    assert [each["action"]["name"] for each in steps if each["phase"] == "denied"] == ["git.git_reset"]
    assert {each["effect"]["status"] for each in steps if each["phase"] == "outcome"} == {"ok"}
    assert len({each["run"] for each in steps}) == 1


@pytest.fixture(scope="module")
def everything() -> Iterator[str]:
    """The protocol's own example server, at a URL of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["node", str(NPM / "server-everything" / "dist" / "index.js"), "streamableHttp"]
    with subprocess.Popen(
        command, env={**os.environ, "PORT": str(port)}, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        assert process.stderr is not None
        while str(port).encode() not in process.stderr.readline():
            assert process.poll() is None
        yield f"http://127.0.0.1:{port}/mcp"
        process.terminate()


@pytest.mark.requirement("FW-1", "TL-1", "MD-2")
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_says_the_same_and_its_model_is_told_the_same_with_and_without_the_gate(
    name: str, tmp_path: Path, everything: str
) -> None:
    sums = (("get-sum", {"a": 2, "b": 3}), ("echo", {"message": "grüß Gott"}))
    script: list[Script] = [stream(name, "Let me see. ", calls=sums), stream(name, "It ", "is ", "5.")]
    run = functools.partial(agent, EXAMPLES / name / "agent.py", "2 + 3?", folder=tmp_path)

    async def without() -> tuple[str, ScriptedUpstream]:
        async with serving(ScriptedUpstream(list(script))) as upstream:
            where = reached(name, upstream.url.removesuffix("/v1"), "sk-1", everything)
            return await run(environment=where), upstream

    async def behind() -> tuple[str, ScriptedUpstream]:
        async with serving(ScriptedUpstream(list(script))) as upstream:
            app = permissive(tmp_path)
            app.upstream(Upstream(name="openai", dialect="chat", base_url=upstream.url))
            app.upstream(Upstream(name="anthropic", dialect="messages", base_url=upstream.url))
            app.mcp("everything", url=everything, declare={"get-sum": ToolDeclaration(effect="read")})
            async with gate(app) as (_, url, key):
                return await run(environment=reached(name, url, key, f"{url}/mcp/everything")), upstream

    async def story() -> tuple[Any, Any]:
        async with asyncio.timeout(200):
            return await asyncio.gather(without(), behind())

    (bare, to_provider), (governed, to_gate) = asyncio.run(story())

    assert governed == bare == "Let me see. It is 5.\n"
    assert [each["messages"] for each in to_gate.asked] == [each["messages"] for each in to_provider.asked]
    assert "5" in tool_results(to_gate.asked[-1])[0]
    assert "grüß Gott" in tool_results(to_gate.asked[-1])[1]


@pytest.mark.requirement("FW-1", "MD-1", "MD-2")
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_works_with_the_model_on_this_machine_and_real_tools(name: str, tmp_path: Path) -> None:
    app = permissive(tmp_path)
    app.upstream(LocalProvider())
    app.route("tiny", "local:smollm2-135m-instruct")
    read = ToolDeclaration(effect="read")
    command = [sys.executable, "-m", "mcp_server_time"]
    app.mcp("time", command=command, declare={"get_current_time": read, "convert_time": read})
    run = functools.partial(agent, EXAMPLES / name / "agent.py", "What time is it in Tokyo?", folder=tmp_path)

    async def story() -> tuple[str, list[dict[str, Any]]]:
        async with asyncio.timeout(200), gate(app) as (opened, url, key):
            said = await run(environment=reached(name, url, key, f"{url}/mcp/time"))
            return said, [each.predicate for each in opened.reader.receipts() if each.phase == "outcome"]

    said, outcomes = asyncio.run(story())

    # What a model of 135 million parameters makes of the answers is its own; that it asked and was answered is not.
    assert said.strip()
    models = [each for each in outcomes if each["action"]["kind"] == "model"]
    tools = [each for each in outcomes if each["action"]["kind"] == "tool"]
    assert len(models) >= 2
    assert all(each["effect"]["status"] == "ok" and each["usage"]["outputTokens"] > 0 for each in models)
    assert tools
    assert all(each["action"]["name"].startswith("time.") for each in tools)
