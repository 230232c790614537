"""The tools of an MCP server behind the gate."""

import sys

from answerable import Answerable, Money, ToolDeclaration

app = Answerable(data=".answerable/data", policy="policy")

# --8<-- [start:mcp]
app.mcp(
    "shop",
    command=[sys.executable, "shop.py", "shop.sqlite3"],
    declare={
        "find_order": ToolDeclaration(effect="read", resource="order:{order_id}", trusted=True),
        "refund": ToolDeclaration(
            effect="irreversible",
            idempotency="idempotency_key",
            probe="refund_status",
            resource="order:{order_id}",
            amount=lambda said: Money(said["amount_minor"], said["currency"]),
        ),
    },
)
# --8<-- [end:mcp]
