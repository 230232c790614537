"""What `answerable connect` prints works as it stands: Python is run, a shell's lines are run, JSON is read."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from answerable import ToolDeclaration, Upstream
from answerable.cli._connect import LINES
from tests.integration.elsewhere import agent, answerable, gate, permissive
from tests.integration.upstream import ScriptedUpstream, chat_whole, messages_whole, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

_BY_MCP = """
    from mcp import ClientSession
    async with http, tools as (read, write, *_), ClientSession(read, write) as server:
        await server.initialize()
        return answer, [tool.name for tool in (await server.list_tools()).tools]
"""
# After the printed lines: one question to the model, and the names of the tools.
USED = {
    "openai": """
    said = await model.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Well?"}])
    answer = said.choices[0].message.content"""
    + _BY_MCP,
    "anthropic": """
    asked = [{"role": "user", "content": "Well?"}]
    answer = (await model.messages.create(model="tiny", max_tokens=9, messages=asked)).content[0].text"""
    + _BY_MCP,
    "langgraph": """
    answer = (await model.ainvoke("Well?")).text
    return answer, [tool.name for tool in await tools.get_tools()]
""",
    "openai-agents": """
    from agents import Agent, Runner
    async with tools:
        done = await Runner.run(Agent("a", model=model, mcp_servers=[tools]), "Well?")
        return done.final_output, [tool.name for tool in await tools.list_tools()]
""",
    "pydantic-ai": """
    from pydantic_ai import Agent
    async with tools:
        done = await Agent(model, toolsets=[tools]).run("Well?")
        return done.output, [tool.name for tool in await tools.client.list_tools()]
""",
}


def through(directory: Path, body: bytes, story: Any) -> Any:
    async def run() -> Any:
        async with asyncio.timeout(200), serving(ScriptedUpstream([(200, body)])) as upstream:
            app = permissive(directory)
            app.upstream(Upstream(name="openai", dialect="chat", base_url=upstream.url))
            app.upstream(Upstream(name="anthropic", dialect="messages", base_url=upstream.url))
            command = [sys.executable, "-m", "mcp_server_time"]
            app.mcp("time", command=command, declare={"convert_time": ToolDeclaration(effect="read")})
            async with gate(app) as (_, url, key):
                return await story(url, key)

    return asyncio.run(run())


@pytest.mark.requirement("FW-1")
@pytest.mark.parametrize("name", USED)
def test_the_lines_for_a_framework_reach_model_and_tools(name: str, tmp_path: Path) -> None:
    async def story(url: str, key: str) -> str:
        lines = await answerable(tmp_path, "connect", name, "--url", url + "/", "--key", key, "--model", "tiny")
        program = tmp_path / "program.py"
        program.write_text(
            f"{lines}\nimport asyncio\nasync def use():{USED[name]}\nprint(*asyncio.run(use()))\n", encoding="utf-8"
        )
        return await agent(program, folder=tmp_path)

    body = messages_whole("Fine.") if name == "anthropic" else chat_whole("Fine.")

    assert through(tmp_path, body, story).strip() == "Fine. ['time__convert_time', 'time__get_current_time']"


@pytest.mark.requirement("FW-1")
def test_the_lines_for_cursor_are_its_configuration_and_reach_the_tools(tmp_path: Path) -> None:
    async def story(url: str, key: str) -> list[str]:
        said = json.loads(await answerable(tmp_path, "connect", "cursor", "--url", url, "--key", key))
        server = said["mcpServers"]["gate"]
        async with (
            httpx2.AsyncClient(headers=server["headers"], timeout=30) as http,
            Client(streamable_http_client(server["url"], http_client=http), mode="legacy") as client,
        ):
            return [tool.name for tool in (await client.list_tools()).tools]

    assert "time__convert_time" in through(tmp_path, b"", story)


def test_the_lines_for_claude_code_set_its_environment_and_add_the_gate_as_a_server(tmp_path: Path) -> None:
    said = asyncio.run(answerable(tmp_path, "connect", "claude-code", "--url", "http://127.0.0.1:1", "--key", "ans_k"))
    (tmp_path / "claude").write_text('#!/bin/sh\nprintf "%s\\n" "$@" "$ANTHROPIC_BASE_URL" "$ANTHROPIC_AUTH_TOKEN"\n')
    (tmp_path / "claude").chmod(0o755)

    ran = subprocess.run(
        ["bash", "-euc", said + '\necho "${ANTHROPIC_API_KEY:-none}"'],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "ANTHROPIC_API_KEY": "sk-other"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stdout.splitlines() == [
        *("mcp", "add", "--transport", "http", "gate", "http://127.0.0.1:1/mcp", "--header"),
        *("Authorization: Bearer ans_k", "http://127.0.0.1:1", "ans_k", "none"),
    ]


def test_every_target_is_tried_here() -> None:
    assert {*USED, "cursor", "claude-code"} == set(LINES)
