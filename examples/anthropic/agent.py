"""An agent on the `anthropic` SDK, with the tools of an MCP server.

    python agent.py "What is new in the repository?"

It reads ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY (as the SDK does), MODEL, MCP_URL and MCP_KEY.
"""

import asyncio
import os
import sys

from anthropic import AsyncAnthropic
from mcp import ClientSession
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

INSTRUCTIONS = "You look after a repository. Use the tools; never guess what they can tell you."


async def main(question: str) -> None:
    headers = {"Authorization": f"Bearer {os.environ['MCP_KEY']}"}
    async with (
        AsyncAnthropic() as model,
        create_mcp_http_client(headers) as http,
        streamable_http_client(os.environ["MCP_URL"], http_client=http) as (read, write, *_),
        ClientSession(read, write) as server,
    ):
        await server.initialize()
        tools = [
            {"name": tool.name, "description": tool.description or "", "input_schema": tool.inputSchema}
            for tool in (await server.list_tools()).tools
        ]
        messages = [{"role": "user", "content": question}]
        for _turn in range(20):
            async with model.messages.stream(
                model=os.environ["MODEL"], max_tokens=1000, system=INSTRUCTIONS, messages=messages, tools=tools
            ) as stream:
                async for text in stream.text_stream:
                    print(text, end="", flush=True)
                said = await stream.get_final_message()
            if said.stop_reason != "tool_use":
                break
            results = []
            for block in said.content:
                if block.type == "tool_use":
                    done = await server.call_tool(block.name, block.input)
                    results.append(
                        {
                            "type": "tool_result",
                            "tool_use_id": block.id,
                            "content": "\n".join(part.text for part in done.content if part.type == "text"),
                            "is_error": done.isError,
                        }
                    )
            messages += [{"role": "assistant", "content": said.content}, {"role": "user", "content": results}]
    print()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
