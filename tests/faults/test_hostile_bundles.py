"""Files that were made to do harm: bounded memory and time, and a clear answer."""

import base64
import os
import resource
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.vectors.logs import of_a_large_log
from conformance.vectors.making import bundle, canonical, checkpoint, envelope
from conformance.vectors.runs import an_ordinary_run
from tests.soak import IS_SOAK

pytestmark = [pytest.mark.requirement("EV-3"), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
_MIB = 1024**2
Members = dict[str, bytes]


def honest() -> Members:
    return {name: text.encode() for name, text in bundle(an_ordinary_run().envelopes()).items()}


def verified(path: Path) -> subprocess.CompletedProcess[str]:
    """The command's answer, within 768 MiB of address space and 20 s of CPU."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (768 * _MIB, 768 * _MIB))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))

    return subprocess.run(
        [sys.executable, "-m", "answerable_verify", str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limit,
    )


def zipped(path: Path, members: Members) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return path


def with_member(name: str, body: bytes) -> Members:
    return {**honest(), name: body}


def _signed(body: bytes) -> Members:
    return with_member("receipts/000003.json", envelope(body).encode())


HARMFUL: dict[str, Callable[[], Members]] = {
    "open brackets": lambda: with_member("manifest.json", b"[" * (20 * _MIB)),
    "empty arrays": lambda: with_member("proofs.json", b"[" + b"[]," * (5 * _MIB) + b"[]]"),
    "empty objects in a signed receipt": lambda: _signed(b'{"predicate":[' + b"{}," * (3 * _MIB) + b"{}]}"),
    "a number of a million digits": lambda: _signed(b'{"predicate":{"seq":' + b"9" * _MIB + b"}}"),
    "a text of twenty MiB": lambda: with_member("keys.json", b'{"log":"' + b"x" * (20 * _MIB) + b'"}'),
    "a deep value in a signed receipt": lambda: _signed(b'{"predicate":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001),
    "a checkpoint of many signatures": lambda: with_member(
        "checkpoint.txt", checkpoint(11, bytes(32)).encode() + b"\xe2\x80\x94 a AAAAAAA=\n" * 500_000
    ),
    "a tree of 2^53 entries": lambda: {
        **honest(),
        "checkpoint.txt": checkpoint(2**53 - 1, bytes(32)).encode(),
        "proofs.json": canonical({"size": 2**53 - 1, "leaves": {"receipts/000001.json": 2**53 - 2}, "nodes": {}}),
    },
    "a log of 2^52 entries, all said to be here": lambda: {
        name: text.encode() for name, text in of_a_large_log(an_ordinary_run().envelopes()[:4]).items()
    },
    "a proof of many nodes": lambda: with_member(
        "proofs.json",
        canonical({"size": 11, "leaves": {}, "nodes": {"0": {str(n): "0" * 64 for n in range(50_000)}}}),
    ),
    "many members": lambda: {**honest(), **{f"x/{number}": b"" for number in range(20_000)}},
    "a disclosed text of sixty MiB": lambda: with_member("disclosed/" + "0" * 64, bytes(60 * _MIB)),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_a_bundle_made_to_exhaust_the_reader_gets_its_verdict(name: str, tmp_path: Path) -> None:
    done = verified(zipped(tmp_path / "b.zip", HARMFUL[name]()))

    assert done.returncode == 4, done.stderr[-2000:]
    assert done.stdout.startswith("DOES NOT VERIFY")
    assert done.stderr == ""


def test_a_zip_that_says_it_is_larger_than_it_is_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = zipped(tmp_path / "b.zip", with_member("x", b"hello"))
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02")
    for sizes in ((5, 60 * _MIB), (60 * _MIB, 5), (2**32 - 1, 2**32 - 1)):
        raw[at + 20 : at + 28] = struct.pack("<2L", *sizes)
        path.write_bytes(raw)

        done = verified(path)

        assert done.returncode == 4, done.stderr[-2000:]
        assert "first fault: container" in done.stdout


def test_a_bomb_of_bombs_is_refused_by_what_it_would_be_together(tmp_path: Path) -> None:
    path = zipped(tmp_path / "b.zip", {f"x{number}": b"hello" for number in range(17)})
    raw, at = bytearray(path.read_bytes()), 0
    while (at := raw.find(b"PK\x01\x02", at + 1)) >= 0:
        raw[at + 24 : at + 28] = struct.pack("<L", 61 * _MIB)
    path.write_bytes(raw)

    done = verified(path)

    assert done.returncode == 4, done.stderr[-2000:]
    assert "bytes together" in done.stdout


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "target", ["container", "members", "proof", "timestamp", "trust"] if IS_SOAK else ["everything"]
)
def test_nothing_that_a_fuzzer_finds_makes_the_verifier_fail(target: str, tmp_path: Path) -> None:
    enough = "-max_total_time=300" if IS_SOAK else "-runs=1500"
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.fuzz_verifier", target, "-seed=1", enough],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=800,
    )

    crashes = {path.name: base64.b64encode(path.read_bytes()).decode() for path in tmp_path.iterdir()}
    assert crashes == {}, done.stderr[-3000:]
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done" in done.stderr
