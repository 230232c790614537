"""`VERIFY.sh` on every published vector: what it says that it checks, it checks.

A few, drawn by their names, on every change; all of them in `make soak`.
"""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.test_vectors import load, members_of
from tests.soak import IS_SOAK

pytestmark = [pytest.mark.requirement("EV-3"), pytest.mark.timeout(300)]

SCRIPT = Path(__file__).parents[2] / "src" / "answerable" / "ledger" / "_verify_sh.sh"
BUNDLES = load("bundles.json")

LEFT_TO_THE_VERIFIER = {"steps", "approvals", "people", "digests", "requests", "statement", "time"}
"""Checks that `docs/formats/bundle.md` says it does not make, or not all of."""
READ_AS_JQ_READS = {"a manifest with a float", "a manifest with a key twice"}
READ_BY_OPENSSL = {
    "a timestamp with something behind it",
    "a timestamp whose certificates are not sorted",
    "a timestamp signed over SHA-1",
    "a timestamp signed by an algorithm with parameters that it has not",
    "a timestamp signed with another key than it says",
    "a timestamp signed over another digest than it says",
    "a timestamp in signed data of another version",
    "a timestamp that was signed as something else",
    "a certificate of a version to come",
    "more certificates than are looked at",
}
BESIDE_THE_BUNDLE = {"a member that is not listed"}
"""A stranger's file in the folder is told of; in a ZIP it is a fault."""
OFTEN_BROKEN = {
    "a text that nobody committed to",
    "shorter than a salt",
    "another number of receipts",
    "a run that is not there",
    "a receipt by another name",
    "a member that is not the one listed",
    "a cosignature from before time",
    "a signal after run.close and an erasure",
    "nearly all of a large log was left out",
}


def drawn(cases: list[dict[str, Any]], few: int) -> list[Any]:
    """All cases in `make soak`; otherwise those that need naming, and a few more."""
    by_name = sorted(cases, key=lambda case: hashlib.sha256(case["name"].encode()).digest())
    chosen = [case for case in by_name if case["name"] in OFTEN_BROKEN]
    chosen += [case for case in by_name if case["name"] not in OFTEN_BROKEN][:few]
    return [pytest.param(case, id=case["name"].replace(" ", "-")) for case in (by_name if IS_SOAK else chosen)]


def said_of(members: dict[str, bytes], trust: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What the script says of an unpacked bundle."""
    for name, content in members.items():
        path = folder / "unpacked" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "trust.toml").write_text(trust)
    words = ["--trust", str(folder / "trust.toml")] if trust else []
    return subprocess.run(
        ["bash", str(SCRIPT), *words, str(folder / "unpacked")], capture_output=True, text=True, timeout=120
    )


JUDGED = [
    case
    for case in BUNDLES["cases"]
    if case["expect"]["check"] not in LEFT_TO_THE_VERIFIER
    and case["name"] not in READ_AS_JQ_READS | READ_BY_OPENSSL | BESIDE_THE_BUNDLE
    and all(len(name) <= 200 for name in case["members"])
]


@pytest.mark.parametrize("case", drawn(JUDGED, 4))
def test_a_bundle_gets_the_exit_code_that_the_vectors_say(case: dict[str, Any], tmp_path: Path) -> None:
    done = said_of(members_of(case), BUNDLES["trusts"].get(case["trust"], ""), tmp_path)

    expected = {"verified": 0, "does not verify": 4}.get(case["expect"]["verdict"], 3)
    assert (done.returncode, done.stderr) == (expected, ""), done.stdout


@pytest.mark.parametrize("case", drawn(load("trusts.json")["cases"], 4))
def test_a_trust_file_is_taken_or_refused_as_the_vectors_say(case: dict[str, Any], tmp_path: Path) -> None:
    members = members_of(next(each for each in BUNDLES["cases"] if each["name"] == "an ordinary run"))

    done = said_of(members, case["trust"], tmp_path)

    assert (done.returncode != 2) is case["valid"], done.stdout + done.stderr


def test_a_name_that_is_misspelt_and_one_behind_a_comment_are_not_passed_over(tmp_path: Path) -> None:
    case = next(each for each in BUNDLES["cases"] if each["name"] == "cosigned by nobody")
    trust = BUNDLES["trusts"][case["trust"]]
    misspelt = trust.replace("witness = ", "witnes = ")
    commented = "".join(f"  {line} # by letter\n" for line in trust.splitlines())

    refused = said_of(members_of(case), misspelt, tmp_path)
    asked = said_of(members_of(case), commented, tmp_path)

    assert refused.returncode == 2
    assert "`witnes`" in refused.stderr
    assert asked.returncode == 3
    assert "open question: the trust file asks for 2 witnesses, and 0 cosigned" in asked.stdout


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("checkpoint.txt", b"a/log\n1\nAAAA\n\n" + "\N{EM DASH} a/log AAAAAAA=\n".encode() * 3_000),
        ("checkpoint.txt", b"\n" * 5_000_000),
        ("x/a\nb", b""),
        ("-rf", b""),
        ("receipts/000001.json", b'{"payload":' + b"[" * 100_000),
        ("manifest.json", b"[" * 100_000 + b"]" * 100_000),
    ],
    ids=["signatures", "lines", "line-end-in-a-name", "option", "depth", "depth-of-the-manifest"],
)
def test_what_is_made_to_exhaust_or_mislead_the_script_gets_its_verdict(
    name: str, content: bytes, tmp_path: Path
) -> None:
    case = next(each for each in BUNDLES["cases"] if each["name"] == "cosigned by both witnesses")

    done = said_of({**members_of(case), name: content}, BUNDLES["trusts"][case["trust"]], tmp_path)

    assert (done.returncode, done.stderr) == (4, "")
    assert "DOES NOT VERIFY" in done.stdout


def test_files_that_lie_beside_the_bundle_make_no_alarm(tmp_path: Path) -> None:
    case = next(each for each in BUNDLES["cases"] if each["name"] == "an ordinary run")
    beside = {f"note-{number}.txt": str(number).encode() for number in range(12)}

    done = said_of({**members_of(case), **beside}, BUNDLES["trusts"][case["trust"]], tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert "note: note-7.txt is not part of the bundle" in done.stdout


def test_only_the_member_that_was_changed_is_named(tmp_path: Path) -> None:
    case = next(each for each in BUNDLES["cases"] if each["name"] == "an ordinary run")
    members = members_of(case)

    done = said_of(
        {**members, "report.html": b"another page"} if "report.html" in members else {**members, "keys.json": b"{}"},
        BUNDLES["trusts"][case["trust"]],
        tmp_path,
    )

    assert done.returncode == 4
    assert done.stdout.count("not the content that the manifest lists") == 1
