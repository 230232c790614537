"""`answerable connect FRAMEWORK`: the lines to change in an agent that exists."""

from typing import Annotated, Literal

import typer

from answerable.cli._options import AsJson
from answerable.cli._say import say

__all__ = ["FRAMEWORKS", "command"]

command = typer.Typer(rich_markup_mode=None)

FRAMEWORKS: dict[str, str] = {
    "openai": """\
from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="{key}")""",
    "anthropic": """\
from anthropic import Anthropic
client = Anthropic(base_url="{url}", api_key="{key}")""",
    "langgraph": """\
from langchain_openai import ChatOpenAI
model = ChatOpenAI(model="{model}", base_url="{url}/v1", api_key="{key}")""",
    "openai-agents": """\
from agents import OpenAIChatCompletionsModel, set_tracing_disabled
from openai import AsyncOpenAI
set_tracing_disabled(True)
model = OpenAIChatCompletionsModel("{model}", AsyncOpenAI(base_url="{url}/v1", api_key="{key}"))""",
    "pydantic-ai": """\
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
model = OpenAIChatModel("{model}", provider=OpenAIProvider(base_url="{url}/v1", api_key="{key}"))""",
    "claude-code": """\
export ANTHROPIC_BASE_URL="{url}"
export ANTHROPIC_API_KEY="{key}\"""",
}
_Framework = Literal["openai", "anthropic", "langgraph", "openai-agents", "pydantic-ai", "claude-code"]


@command.command()
def connect(
    framework: Annotated[_Framework, typer.Argument(help="What the agent is built with.", show_default=False)],
    url: Annotated[str, typer.Option("--url", help="Where `answerable serve` listens.")] = "http://127.0.0.1:8700",
    key: Annotated[str, typer.Option("--key", help="The agent's key.")] = "",
    model: Annotated[str, typer.Option("--model", help="A model that a route serves.")] = "gpt-5-mini",
    as_json: AsJson = False,
) -> None:
    """Print the lines that bring an agent behind the gate. Everything else in it stays as it is."""
    lines = FRAMEWORKS[framework].format(url=url.rstrip("/"), key=key or "ans_...", model=model)
    say({"framework": framework, "lines": lines.splitlines()}, [lines], as_json=as_json)
    if not key:
        typer.echo("the key is what `answerable agent key new NAME` printed", err=True)
