"""A disk that is full for a moment puts no effect in doubt: its outcome is held until it can be written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("_full_disk.py")


@pytest.mark.requirement("RT-2")
@pytest.mark.parametrize("kind", ["irreversible", "keyed"])
def test_an_outcome_that_cannot_be_written_is_held_until_it_can_be(tmp_path: Path, kind: str) -> None:
    ran = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), kind], capture_output=True, text=True, timeout=50
    )

    assert ran.returncode == 0, ran.stderr[-3000:]
    assert json.loads(ran.stdout) == {
        "result": ["first", "second"],
        "done": ["first", "second"],
        "phases": ["run.open", "intent", "outcome", "intent", "outcome", "run.close"],
    }
