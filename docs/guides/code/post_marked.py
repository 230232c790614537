"""The clerk of tomorrow, as runs of today can live with it."""

from post import app

from answerable import Run


@app.agent(name="clerk")
async def clerk(run: Run, letter: str) -> str:
    """Stamp a letter where it is not too late, file it, and answer it when it was read."""
    if await run.version("stamps"):
        await run.tool("stamp_letter", letter=letter)
    await run.tool("file_letter", letter=letter)
    return await run.signal("read", str)
