"""Orders to runs by the command line, with and without a running gate."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from answerable.cli._application import find_application
from answerable.cli._main import run
from answerable.server import ControlServer

pytestmark = pytest.mark.requirement("RT-4")

Capture = pytest.CaptureFixture[str]
_GUIDES = Path(__file__).parents[4] / "docs" / "guides" / "code"
DANA = ("--as", "dana", "--reason", "the meeting moved")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The application of the guide, in the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("ANSWERABLE_DATA", raising=False)
    (tmp_path / "policy" / "authorize").mkdir(parents=True)
    (tmp_path / "trip.py").write_text((_GUIDES / "trip.py").read_text())
    (tmp_path / "policy" / "authorize" / "trip.cedar").write_text((_GUIDES / "trip.cedar").read_text())
    yield tmp_path
    sys.modules.pop("trip", None)


def said(capsys: Capture, *words: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert run([*words, "--json"]) == code
    out, err = capsys.readouterr()
    return json.loads(out or err[err.index("{") :])


def test_orders_written_without_a_gate_take_effect_when_one_runs(folder: Path, capsys: Capture) -> None:
    said(capsys, "run", "trip:app", "--input", "9", code=1)
    (failed,) = said(capsys, "runs", "list")
    fork = said(capsys, "runs", "fork", failed["run"], "--from", "3", "--input", "2", *DANA)["run"]
    assert said(capsys, "runs", "show", fork)["origin"]["reason"] == "the meeting moved"
    assert said(capsys, "runs", "pause", fork, *DANA)["state"] == "paused"
    assert said(capsys, "runs", "pause", fork, *DANA, code=1)["error"]["code"] == "refused.control"
    said(capsys, "runs", "resume", fork, *DANA)

    assert said(capsys, "run", "trip:app", "--run", fork)["result"][1]["room"]
    back = said(capsys, "runs", "rollback", fork, *DANA)["run"]
    undone = said(capsys, "run", "trip:app", "--run", back)["result"]["undone"]
    assert [each["by"] for each in undone] == ["cancel_room"]
    retry = said(capsys, "runs", "retry", failed["run"], "--key", "once", *DANA)["run"]
    assert said(capsys, "runs", "retry", failed["run"], "--key", "once", *DANA)["run"] == retry
    assert said(capsys, "runs", "kill", retry, *DANA)["state"] == "killed"
    assert said(capsys, "run", "trip:app", "--run", retry, code=1)["error"]["code"] == "refused.run_killed"
    assert said(capsys, "runs", "show", retry)["state"] == "killed"
    assert all(not each["missing"] and not each["extra"] for each in said(capsys, "rebuild"))


def test_an_order_reaches_a_running_gate_over_its_socket(folder: Path, capsys: Capture) -> None:
    async def story() -> Any:
        app = find_application("trip:app").app
        async with app.gate() as gate, ControlServer(app.data, gate.desk), asyncio.timeout(30):
            done = await gate.start("planner", 2)
            await gate.result(done)
            words = ["runs", "rollback", done, *DANA]
            back = (await asyncio.to_thread(said, capsys, *words))["run"]
            return await gate.result(back)

    assert [each["by"] for each in asyncio.run(story())["undone"]] == ["cancel_room", "cancel_flight"]


def test_an_order_without_a_name_or_a_reason_is_a_usage_error(folder: Path) -> None:
    assert run(["runs", "kill", "run_0", "--as", "dana"]) == 2
    assert run(["runs", "kill", "run_0", "--reason", "r"]) == 2
