"""Presidio's recognisers beside ours, the real ones, in the environment that has them."""

import subprocess
from pathlib import Path

import pytest

from tests.architecture.files import ROOT

PYTHON = ROOT / ".venv" / "agentdojo" / "bin" / "python"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
_PROGRAM = """
import hashlib
from pathlib import Path
from answerable.policy import Cloak, PersonalRule, load_recognisers, read_labels

rules = read_labels(Path("labels.toml"))
rule = rules.personal["model:*"]
cloak = Cloak(rule=rule, name=lambda said: hashlib.sha256(said).digest(), further=load_recognisers(rules.recognisers))
text = "NHS 943 476 5919, wallet 16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ, card 4111 1111 1111 1111, order 1001"
hidden = cloak.hide(text)
assert cloak.reveal(hidden) == text
print(hidden)
"""


@pytest.mark.requirement("GV-5")
def test_what_presidio_knows_is_found_and_replaced_beside_what_we_know(tmp_path: Path) -> None:
    (tmp_path / "labels.toml").write_text('recognisers = ["presidio"]\n[models."*"]\npersonal = "tokenise"')

    done = subprocess.run(
        [PYTHON, "-c", _PROGRAM],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=220,
    )

    assert done.returncode == 0, done.stderr
    kinds = [part.partition("#")[0] for part in done.stdout.split("[")[1:]]
    assert kinds == ["uk-nhs", "crypto", "card"]
    assert done.stdout.rstrip().endswith("order 1001")
