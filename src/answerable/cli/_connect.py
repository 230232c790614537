"""`answerable connect FRAMEWORK`: the lines to change in an agent that exists."""

from string import Template
from typing import Annotated, Literal

import typer

from answerable.cli._options import AsJson
from answerable.cli._say import say

__all__ = ["LINES", "command"]

command = typer.Typer(rich_markup_mode=None)

LINES: dict[str, str] = {
    "openai": """\
from openai import AsyncOpenAI
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
model = AsyncOpenAI(base_url="$url/v1", api_key="$key")
http = create_mcp_http_client({"Authorization": "Bearer $key"})
tools = streamable_http_client("$url/mcp", http_client=http)""",
    "anthropic": """\
from anthropic import AsyncAnthropic
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
model = AsyncAnthropic(base_url="$url", api_key="$key")
http = create_mcp_http_client({"Authorization": "Bearer $key"})
tools = streamable_http_client("$url/mcp", http_client=http)""",
    "langgraph": """\
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_openai import ChatOpenAI
model = ChatOpenAI(model="$model", base_url="$url/v1", api_key="$key")
headers = {"Authorization": "Bearer $key"}
tools = MultiServerMCPClient({"gate": {"transport": "streamable_http", "url": "$url/mcp", "headers": headers}})""",
    "openai-agents": """\
from agents import OpenAIChatCompletionsModel, set_tracing_disabled
from agents.mcp import MCPServerStreamableHttp
from openai import AsyncOpenAI
set_tracing_disabled(True)
model = OpenAIChatCompletionsModel("$model", AsyncOpenAI(base_url="$url/v1", api_key="$key"))
reached = {"url": "$url/mcp", "headers": {"Authorization": "Bearer $key"}, "timeout": 60}
tools = MCPServerStreamableHttp(reached, client_session_timeout_seconds=60)""",
    "pydantic-ai": """\
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
model = OpenAIChatModel("$model", provider=OpenAIProvider(base_url="$url/v1", api_key="$key"))
tools = MCPToolset("$url/mcp", headers={"Authorization": "Bearer $key"})""",
    "claude-code": """\
unset ANTHROPIC_API_KEY
export ANTHROPIC_BASE_URL="$url"
export ANTHROPIC_AUTH_TOKEN="$key"
claude mcp add --transport http gate "$url/mcp" --header "Authorization: Bearer $key\"""",
    "cursor": """\
{
  "mcpServers": {
    "gate": {
      "url": "$url/mcp",
      "headers": {"Authorization": "Bearer $key"}
    }
  }
}""",
}
_Framework = Literal["openai", "anthropic", "langgraph", "openai-agents", "pydantic-ai", "claude-code", "cursor"]

_NOTES = {
    "claude-code": "its own tools (Bash, Edit, …) never cross the gate: name them in the agent's `own_tools`",
    "cursor": "this is `.cursor/mcp.json`; Cursor asks models through its own servers, not through the gate",
}


@command.command()
def connect(
    framework: Annotated[_Framework, typer.Argument(help="What the agent is built with.", show_default=False)],
    url: Annotated[str, typer.Option("--url", help="Where `answerable serve` listens.")] = "http://127.0.0.1:8700",
    key: Annotated[str, typer.Option("--key", help="The agent's key.")] = "",
    model: Annotated[str, typer.Option("--model", help="A model that a route serves.")] = "gpt-5-mini",
    as_json: AsJson = False,
) -> None:
    """Print the lines that bring an agent behind the gate. Everything else in it stays as it is."""
    lines = Template(LINES[framework]).substitute(url=url.rstrip("/"), key=key or "ans_...", model=model)
    say({"framework": framework, "lines": lines.splitlines()}, [lines], as_json=as_json)
    if framework in _NOTES:
        typer.echo(_NOTES[framework], err=True)
    if not key:
        typer.echo("the key is what `answerable agent key new NAME` printed", err=True)
