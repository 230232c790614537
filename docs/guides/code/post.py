"""A clerk that answers a letter once somebody has read it."""

from answerable import Answerable, Run

app = Answerable(data=".answerable/data", policy="policy")


@app.tool(effect="write", idempotency="key")
async def file_letter(letter: str, *, key: str) -> str:
    """Put a letter into the files."""
    return f"{letter} is filed"


@app.tool(effect="write", idempotency="key")
async def stamp_letter(letter: str, *, key: str) -> str:
    """Put a stamp on a letter."""
    return f"{letter} is stamped"


@app.agent(name="clerk")
async def clerk(run: Run, letter: str) -> str:
    """File a letter, and answer it when it was read."""
    await run.tool("file_letter", letter=letter)
    return await run.signal("read", str)
