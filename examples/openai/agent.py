"""An agent on the `openai` SDK, with the tools of an MCP server.

    python agent.py "What is new in the repository?"

It reads OPENAI_BASE_URL and OPENAI_API_KEY (as the SDK does), MODEL, MCP_URL and MCP_KEY.
"""

import asyncio
import json
import os
import sys

from mcp import ClientSession
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from openai import AsyncOpenAI
from openai.lib.streaming.chat import ChatCompletionStreamState

INSTRUCTIONS = "You look after a repository. Use the tools; never guess what they can tell you."


async def main(question: str) -> None:
    headers = {"Authorization": f"Bearer {os.environ['MCP_KEY']}"}
    async with (
        AsyncOpenAI() as model,
        create_mcp_http_client(headers) as http,
        streamable_http_client(os.environ["MCP_URL"], http_client=http) as (read, write, *_),
        ClientSession(read, write) as server,
    ):
        await server.initialize()
        tools = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.inputSchema},
            }
            for tool in (await server.list_tools()).tools
        ]
        messages = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": question}]
        for _turn in range(20):
            state = ChatCompletionStreamState()
            stream = await model.chat.completions.create(
                model=os.environ["MODEL"], messages=messages, tools=tools, stream=True
            )
            async for chunk in stream:
                state.handle_chunk(chunk)
                for choice in chunk.choices:
                    print(choice.delta.content or "", end="", flush=True)
            said = state.get_final_completion().choices[0].message
            if not said.tool_calls:
                break
            messages.append({"role": "assistant", "content": said.content, "tool_calls": said.tool_calls})
            for call in said.tool_calls:
                result = await server.call_tool(call.function.name, json.loads(call.function.arguments))
                text = "\n".join(block.text for block in result.content if block.type == "text")
                messages.append({"role": "tool", "tool_call_id": call.id, "content": text})
    print()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
