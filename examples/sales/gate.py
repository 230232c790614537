"""The gate before the sales agent.

    answerable serve gate:app

`OPENAI_BASE_URL` and `OPENAI_API_KEY` are the provider's here, `BOOKS` is where the desk keeps its books.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from answerable import Answerable, Limits, ToolDeclaration, Upstream

HERE = Path(__file__).parent
SLOW = ("--slow-ms", os.environ.get("SLOW_MS", "0"))


def lead_of(said: Any) -> str:
    """What a write to the CRM is about."""
    return f"lead:{said['update']['lead']}"


app = Answerable(data=".answerable/data", policy=HERE / "policy", specs=HERE / ".answerable" / "specs")
app.upstream(
    Upstream(
        name="openai",
        dialect="chat",
        base_url=os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1"),
        key=os.environ.get("OPENAI_API_KEY", ""),
    )
)
app.mcp(
    "crm",
    command=[sys.executable, str(HERE / "crm.py"), os.environ.get("BOOKS", "books.sqlite3"), *SLOW],
    declare={
        "find_lead": ToolDeclaration(effect="read", resource="lead:{lead}", trusted=True),
        "research_company": ToolDeclaration(effect="read"),  # anybody may have written what it finds
        "draft_outreach": ToolDeclaration(effect="write", idempotency="idempotency_key", resource="lead:{lead}"),
        "record_lead": ToolDeclaration(effect="write", idempotency="idempotency_key", resource=lead_of),
        # It knows no key, so a lost one is looked up before anything is sent again.
        "send_outreach": ToolDeclaration(effect="irreversible", probe="outreach_status", resource="lead:{lead}"),
        "outreach_status": ToolDeclaration(effect="read", resource="lead:{lead}"),
    },
)
app.wired(
    "sales",
    own_tools=["final_result"],  # pydantic-ai's own: the agent's structured report
    environment="production",
    owner="head-of-sales@example.com",
    escalation="sales-lead",
    stop="sales-lead",
    limits=Limits(steps=200, wall=timedelta(days=1), tokens=500_000),
)
