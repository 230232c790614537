"""`answerable queues`, on a record that a gate left behind."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest

from answerable import Answerable, Run
from answerable.app import all_projections
from answerable.cli._main import run
from answerable.ledger import rebuild


def an_app(directory: Path) -> Answerable:
    (directory / "policy").mkdir(exist_ok=True)
    (directory / "policy" / "authorize.cedar").write_text('@id("all") permit (principal, action, resource);')
    app = Answerable(data=directory / "data", policy=directory / "policy")

    @app.agent
    async def clerk(run: Run, given: int) -> int:
        return given

    return app


def test_queues_are_listed_from_the_record_and_rebuilt_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = an_app(tmp_path)
    app.queue("agent:clerk", rate=1, per=timedelta(days=1), waiting=5)

    async def main() -> list[str]:
        async with app.gate() as gate:
            first = await gate.start("clerk", 0)
            await gate.result(first)
            return [await gate.start("clerk", n, priority=9 - n) for n in range(1, 4)]

    waiting = asyncio.run(main())
    assert run(["queues", "show", "agent:clerk", "--json", "--data", str(app.data)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert run(["queues", "show", "agent:nobody", "--data", str(app.data)]) == 4
    rebuilt = {each.table: each for each in rebuild(app.data, all_projections())}

    assert (said["queue"]["rate"], said["queue"]["period_s"], said["queue"]["waits"]) == (1, 86400, 3)
    assert [each["run"] for each in said["next"]] == waiting[::-1]
    assert rebuilt["queues"].rows == 1
    assert [each.table for each in rebuilt.values() if not each.is_equal] == []
