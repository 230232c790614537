"""A mill that takes two sacks an hour, and no more than three may wait."""

from datetime import timedelta

from answerable import Answerable, Run

app = Answerable(data=".answerable/data", policy="policy")
app.queue("agent:miller", concurrency=1, rate=2, per=timedelta(hours=1), waiting=3)


@app.agent(name="miller")
async def miller(run: Run, sack: int) -> str:
    """Grind a sack."""
    return f"sack {sack} is flour"
