"""Agents that wait, for a benchmark of what that costs and for the tests that count it."""

from datetime import timedelta
from pathlib import Path

from answerable import Answerable, Limits, Run

__all__ = ["an_app"]


def an_app(directory: Path) -> Answerable:
    """An agent that asks a person, one that sleeps for an hour, and one that walks for a while before it waits."""
    rules = directory / "policy" / "authorize"
    rules.mkdir(parents=True, exist_ok=True)
    (rules / "all.cedar").write_text('@id("all") permit (principal, action, resource);')
    app = Answerable(data=directory / "data", policy=rules.parent)

    @app.tool(effect="read", trusted=True)
    async def look(n: int) -> int:
        return n

    @app.agent
    async def asks(run: Run, given: int) -> int:
        await run.approval(f"may {given} go on?", role="lead")
        return given

    @app.agent
    async def sleeps(run: Run, given: int) -> int:
        await run.sleep(timedelta(hours=1))
        return given

    @app.agent(limits=Limits(steps=None, identical_calls=None))
    async def walks(run: Run, given: int) -> int:
        for n in range(given):
            await run.tool("look", n=n)
        await run.signal("go")
        return given

    return app
