"""What was erased is gone from the evidence too, and everybody who checks it can tell."""

import asyncio
import base64
import contextlib
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from answerable import Gate
from answerable.core import RunId
from answerable.ledger import Reader, export_bundle, export_span, write_trust
from answerable_verify import Report
from tests.conformance.second_opinion import verify
from tests.conformance.test_vectors import load, members_of
from tests.faults.test_tampering import Members, healed
from tests.integration.clinic import an_app, seen_to
from tests.soak import IS_SOAK

pytestmark = pytest.mark.requirement("EV-12", "EV-3")

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "src" / "answerable" / "ledger" / "_verify_sh.sh"


class Clinic:
    """A record in which a patient was erased, and bundles of it: the run's before and after, and all there is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = RunId("")
        asyncio.run(self._make())
        with contextlib.closing(Reader.open(folder / "data")) as reader:
            self.trust = write_trust(reader, folder / "trust.toml")
            export_span(reader, folder / "all.zip")

    async def _make(self) -> None:
        async with an_app(self.folder).gate() as gate, asyncio.timeout(60):
            self.run = await seen_to(gate)
            await self._more(gate)
            export_bundle(gate.reader, [self.run], self.folder / "before.zip")
            await gate.desk.erase(subject="patient:ada", by="person:dana", reason="asked for in a letter")
            export_bundle(gate.reader, [self.run], self.folder / "after.zip")

    async def _more(self, gate: Gate) -> None:
        await seen_to(gate, "ben")
        # the reason for a hold is a text of the control run, and of this patient
        await gate.desk.legal_hold(do="hold", subject="patient:ada", by="person:dana", reason="a case")
        await gate.desk.legal_hold(do="release", subject="patient:ada", by="person:dana", reason="it is over")

    def report(self, name: str) -> Report:
        return verify(self.folder / name, self.trust)

    def members(self, name: str) -> Members:
        with zipfile.ZipFile(self.folder / name) as archive:
            return {each: archive.read(each) for each in archive.namelist()}

    def put(self, members: Members) -> None:
        with zipfile.ZipFile(self.folder / "put.zip", "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    return Clinic(tmp_path_factory.mktemp("clinic"))


def erasures(members: Members) -> list[dict[str, Any]]:
    """What the erasure receipts of a bundle say."""
    said = [
        json.loads(base64.b64decode(json.loads(content)["payload"]))["predicate"]
        for name, content in sorted(members.items())
        if name.startswith("receipts/")
    ]
    return [each for each in said if each["phase"] == "erasure"]


def by_shell(members: Members, folder: Path, trust: str) -> tuple[int, str]:
    """How VERIFY.sh ends on an unpacked bundle, and the check that fails first."""
    bundle = folder / "bundle"
    for name, content in members.items():
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_bytes(content)
    (folder / "trust.toml").write_text(trust)
    done = subprocess.run(
        ["bash", str(SCRIPT), "--trust", str(folder / "trust.toml"), str(bundle)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    first = next((line for line in done.stdout.splitlines() if line.startswith("first fault: ")), "")
    return done.returncode, first.removeprefix("first fault: ").partition(":")[0]


def test_an_erasure_names_the_receipts_whose_texts_went_and_every_verifier_counts_them(clinic: Clinic) -> None:
    (said,) = erasures(clinic.members("after.zip"))

    report = clinic.report("after.zip")

    assert report.verdict == "verified"
    assert said["control"]["texts"] == 4
    assert said["control"]["erased"] == "1-4"
    assert "5 committed texts were erased, as receipts of the bundle say" in report.notes
    assert next(check.count for check in report.checks if check.name == "erasures") == 1


def test_all_there_is_tells_of_the_erasure_once_and_in_full(clinic: Clinic) -> None:
    part, whole = erasures(clinic.members("all.zip"))

    assert clinic.report("all.zip").verdict == "verified"
    assert whole["run"] == "control:default"
    assert whole["control"]["texts"] == part["control"]["texts"] + 2
    assert whole["control"]["erased"] == "0-1"
    assert by_shell(clinic.members("all.zip"), clinic.folder / "whole", clinic.trust.read_text()) == (0, "")


def test_an_erased_text_that_somebody_kept_and_shows_is_found_and_named(clinic: Clinic, tmp_path: Path) -> None:
    older, members = clinic.members("before.zip"), clinic.members("after.zip")
    kept = sorted(name for name in older.keys() - members.keys() if name.startswith("disclosed/"))
    assert len(kept) == 5

    for name in kept:
        forged = healed({**members, name: older[name]})
        clinic.put(forged)

        report = clinic.report("put.zip")

        assert [(found.check, found.member) for found in report.findings] == [("erasures", name)]
    assert by_shell(forged, tmp_path, clinic.trust.read_text()) == (4, "erasures")


_JUDGED = [
    case
    for case in load("bundles.json")["cases"]
    if case["trust"] and (case["expect"]["check"] == "erasures" or "eras" in case["name"])
]


@pytest.mark.slow
@pytest.mark.parametrize("case", _JUDGED if IS_SOAK else _JUDGED[3::6], ids=lambda case: case["name"].replace(" ", "-"))
def test_the_shell_judges_erasures_as_the_vectors_say(case: dict[str, Any], tmp_path: Path) -> None:
    found = by_shell(members_of(case), tmp_path, load("bundles.json")["trusts"][case["trust"]])

    assert found == ((4, case["expect"]["check"]) if case["expect"]["check"] else (0, ""))
