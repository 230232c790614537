"""The log's files, proofs and cosignatures, checked by the reference implementation: Go's `x/mod/sumdb`.

Go brings its source along in `cmd/vendor`, so that nothing but the toolchain is needed.
"""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from answerable import Reader
from answerable.core import TenantId
from answerable.ledger import (
    Draft,
    Ledger,
    LogFolder,
    RecordTiles,
    Tree,
    consistency_proof,
    control_run,
    inclusion_proof,
    log_vkey,
    tlog_proof,
)
from answerable.witness import Witness, make_witness, parse_note
from tests.architecture.files import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TENANT = TenantId("default")
Checker = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Checker:
    """The checker, compiled."""
    go = Path(sys.executable).with_name("go")
    folder = tmp_path_factory.mktemp("tlog")
    environment = {**os.environ, "GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    environment |= {"GOPATH": str(folder / "path"), "GOCACHE": str(folder / "cache")}
    goroot = subprocess.run([go, "env", "GOROOT"], capture_output=True, text=True, check=True, env=environment)
    for part in ("note", "tlog"):
        vendored = Path(goroot.stdout.strip()) / "src/cmd/vendor/golang.org/x/mod/sumdb" / part
        shutil.copytree(vendored, folder / "mod" / "sumdb" / part)
    (folder / "mod" / "go.mod").write_text("module golang.org/x/mod\n\ngo 1.24\n")
    (folder / "go.mod").write_text(
        "module tlog\n\ngo 1.24\n\nrequire golang.org/x/mod v0.0.0\n\nreplace golang.org/x/mod => ./mod\n"
    )
    shutil.copy(ROOT / "tests/conformance/tlog/main.go", folder)
    built = subprocess.run(
        [go, "build", "-o", "tlog", "."], cwd=folder, capture_output=True, text=True, env=environment
    )
    assert built.returncode == 0, built.stderr

    def check(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([folder / "tlog", *map(str, words)], capture_output=True, text=True, timeout=60)

    return check


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record whose log needs tiles of two levels."""
    folder = tmp_path_factory.mktemp("data")

    async def main() -> None:
        ledger = Ledger.open(folder)
        await ledger.start()
        members: dict[str, Any] = {"control": {"name": "x"}}
        draft = {"tenant": TENANT, "run": control_run(TENANT), "phase": "signal", "agent": "a", "members": members}
        await asyncio.gather(*(ledger.append(Draft(**draft)) for _ in range(700)))  # type: ignore[arg-type]
        await ledger.close()

    asyncio.run(main())
    return folder


@pytest.mark.requirement("EV-2", "EV-3")
@pytest.mark.parametrize("old", [1, 255, 256, 512, 699, 700])
def test_the_reference_finds_every_entry_in_the_files_and_makes_the_same_proofs(
    reference: Checker, data: Path, tmp_path: Path, old: int
) -> None:
    with contextlib.closing(Reader.open(data)) as reader:
        head = LogFolder(tmp_path).publish(reader, TENANT)
        vkey = log_vkey(*reader.log_key(TENANT))
        tree = Tree(RecordTiles(reader, TENANT), 700)

        checked = reference("log", tmp_path, vkey, str(old))

        assert checked.returncode == 0, checked.stderr
        said = json.loads(checked.stdout)
        assert head is not None
        assert said["size"] == head.size
        assert said["consistency"] == [_text(node) for node in consistency_proof(tree, old)]
        assert said["older"] == _text(tree.range_hash(0, old))
        for leaf in range(0, 700, 37):
            assert said["inclusion"][str(leaf)] == [_text(node) for node in inclusion_proof(tree, leaf)]


@pytest.mark.requirement("EV-2", "EV-3")
def test_the_reference_refuses_an_entry_that_was_changed_in_the_files(
    reference: Checker, data: Path, tmp_path: Path
) -> None:
    with contextlib.closing(Reader.open(data)) as reader:
        LogFolder(tmp_path).publish(reader, TENANT)
        vkey = log_vkey(*reader.log_key(TENANT))
    bundle = tmp_path / "tile/entries/001"
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"?")

    assert "entry 511" in reference("log", tmp_path, vkey, "1").stderr


@pytest.mark.requirement("EV-3")
def test_the_reference_accepts_a_tlog_proof_of_a_receipt(reference: Checker, data: Path, tmp_path: Path) -> None:
    with contextlib.closing(Reader.open(data)) as reader:
        receipt = reader.receipts_at(TENANT, 300, 1)[0]
        tree = Tree(RecordTiles(reader, TENANT), 700)
        text = tlog_proof(tree, 300, reader.checkpoint(TENANT), extra=receipt.envelope)
        vkey = log_vkey(*reader.log_key(TENANT))
    (tmp_path / "one.tlog-proof").write_text(text)
    (tmp_path / "false.tlog-proof").write_text(text.replace("index 300", "index 301"))

    assert reference("proof", tmp_path / "one.tlog-proof", vkey).stdout == "300\n"
    assert reference("proof", tmp_path / "false.tlog-proof", vkey).returncode == 1


@pytest.mark.requirement("EV-2", "EV-3")
def test_the_reference_opens_a_checkpoint_with_a_witnesss_cosignature(
    reference: Checker, data: Path, tmp_path: Path
) -> None:
    key = make_witness(tmp_path / "w", "witness.example/ada")
    with contextlib.closing(Reader.open(data)) as reader:
        note, vkey = reader.checkpoint(TENANT), log_vkey(*reader.log_key(TENANT))
    witness = Witness.open(tmp_path / "w")
    witness.add_log(vkey)
    answer = witness.add_checkpoint(f"old 0\n\n{note}".encode())
    (tmp_path / "cosigned").write_text(note + answer.body)
    (tmp_path / "plain").write_text(note)

    assert answer.status == 200
    assert len(parse_note((note + answer.body).encode()).lines) == 2
    assert reference("cosigned", tmp_path / "cosigned", vkey, str(key)).stdout == "2\n"
    assert reference("cosigned", tmp_path / "plain", vkey, str(key)).returncode == 1


def _text(node: bytes) -> str:
    return base64.b64encode(node).decode()
