"""The clerk of tomorrow: it stamps a letter before it files it."""

from post import app

from answerable import Run


@app.agent(name="clerk")
async def clerk(run: Run, letter: str) -> str:
    """Stamp a letter, file it, and answer it when it was read."""
    await run.tool("stamp_letter", letter=letter)
    await run.tool("file_letter", letter=letter)
    return await run.signal("read", str)
