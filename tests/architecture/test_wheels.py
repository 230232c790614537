"""Two wheels: the gate's without its tests, and the verifier's, which needs one library and nothing of ours."""

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.architecture.files import ROOT

pytestmark = pytest.mark.slow


def _built(part: Path, directory: Path) -> zipfile.ZipFile:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)],
        cwd=part,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return zipfile.ZipFile(next(directory.glob("*.whl")))


def _requirements(wheel: zipfile.ZipFile) -> list[str]:
    metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(metadata).decode()).get_all("Requires-Dist", [])


def test_the_gates_wheel_holds_its_packages_its_types_and_its_licence_but_no_tests(tmp_path: Path) -> None:
    names = _built(ROOT, tmp_path).namelist()

    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"answerable"}
    assert "answerable/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert [name for name in names if "_tests/" in name] == []


@pytest.mark.requirement("EV-3")
def test_the_verifiers_wheel_works_alone_with_cryptography(tmp_path: Path) -> None:
    wheel = _built(ROOT / "src" / "answerable_verify", tmp_path)
    names = wheel.namelist()
    wheel.extractall(tmp_path / "alone")

    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"answerable_verify"}
    assert [name for name in names if "_tests/" in name] == []
    assert [row.split(">")[0] for row in _requirements(wheel) if "extra ==" not in row] == ["cryptography"]
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import answerable_verify.__main__ as found\n"
        "ours = [name for name in sys.modules if name.split('.')[0] == 'answerable']\n"
        "assert found.__file__.startswith(sys.argv[1]) and not ours, (found.__file__, ours)"
    )
    alone = str(tmp_path / "alone")
    subprocess.run([sys.executable, "-I", "-c", program, alone], check=True, timeout=30, capture_output=True)
