"""A letter that cannot be sent twice, sent over a relay that neither honours keys nor can be asked."""

import asyncio
from datetime import timedelta

from answerable import Answerable, Run

app = Answerable(data=".answerable/data", policy="policy")


@app.tool(effect="irreversible", resource="letter:{to}", timeout=timedelta(seconds=0.2))
async def send_letter(to: str) -> dict[str, bool]:
    """Send a letter; the relay takes it and never answers."""
    await asyncio.Event().wait()
    return {"sent": True}


@app.agent(name="clerk")
async def clerk(run: Run, to: str) -> dict[str, bool]:
    """Send one letter."""
    sent: dict[str, bool] = await run.tool("send_letter", to=to)
    return sent
