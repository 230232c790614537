"""A trip of two bookings, each with a tool that undoes it."""

from answerable import Answerable, Run

app = Answerable(data=".answerable/data", policy="policy")


@app.tool(effect="write", idempotency="key", compensate="cancel_flight", resource="flight:{to}")
async def book_flight(to: str, *, key: str) -> dict[str, str]:
    """Book a flight."""
    return {"flight": f"F-{key[:4]}"}


@app.tool(effect="write", idempotency="key", resource="flight:{flight}")
async def cancel_flight(flight: str, *, key: str) -> str:
    """Give a flight back; the gate takes its number from what the booking returned."""
    return f"{flight} is cancelled"


@app.tool(effect="write", idempotency="key", compensate="cancel_room", resource="room:{town}")
async def book_room(town: str, nights: int, *, key: str) -> dict[str, str]:
    """Book a room."""
    if nights > 5:
        raise ValueError("nothing is free for so long")
    return {"room": f"R-{key[:4]}"}


@app.tool(effect="write", idempotency="key", resource="room:{room}")
async def cancel_room(room: str, *, key: str) -> str:
    """Give a room back."""
    return f"{room} is cancelled"


@app.agent(name="planner")
async def planner(run: Run, nights: int) -> list[dict[str, str]]:
    """Book a trip to Oslo."""
    flight = await run.tool("book_flight", to="Oslo")
    room = await run.tool("book_room", town="Oslo", nights=nights)
    return [flight, room]
