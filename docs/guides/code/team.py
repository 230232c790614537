"""A planner that has two others do their part, and hands over to a clerk."""

from answerable import Answerable, Limits, Run

app = Answerable(data=".answerable/data", policy="policy")


@app.tool(effect="read", trusted=True)
async def find_fare(to: str) -> int:
    """Look up a fare."""
    return 20 * len(to)


@app.tool(effect="write", idempotency="key", resource="flight:{to}")
async def book_flight(to: str, *, key: str) -> str:
    """Book a flight."""
    return f"flight to {to}"


@app.agent
async def scout(run: Run, to: str) -> int:
    """Find a fare, and leave it where the others find it."""
    fare: int = await run.tool("find_fare", to=to)
    await run.shared.set("fare", fare)
    return fare


@app.agent
async def clerk(run: Run, to: str) -> str:
    """Book, if the fare that the scout left is fair."""
    fare = await run.shared.get("fare")
    if fare is None or fare.value > 100:
        return "too dear"
    booked: str = await run.tool("book_flight", to=to)
    return f"{booked} for {fare.value}"


@app.agent
async def planner(run: Run, to: str) -> str:
    """Ask the scout, then leave the rest to the clerk."""
    await run.delegate("scout", to, allow=["find_fare", "memory:shared.*"], limits=Limits(steps=5))
    await run.hand_over("clerk", to)


app.schedule("every-night", agent="planner", given="Oslo", cron="0 2 * * *", timezone="Europe/Berlin")
