"""An agent on pydantic-ai, with the tools of an MCP server.

    python agent.py "What is new in the repository?"

It reads OPENAI_BASE_URL and OPENAI_API_KEY (as the SDK below it does), MODEL, MCP_URL and MCP_KEY.
"""

import asyncio
import os
import sys

from pydantic_ai import Agent, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.models.openai import OpenAIChatModel

INSTRUCTIONS = "You look after a repository. Use the tools; never guess what they can tell you."


async def main(question: str) -> None:
    tools = MCPToolset(os.environ["MCP_URL"], headers={"Authorization": f"Bearer {os.environ['MCP_KEY']}"})
    agent = Agent(OpenAIChatModel(os.environ["MODEL"]), instructions=INSTRUCTIONS, toolsets=[tools])
    async with agent.run_stream_events(question) as events:
        async for event in events:
            if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                print(event.part.content, end="", flush=True)
            elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                print(event.delta.content_delta, end="", flush=True)
    print()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
