"""Every command a page shows is one that the command line knows, with the options shown."""

import os
import re
import subprocess
import sys

import pytest

from tests.architecture.files import texts

pytestmark = pytest.mark.slow


def _shown() -> dict[tuple[str, ...], set[str]]:
    """By command, the options that pages show with it."""
    found: dict[tuple[str, ...], set[str]] = {}
    for text in texts(".md").values():
        lines = re.findall(r"^\$ (answerable .+)$", text, flags=re.MULTILINE)
        lines += re.findall(r"(?<!`)`(answerable [^`\n]+)`(?!`)", text)
        for line in lines:
            words = re.match(r"answerable((?: [a-z][a-z-]*(?![\w:./]))*)", line)
            if words and words[1]:
                command = tuple(words[1].split())
                found.setdefault(command, set()).update(re.findall(r"(?<!\S)--[a-z-]+", line))
    return found


_SHOWN = _shown()


@pytest.mark.parametrize("command", sorted(_SHOWN), ids=" ".join)
def test_a_command_on_a_page_exists_with_its_options(command: tuple[str, ...]) -> None:
    helped = subprocess.run(
        [sys.executable, "-c", "from answerable.cli import main; main()", *command, "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"},
    )

    assert helped.returncode == 0, helped.stderr
    assert {option for option in _SHOWN[command] if option not in helped.stdout} == set()
