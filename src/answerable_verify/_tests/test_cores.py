"""Receipts read by helpers: the same report, whatever becomes of them."""

import json
import os
import signal
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from answerable_verify import BadContainer, Report, _cores, _reading, read_trust, verify, verify_members
from answerable_verify._container import Container
from answerable_verify._cores import read_all
from answerable_verify._reading import Read

pytestmark = pytest.mark.requirement("EV-3")

VECTORS = Path(__file__).parents[3] / "conformance" / "vectors" / "bundles.json"
SHOWN = json.loads(VECTORS.read_text(encoding="utf-8"))


def members_of(name: str) -> dict[str, bytes]:
    (case,) = (case for case in SHOWN["cases"] if case["name"] == name)
    return {member: text.encode() for member, text in case["members"].items()}


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return path


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    path = tmp_path / "trust.toml"
    path.write_text(SHOWN["trusts"]["plain"])
    return path


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a bundle of a few receipts is many chunks."""
    monkeypatch.setattr(_cores, "_CHUNK", 2)


def read_by(path: Path, trust: Path, helpers: int) -> list[Read]:
    with path.open("rb") as file:
        members = Container(file)
        names = sorted(name for name in members if name.startswith("receipts/"))
        return list(chain.from_iterable(read_all(members, names, read_trust(trust).gate_keys, helpers=helpers)))


def seen(reads: list[Read]) -> list[object]:
    return [(digest, _reading._FIELDS(receipt) if receipt else None, *rest) for digest, receipt, *rest in reads]


@pytest.mark.parametrize("helpers", [1, 3])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_helpers_say_of_each_receipt_what_the_caller_would(
    tmp_path: Path, trust: Path, helpers: int, method: int
) -> None:
    members = members_of("an ordinary run")
    members["receipts/000003.json"] = members["receipts/000003.json"].replace(b'"sig":"', b'"sig":"AAAA', 1)
    members["receipts/000004.json"] = b"{}"
    path = zipped(tmp_path / "b.zip", members, method)

    alone = read_by(path, trust, 0)

    assert seen(read_by(path, trust, helpers)) == seen(alone)
    assert [read.fault is None for read in alone[:5]] == [True, True, True, False, True]
    assert [read.holds for read in alone[:5]] == [True, True, False, None, True]


def test_a_helper_that_dies_costs_time_and_nothing_else(
    tmp_path: Path, trust: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "b.zip", members_of("an ordinary run"))
    start = _cores._start

    def killed(file: int) -> object:
        helper = start(file)
        assert helper is not None
        os.kill(helper.pid, signal.SIGKILL)
        return helper

    monkeypatch.setattr(_cores, "_start", killed)

    assert seen(read_by(path, trust, 2)) == seen(read_by(path, trust, 0))


def test_a_helper_that_answers_nonsense_is_not_believed(
    tmp_path: Path, trust: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "b.zip", members_of("an ordinary run"))
    monkeypatch.setattr(_cores, "_PROGRAM", "import sys\nsys.stdout.buffer.write(b'\\xff' * 4096)\n")

    assert seen(read_by(path, trust, 2)) == seen(read_by(path, trust, 0))


def test_a_helper_that_never_answers_is_not_waited_for(
    tmp_path: Path, trust: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "b.zip", members_of("an ordinary run"))
    monkeypatch.setattr(_cores, "_PROGRAM", "import sys\nwhile sys.stdin.buffer.read(1): pass\n")

    assert seen(read_by(path, trust, 2)) == seen(read_by(path, trust, 0))


def test_a_damaged_member_is_named_whoever_reads_it(tmp_path: Path, trust: Path) -> None:
    path = zipped(tmp_path / "b.zip", members_of("an ordinary run"), zipfile.ZIP_STORED)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"receipts/000005.json") + 60] ^= 1
    path.write_bytes(raw)

    for helpers in (0, 2):
        with pytest.raises(BadContainer, match="checksum") as refused:
            read_by(path, trust, helpers)
        assert refused.value.member == "receipts/000005.json"
    assert [found.member for found in verify(path, trust).findings] == ["receipts/000005.json"]


def test_members_of_a_file_and_in_memory_get_one_report(tmp_path: Path, trust: Path) -> None:
    def reports() -> Iterator[Report]:
        for case in SHOWN["cases"][:40]:
            members = {member: text.encode() for member, text in case["members"].items()}
            path = zipped(tmp_path / "b.zip", members)
            yield verify(path, trust)
            yield verify_members(members, read_trust(trust))

    of_file_and_memory = list(reports())

    assert of_file_and_memory[::2] == of_file_and_memory[1::2]
