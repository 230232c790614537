"""The gate before the agents of `examples/`: two providers, three tool servers that others wrote, one agent.

    REPOSITORY=… FILES=… answerable serve caretaker:app

An agent reaches the providers at `/v1` and every tool at `/mcp`. The providers' keys stay here.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

from answerable import Answerable, Limits, LocalProvider, ToolDeclaration, Upstream

HERE = Path(__file__).parent

app = Answerable(data=".answerable/data", policy=HERE / "policy")

for name, dialect, base_url in (
    ("openai", "chat", "https://api.openai.com/v1"),
    ("anthropic", "messages", "https://api.anthropic.com/v1"),
):
    variable = name.upper()
    app.upstream(
        Upstream(
            name=name,
            dialect=dialect,
            base_url=os.environ.get(f"{variable}_BASE_URL", base_url),
            key=os.environ.get(f"{variable}_API_KEY", ""),
        )
    )

if os.environ.get("LOCAL_MODEL"):
    app.upstream(LocalProvider())
    app.route("local", "local:smollm2-135m-instruct")

# The operator says what a tool does. What is not named here counts as a write.
read = ToolDeclaration(effect="read")
repository = os.environ["REPOSITORY"]
app.mcp(
    "git",
    command=[sys.executable, "-m", "mcp_server_git", "--repository", repository],
    declare={"git_log": read, "git_status": read, "git_diff": read, "git_show": read},
)
app.mcp(
    "time",
    command=[sys.executable, "-m", "mcp_server_time"],
    declare={"get_current_time": read, "convert_time": read},
)
app.mcp(
    "files",
    command=[
        *os.environ.get("FILES_SERVER", "npx -y @modelcontextprotocol/server-filesystem").split(),
        os.environ["FILES"],
    ],
    declare={
        "list_directory": read,
        "read_text_file": read,
        "write_file": ToolDeclaration(effect="write", resource="file:{path}"),
    },
)

app.wired(
    "caretaker",
    owner="platform@example.com",
    limits=Limits(steps=60, wall=timedelta(hours=1), tokens=200_000),
)
