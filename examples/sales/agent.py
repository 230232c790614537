"""A sales agent on pydantic-ai. It knows nothing of a gate.

    python agent.py "Work on lead L-1"

It reads OPENAI_BASE_URL and OPENAI_API_KEY (as the SDK below it does), MODEL, MCP_URL and MCP_KEY, and prints its
report as JSON.
"""

import asyncio
import os
import sys

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.models.openai import OpenAIChatModel

INSTRUCTIONS = """\
You work on sales leads. Look a lead up, research its company, draft a mail, write what you learned into the CRM,
and send the mail. If a tool tells you that something is wrong with your arguments, put it right. If it tells you
that a person has to approve, say so in your report and leave it there; asked to go on, send exactly the same mail.
"""


class Report(BaseModel):
    """What became of the lead."""

    lead: str
    was_sent: bool
    note: str


async def main(task: str) -> None:
    headers = {"Authorization": f"Bearer {os.environ['MCP_KEY']}"}
    tools = MCPToolset(os.environ["MCP_URL"], headers=headers, read_timeout=120, tool_error_behavior="failed")
    agent = Agent(OpenAIChatModel(os.environ["MODEL"]), instructions=INSTRUCTIONS, toolsets=[tools], output_type=Report)
    done = await agent.run(task)
    print(done.output.model_dump_json())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
