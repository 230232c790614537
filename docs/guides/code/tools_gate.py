"""MCP servers behind the gate."""

import sys

from answerable import Answerable, Limits, ToolDeclaration

app = Answerable(data=".answerable/data", policy="policy")

app.mcp(
    "time",
    command=[sys.executable, "-m", "mcp_server_time"],
    declare={
        "get_current_time": ToolDeclaration(effect="read", trusted=True),
        "convert_time": ToolDeclaration(effect="read", trusted=True),
    },
)

app.wired("desk", limits=Limits(steps=500))
