"""A test that is killed leaves no server behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_STARTS_ONE = """
import os, subprocess, time
from tests.leash import leash
user = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}  # as Postgres is run
server = subprocess.Popen(["sleep", "600"], preexec_fn=leash(), start_new_session=True, **user)
print(server.pid, flush=True)
time.sleep(600)
"""


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_server_whose_test_was_killed_ends_with_it() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))}
    with subprocess.Popen(
        [sys.executable, "-c", _STARTS_ONE], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as test:
        assert test.stdout is not None
        server = int(test.stdout.readline())
        assert not is_gone(server)

        test.send_signal(signal.SIGKILL)

        deadline = time.monotonic() + 60
        while not is_gone(server):
            assert time.monotonic() < deadline, "the server outlived its test"
            time.sleep(0.05)
