"""An agent elsewhere, two providers, one route."""

import os

from answerable import Answerable, Limits, Upstream

app = Answerable(data=".answerable/data", policy="policy")
for name, variable in (("openai", "OPENAI_BASE_URL"), ("backup", "BACKUP_BASE_URL")):
    app.upstream(
        Upstream(
            name=name,
            dialect="chat",
            base_url=os.environ.get(variable, "https://api.openai.com/v1"),
            key=os.environ.get(f"{name.upper()}_API_KEY", ""),
        )
    )
app.route("gpt-5-mini", "openai:gpt-5-mini", "backup:gpt-5-mini")
app.wired("desk", own_tools=["calculator"], limits=Limits(steps=200, tokens=500_000))
