"""The command: what it prints, and its exit codes."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from answerable_verify.__main__ import main

VECTORS = Path(__file__).parents[3] / "conformance" / "vectors" / "bundles.json"


def write_bundle(directory: Path, name: str) -> Path:
    """The bundle of one vector as a ZIP."""
    (case,) = (case for case in json.loads(VECTORS.read_text(encoding="utf-8"))["cases"] if case["name"] == name)
    path = directory / "run.evidence.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in case["members"].items():
            archive.writestr(member, text)
    return path


def write_trust(directory: Path, **changed: str) -> Path:
    """The trust of the vectors as a file."""
    said = tomllib.loads(json.loads(VECTORS.read_text(encoding="utf-8"))["trusts"]["plain"]) | changed
    path = directory / "trust.toml"
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in said.items()), encoding="ascii")
    return path


def test_a_bundle_that_verifies_ends_with_0_and_says_what_that_does_not_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, trust = write_bundle(tmp_path, "an ordinary run"), write_trust(tmp_path)

    code = main([str(bundle), "--trust", str(trust)])

    said = capsys.readouterr().out
    assert code == 0
    assert said.startswith("VERIFIED against your trust file")
    assert "unknown: intent rcpt_" in said
    assert "not established by a pass" in said


def test_a_pipe_is_not_waited_for_and_a_page_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe.zip")
    bundle = write_bundle(tmp_path, "an ordinary run")

    assert main([str(tmp_path / "pipe.zip")]) == 2
    assert main([str(bundle), "--html", str(bundle / "report.html")]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert "it is no regular file" in said.err
    assert "report.html` cannot be written" in said.err


@pytest.mark.parametrize(
    ("name", "with_trust", "code", "verdict"),
    [
        ("an ordinary run", False, 3, "self-consistent"),
        ("a run without run.close", True, 3, "undetermined"),
        ("two outcomes of a step", True, 4, "does not verify"),
        ("two outcomes of a step", False, 4, "does not verify"),
    ],
)
def test_the_exit_code_is_the_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, with_trust: bool, code: int, verdict: str
) -> None:
    bundle, trust = write_bundle(tmp_path, name), write_trust(tmp_path)

    assert main([str(bundle), "--json", *(["--trust", str(trust)] if with_trust else [])]) == code

    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (report["verdict"], report["exitCode"]) == (verdict, code)
    assert {check["name"] for check in report["checks"]} >= {"signature", "chain", "inclusion", "checkpoint"}
    assert all(check["covers"] for check in report["checks"])


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"format": "something else"}, "does not say format"),
        ({"log_key": "not PEM"}, "not a public key in PEM"),
        ({"origin": ""}, "names no log origin"),
    ],
)
def test_a_trust_file_that_cannot_be_used_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str], why: str
) -> None:
    bundle, trust = write_bundle(tmp_path, "an ordinary run"), write_trust(tmp_path, **changed)

    assert main([str(bundle), "--trust", str(trust)]) == 2
    assert why in capsys.readouterr().err


def test_one_key_for_log_and_gate_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tomllib.loads(write_trust(tmp_path).read_text())["log_key"]

    code = main([str(write_bundle(tmp_path, "an ordinary run")), "--trust", str(write_trust(tmp_path, gate_key=key))])

    assert code == 2
    assert "each role has its own" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.zip")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_file_that_is_no_zip_does_not_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.evidence.zip"
    path.write_bytes(b"hello")

    assert main([str(path)]) == 4
    assert "first fault: container: the file is not a ZIP" in capsys.readouterr().out


def test_the_verifier_loads_nothing_of_the_product() -> None:
    script = (
        "import sys, answerable_verify.__main__\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "assert not roots & {'answerable', 'nacl', 'sqlalchemy', 'pydantic'}, roots\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr


def test_the_verifier_works_where_nothing_fast_is_installed(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['orjson'] = sys.modules['pybase64'] = None\n"
        "from answerable_verify.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = [str(write_bundle(tmp_path, "an ordinary run")), "--trust", str(write_trust(tmp_path))]

    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("VERIFIED")
