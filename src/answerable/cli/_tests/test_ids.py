"""What the shell offers behind TAB."""

import sys
from pathlib import Path

import pytest

from answerable.cli._main import run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starter application of `answerable init`, in the current directory, with one run on its record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("ANSWERABLE_DATA", raising=False)
    assert run(["init"]) == 0
    sys.modules.pop("agent", None)
    assert run(["run", "agent:app", "--input", '{"book": "b-7", "reader": "r-2"}']) == 0
    sys.modules.pop("agent", None)
    return tmp_path


def offered(monkeypatch: pytest.MonkeyPatch, capsys: Capture, words: str) -> list[str]:
    """What bash is offered for the last of these words."""
    capsys.readouterr()
    monkeypatch.setenv("_ANSWERABLE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"answerable {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(f"answerable {words}".split(" ")) - 1))
    assert run([]) == 0
    return capsys.readouterr().out.split()


def test_commands_and_those_below_them_are_offered(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert offered(monkeypatch, capsys, "appr") == ["approvals"]
    assert "rollback" in offered(monkeypatch, capsys, "runs r")


def test_runs_on_the_record_are_offered_where_a_run_is_wanted(
    library: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (found,) = offered(monkeypatch, capsys, "runs show ")

    assert found.startswith("run_")
    assert offered(monkeypatch, capsys, f"why {found}") == []
    assert offered(monkeypatch, capsys, f"receipts list {found[:8]}") == [found]
    assert offered(monkeypatch, capsys, "--tenant other runs show ") == []
    assert offered(monkeypatch, capsys, "runs show --data elsewhere ") == []
    assert not Path("elsewhere").exists()


def test_without_a_record_nothing_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANSWERABLE_DATA", raising=False)

    assert offered(monkeypatch, capsys, "approvals approve ") == []
