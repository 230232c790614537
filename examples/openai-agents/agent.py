"""An agent on the OpenAI Agents SDK, with the tools of an MCP server.

    python agent.py "What is new in the repository?"

It reads OPENAI_BASE_URL and OPENAI_API_KEY (as the SDK does), MODEL, MCP_URL and MCP_KEY. It speaks Chat
Completions, as with any provider but OpenAI itself, and sends no traces there.
"""

import asyncio
import os
import sys

from agents import Agent, Runner, set_default_openai_api, set_tracing_disabled
from agents.mcp import MCPServerStreamableHttp
from openai.types.responses import ResponseTextDeltaEvent

INSTRUCTIONS = "You look after a repository. Use the tools; never guess what they can tell you."

set_default_openai_api("chat_completions")
set_tracing_disabled(True)


async def main(question: str) -> None:
    headers = {"Authorization": f"Bearer {os.environ['MCP_KEY']}"}
    reached = {"url": os.environ["MCP_URL"], "headers": headers, "timeout": 60}
    async with MCPServerStreamableHttp(reached, client_session_timeout_seconds=60) as server:
        agent = Agent("caretaker", instructions=INSTRUCTIONS, model=os.environ["MODEL"], mcp_servers=[server])
        run = Runner.run_streamed(agent, question)
        async for event in run.stream_events():
            if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
                print(event.data.delta, end="", flush=True)
    print()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
