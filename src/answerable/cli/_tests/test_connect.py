"""The lines that `connect` prints are those that work."""

import ast
import json

import pytest

from answerable.cli._connect import LINES
from answerable.cli._main import run


@pytest.mark.parametrize("framework", LINES)
def test_the_lines_name_the_url_and_the_key(framework: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["connect", framework, "--url", "http://gate:1/", "--key", "ans_k", "--model", "m"])
    said = capsys.readouterr().out

    assert "http://gate:1" in said
    assert "http://gate:1//" not in said
    assert "ans_k" in said
    assert "/mcp" in said
    if framework == "cursor":
        json.loads(said)
    elif framework != "claude-code":
        ast.parse(said)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["openai", "anthropic"])
def test_the_lines_for_the_vendors_sdks_run(framework: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(["connect", framework, "--key", "ans_k"])
    names: dict[str, object] = {}

    exec(capsys.readouterr().out, names)

    assert str(getattr(names["model"], "base_url", "")).startswith("http://127.0.0.1:8700")
