"""A stop tells what it came too late for."""

import asyncio
from pathlib import Path

import pytest

from answerable import Answerable, Run

pytestmark = pytest.mark.requirement("GV-3")


@pytest.mark.parametrize(("scope", "lists"), [("all", True), ("tool:ship", True), ("tool:recall", False)])
def test_a_stop_lists_what_was_dispatched_and_not_heard_of_with_what_undoes_it(
    tmp_path: Path, scope: str, lists: bool
) -> None:
    (tmp_path / "authorize.cedar").write_text('@id("any") permit(principal, action, resource);')
    app = Answerable(data=tmp_path / "data", policy=tmp_path)
    began, go_on = asyncio.Event(), asyncio.Event()

    @app.tool(effect="irreversible", resource="parcel:{parcel}", compensate="recall")
    async def ship(parcel: int) -> str:
        began.set()
        await go_on.wait()
        return "shipped"

    @app.tool(effect="write")
    async def recall(parcel: int) -> str:
        return "recalled"

    @app.agent
    async def clerk(run: Run, parcel: int) -> str:
        said: str = await run.tool(ship, parcel=parcel)
        return said

    async def main() -> None:
        async with asyncio.timeout(30), app.gate() as gate:
            first = await gate.start("clerk", 1)
            await began.wait()

            told = await gate.desk.stop(scope=scope, reason="wrong depot", by="robin")
            go_on.set()
            result = await gate.result(first)
            after = await gate.desk.stop(scope=scope, reason="still", by="robin")

            found = [(each["run"], each["action"], each["target"], each["compensation"]) for each in told["inFlight"]]
            assert found == ([(first, "ship", "parcel:1", "recall")] if lists else [])
            assert result == "shipped"
            assert after["inFlight"] == []

    asyncio.run(main())
