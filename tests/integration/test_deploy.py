"""The files in `deploy/`: each is checked by the tool made for it, and the image's own steps are run."""

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from answerable.app import Times
from answerable.ledger import Ledger
from tests.architecture.files import ROOT
from tests.postgres import Databases

pytestmark = pytest.mark.requirement("OP-1")

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
VERSIONS = ("1.30", kubernetes_validate.latest_version())
_PATIENCE_S = 30


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, as (word, rest)."""
    text = re.sub(r"(?m)^#.*\n", "", (DEPLOY / "Dockerfile").read_text()).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def said(word: str) -> Any:
    """What an instruction of the Dockerfile says as JSON."""
    found = [rest for each, rest in instructions() if each == word]
    return json.loads(found[-1])


def objects(manifest: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(manifest.read_text()) if each]


def pods() -> list[dict[str, Any]]:
    return [
        each["spec"]["template"]["spec"] for file in MANIFESTS for each in objects(file) if "template" in each["spec"]
    ]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_fits_the_schemas_of_kubernetes(manifest: Path, version: str) -> None:
    found = objects(manifest)

    assert found
    for each in found:
        kubernetes_validate.validate(each, version, strict=True)


def test_the_manifests_schema_check_finds_a_misspelt_key() -> None:
    wrong = objects(MANIFESTS[0])[-1]
    wrong["spec"]["replica"] = 1

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_a_pod_may_do_nothing_but_serve_and_is_given_time_to_drain() -> None:
    for pod in pods():
        (container,) = pod["containers"]
        safe = container["securityContext"]

        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        assert (safe["allowPrivilegeEscalation"], safe["readOnlyRootFilesystem"]) == (False, True)
        assert safe["capabilities"]["drop"] == ["ALL"]
        assert pod["terminationGracePeriodSeconds"] > 2 * Times().drain.total_seconds()
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_a_data_directory_is_never_given_to_two_pods_nor_a_record_in_a_file_to_several() -> None:
    for file in MANIFESTS:
        for each in objects(file):
            if each["kind"] == "StatefulSet":
                (claim,) = each["spec"]["volumeClaimTemplates"]
                assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
                assert each["spec"]["replicas"] == 1 or "--like /seed" in str(each["spec"]["template"])


def test_a_pod_of_the_fleet_joins_the_record_once_with_a_key_of_its_own(postgres: Databases, tmp_path: Path) -> None:
    url = postgres.new()
    asyncio.run(_open(tmp_path / "desk", url))
    (seed := tmp_path / "seed" / "keys").mkdir(parents=True)
    shutil.copy(tmp_path / "desk" / "store.toml", seed.parent)
    for key in ("master.key", "log.key"):
        shutil.copy(tmp_path / "desk" / "keys" / key, seed)
        (seed / key).chmod(0o440)
    (pod,) = [each for each in pods() if "initContainers" in each]
    command = [part.replace("/seed", str(seed.parent)) for part in pod["initContainers"][0]["command"]]
    (own := tmp_path / "own").mkdir()
    (own / "joining" / "keys").mkdir(parents=True)  # what a pod left that was killed in the middle
    (own / "joining" / "keys" / "master.key").touch()
    (tmp_path / "bin").mkdir()
    (program := tmp_path / "bin" / "answerable").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m answerable.cli "$@"\n'
    )
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}

    found = []
    environment["HOSTNAME"] = "answerable-2"
    for _ in range(2):
        command = [part.replace("/var/lib/answerable", str(own)) for part in command]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
        found.append((own / "data" / "keys" / "gate.key").read_bytes())

    assert found[0] == found[1] != (tmp_path / "desk" / "keys" / "gate.key").read_bytes()
    assert {path.stat().st_mode & 0o077 for path in (own / "data" / "keys").iterdir()} == {0}
    assert not (own / "data" / "keys" / "log.key").exists(), "the third of them does not sign the log"
    asyncio.run(_open(own / "data"))


async def _open(directory: Path, url: str = "") -> None:
    """Begin a record, or join one, and leave."""
    ledger = Ledger.open(directory, store=url)
    await ledger.start()
    await ledger.close()


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_accepted_by_systemd_and_confines_the_gate(unit: Path, tmp_path: Path) -> None:
    there = tmp_path / unit.name  # on this machine nothing is installed in /opt
    there.write_text(unit.read_text().replace("/opt/answerable/bin/answerable", shutil.which("env") or ""))

    verified = subprocess.run(["systemd-analyze", "verify", there], capture_output=True, text=True, timeout=30)
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", there],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    assert judged.returncode == 0, judged.stdout[-400:]
    stop_s = int(re.findall(r"(?m)^TimeoutStopSec=(\d+)$", unit.read_text())[0])
    assert stop_s > 2 * Times().drain.total_seconds()


def test_the_dockerfile_holds_to_good_practice_and_names_what_is_there() -> None:
    linted = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", DEPLOY / "Dockerfile"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    copied = [shlex.split(rest)[:-1] for word, rest in instructions() if word == "COPY" and "--from" not in rest]

    assert (linted.returncode, linted.stdout) == (0, "")
    assert [name for names in copied for name in names if not (ROOT / name).exists()] == []
    for name in ("build", "base", "fleet"):
        assert "--hash=sha256:" in (ROOT / "requirements" / f"{name}.txt").read_text()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_image_is_built_from_what_it_copies_serves_is_healthy_and_stops_in_order(tmp_path: Path) -> None:
    """Everything but what comes from the network: the base image and the pinned dependencies are this machine's own."""
    source, opt, home = tmp_path / "src", tmp_path / "opt", tmp_path / "home"
    source.mkdir()
    copied = [shlex.split(rest)[:-1] for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    for name in [name for names in copied for name in names if name != "requirements"]:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "_tests"))
        else:
            shutil.copy(ROOT / name, source)
    runs = [rest for word, rest in instructions() if word == "RUN"]
    subprocess.run([sys.executable, "-m", "venv", opt], check=True, timeout=60)
    packages = next((opt / "lib").glob("python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (build,) = [rest for rest in runs if "--no-build-isolation" in rest]
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run(
        build.replace("/opt/answerable", str(opt)).replace("install", "install --quiet --no-index", 1),
        shell=True,
        cwd=source,
        env=environment,
        check=True,
        timeout=90,
    )
    home.mkdir()
    subprocess.run([opt / "bin" / "answerable", "init"], cwd=home, env=environment, check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [*said("ENTRYPOINT"), *said("CMD")]
    assert command[-1] == "8700"
    (health,) = [rest for word, rest in instructions() if word == "HEALTHCHECK"]
    check = [each.replace("8700", port) for each in json.loads(health[health.index("[") :])]

    environment |= {"ANSWERABLE_DATA": str(tmp_path / "data"), "PATH": f"{opt / 'bin'}:{environment['PATH']}"}
    with subprocess.Popen([*command[:-1], port], cwd=home, env=environment, stderr=subprocess.PIPE, text=True) as gate:
        assert gate.stderr is not None
        assert "listening at" in gate.stderr.readline()
        healthy = subprocess.run(check, env=environment, capture_output=True, timeout=30)
        began = time.monotonic()
        gate.send_signal(signal.SIGTERM)
        ended = gate.wait(_PATIENCE_S)

    assert healthy.returncode == 0, healthy.stderr
    assert ended == 0
    assert time.monotonic() - began < _PATIENCE_S
    assert str(opt) in subprocess.run(
        [opt / "bin" / "python", "-c", "import answerable; print(answerable.__file__)"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout  # fmt: skip
