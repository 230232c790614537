"""A gate whose agents are other users: real users, asked of the kernel, in receipts and in the verifier's grade.

Needs to become another user: root, or `sudo` without a password. There is no other way to have two users, so where
there is neither, these tests fail and say so.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from answerable_verify import verify

AGENT = Path(__file__).with_name("_other_user.py")
AGENT_UID, OTHER_UID = 61_002, 61_003
APP = """
from answerable import Answerable

app = Answerable(data="data", policy="policy")
app.wired("desk")


@app.tool(effect="write")
async def note(text: str) -> str:
    return f"noted: {text}"
"""


def as_other(uid: int, *words: str) -> dict[str, Any]:
    """What the agent says when it is this user."""
    command = [sys.executable, "-I", str(AGENT), str(uid), *words]
    if os.geteuid() != 0 and uid != os.geteuid():
        if shutil.which("sudo") is None or subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode:
            pytest.fail("this test needs root, or sudo without a password, to become another user")
        command = ["sudo", "-n", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@dataclass
class Served:
    """A gate that serves on a socket, in a process of its own."""

    folder: Path
    socket: Path
    process: subprocess.Popen[str]
    key: str

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def meet(self, uid: int) -> dict[str, Any]:
        """An agent of this user calls a tool; one that is not the gate's own tries the rest too."""
        pid = 0 if uid == os.geteuid() else self.process.pid
        return as_other(uid, str(self.socket), self.key, str(self.data), str(pid))

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise


def answerable(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "answerable.cli", *words], cwd=folder, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder that every user can reach, for the socket; the data is where they cannot."""
    (tmp_path / "policy" / "authorize").mkdir(parents=True)
    (tmp_path / "policy" / "authorize" / "all.cedar").write_text('@id("all") permit (principal, action, resource);')
    (tmp_path / "served.py").write_text(APP)
    with tempfile.TemporaryDirectory(prefix="gate-") as open_to_all:
        os.chmod(open_to_all, 0o755)
        yield Path(open_to_all) / "gate.sock"


def serving(folder: Path, socket: Path, *more: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "answerable.cli", "serve", "served:app", "--socket", str(socket), *more],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line == f"listening at {socket}\n", line + process.stderr.read()
    return process


@pytest.fixture
def served(place: Path, tmp_path: Path) -> Iterator[Served]:
    key = json.loads(answerable(tmp_path, "agent", "key", "new", "desk", "--data", "data", "--json").stdout)["key"]
    process = serving(tmp_path, place)
    there = Served(tmp_path, place, process, key)
    yield there
    there.end()


@pytest.mark.requirement("EV-1", "SB-3")
def test_an_agent_of_another_user_is_served_and_reaches_nothing_of_the_gate(served: Served) -> None:
    found = served.meet(AGENT_UID)

    assert found["uid"] == AGENT_UID
    assert found["call"]["status"] == 200, found["call"]
    assert "noted: from afar" in found["call"]["body"]
    assert set(found["tried"].values()) <= {"PermissionError"}, found["tried"]


@pytest.mark.requirement("EV-1", "EV-3")
def test_receipts_and_the_verifiers_grade_say_separate_user(served: Served, tmp_path: Path) -> None:
    served.meet(AGENT_UID)
    runs = json.loads(answerable(tmp_path, "runs", "list", "--data", "data", "--json").stdout)
    exported = answerable(
        tmp_path,
        "evidence",
        "export",
        runs[0]["run"],
        "--data",
        "data",
        "--out",
        "run.zip",
        "--trust-out",
        "trust.toml",
    )
    assert exported.returncode == 0, exported.stderr
    trust = tmp_path / "trust.toml"
    trust.write_text(trust.read_text() + 'isolation = "separate-user"\n')

    report = verify(tmp_path / "run.zip", trust)

    assert (report.isolation, report.findings) == ("separate-user", ())
    assert not any("asks for" in question for question in report.open_questions)
    assert any("root" in claim for claim in report.not_established)
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    said = subprocess.run(
        ["bash", "unpacked/VERIFY.sh", "--trust", "trust.toml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    assert "kept from the gate by: separate-user" in said
    assert "asks for separate-user" not in said


@pytest.mark.requirement("EV-1")
def test_a_process_of_the_gates_own_user_is_not_taken_for_an_agent(served: Served) -> None:
    found = served.meet(os.geteuid())

    assert found["call"]["status"] == 403
    assert json.loads(found["call"]["body"])["error"]["code"] == "refused.peer_refused"
    assert served.meet(AGENT_UID)["call"]["status"] == 200  # and the others are served on


def test_of_other_users_only_those_who_are_named_are_served(place: Path, tmp_path: Path) -> None:
    key = json.loads(answerable(tmp_path, "agent", "key", "new", "desk", "--data", "data", "--json").stdout)["key"]
    process = serving(tmp_path, place, "--user", str(AGENT_UID))
    there = Served(tmp_path, place, process, key)

    statuses = [there.meet(uid)["call"]["status"] for uid in (AGENT_UID, OTHER_UID)]

    there.end()
    assert statuses == [200, 403]


@pytest.mark.requirement("EV-3")
def test_a_weaker_gate_leaves_a_verifier_who_asks_for_more_undetermined(tmp_path: Path, place: Path) -> None:
    (tmp_path / "inside.py").write_text(
        APP.replace('app.wired("desk")', "\n@app.agent\nasync def clerk(run, given):\n    return given\n")
    )
    run = json.loads(answerable(tmp_path, "run", "inside:app", "--input", "1", "--json").stdout)["run"]
    answerable(tmp_path, "evidence", "export", run, "--data", "data", "--out", "run.zip", "--trust-out", "trust.toml")
    trust = tmp_path / "trust.toml"

    assert verify(tmp_path / "run.zip", trust).verdict == "verified"
    trust.write_text(trust.read_text() + 'isolation = "separate-user"\n')
    report = verify(tmp_path / "run.zip", trust)

    assert (report.verdict, report.exit_code, report.isolation) == ("undetermined", 3, "same-process")
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    shell = subprocess.run(
        ["bash", "unpacked/VERIFY.sh", "--trust", "trust.toml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (shell.returncode, "asks for separate-user" in shell.stdout) == (3, True)
    node = Path(__file__).parents[2] / "conformance" / "node-verify" / "main.mjs"
    asked = subprocess.run(
        ["node", str(node), "run.zip", "--trust", "trust.toml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (asked.returncode, "less than separate-user" in asked.stdout) == (3, True)


@pytest.mark.parametrize(
    ("application", "words", "problem"),
    [
        ("inside", (), "runs in the gate's own process"),
        ("served", ("--user", "0"), "is the gate's own, or root"),
        ("served", ("--user", "nobody-of-this-name"), "there is no user"),
        ("open", (), "other users can look into"),
        ("within", (), "in the data directory"),
    ],
)
def test_a_gate_that_could_not_keep_its_word_does_not_start(
    tmp_path: Path, place: Path, application: str, words: tuple[str, ...], problem: str
) -> None:
    inside = APP + "\n@app.agent\nasync def clerk(run, given):\n    return given\n"
    (tmp_path / "inside.py").write_text(inside)
    (tmp_path / "data").mkdir(mode=0o755 if application == "open" else 0o700)
    socket = tmp_path / "data" / "s.sock" if application == "within" else place
    module = application if application == "inside" else "served"

    done = answerable(tmp_path, "serve", f"{module}:app", "--socket", str(socket), *words)

    assert done.returncode == 2
    assert problem in done.stderr
