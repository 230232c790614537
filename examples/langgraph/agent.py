"""An agent on LangGraph, with the tools of an MCP server by `langchain-mcp-adapters`.

    python agent.py "What is new in the repository?"

It reads OPENAI_BASE_URL and OPENAI_API_KEY (as ChatOpenAI does), MODEL, MCP_URL and MCP_KEY.
"""

import asyncio
import os
import sys

from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_openai import ChatOpenAI

INSTRUCTIONS = "You look after a repository. Use the tools; never guess what they can tell you."


async def main(question: str) -> None:
    server = {
        "transport": "streamable_http",
        "url": os.environ["MCP_URL"],
        "headers": {"Authorization": f"Bearer {os.environ['MCP_KEY']}"},
    }
    tools = await MultiServerMCPClient({"tools": server}).get_tools()
    graph = create_agent(ChatOpenAI(model=os.environ["MODEL"], streaming=True), tools, system_prompt=INSTRUCTIONS)
    asked = {"messages": [{"role": "user", "content": question}]}
    async for message, _ in graph.astream(asked, stream_mode="messages"):
        if isinstance(message, AIMessageChunk):
            print(message.text, end="", flush=True)
    print()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
