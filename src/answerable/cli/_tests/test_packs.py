"""Packs: ready policies that do what their tables say, and that `answerable init --pack` writes out."""

from pathlib import Path

import pytest

from answerable.app import read_config
from answerable.cli._init import PACKS
from answerable.cli._main import run
from answerable.policy import KnownAction, PolicySet, check_policies, run_policy_tests

FOLDER = Path(__file__).parents[1] / "_packs"
MOST_LINES = 80


def test_every_pack_is_offered() -> None:
    assert tuple(sorted(each.name for each in FOLDER.iterdir())) == PACKS


@pytest.mark.requirement("GV-1")
@pytest.mark.parametrize("pack", PACKS)
def test_a_pack_is_short_has_nothing_doubtful_and_does_what_its_table_says(
    pack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "--pack", pack]) == 0

    checked, tested = check_policies(Path("policy")), run_policy_tests(Path("policy"))

    assert sum(len(file.read_text().splitlines()) for file in Path("policy").rglob("*.cedar")) < MOST_LINES
    assert (checked.is_valid, checked.lints) == (True, ())
    assert [(each.name, each.problems) for each in tested.tests if not each.is_passed] == []
    assert tested.untried == ()
    assert run(["policy", "check", "--strict"]) == 0
    assert run(["policy", "test"]) == 0


@pytest.mark.requirement("GV-1")
def test_a_permit_that_is_wider_than_what_the_file_declares_fails_the_strict_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(["init", "--pack", "finance_ops"])
    file = Path("answerable.toml")
    hook = '\n[[notify]]\nwebhook = "https://chat.example.com/1"\nsecret_from = "A_SECRET_THAT_IS_NOT_SET"\n'
    file.write_text(file.read_text() + '\n[[budgets]]\nscope = "agent:ops"\namount = "100.00 EUR"\n' + hook)
    capsys.readouterr()

    narrow = run(["policy", "check", "--strict"])
    file.write_text(file.read_text().replace("100.00 EUR", "25000.00 EUR"))
    wide = run(["policy", "check", "--strict"])

    assert (narrow, wide) == (1, 0)
    said = capsys.readouterr().out
    assert "finance-pays-what-was-released: it permits 25000.00 EUR in one call" in said


@pytest.mark.parametrize("pack", PACKS)
def test_a_pack_declares_every_tool_that_its_policies_speak_of(pack: str) -> None:
    config = read_config(FOLDER / pack / "answerable.toml")

    policies = PolicySet.load(FOLDER / pack / "policy", actions=[KnownAction(name=name) for name in config.tools])

    groups = {group for policy in policies.policies.values() for group in policy.groups}
    assert groups == {group for agent in config.agents.values() for group in agent.groups}


def test_a_pack_that_there_is_not_is_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["init", str(tmp_path / "new"), "--pack", "warfare"]) == 2

    assert "finance_ops" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
