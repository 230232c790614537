"""A verifier written from the formats' pages alone, in another language, says what ours says."""

import base64
import json
import os
import random
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from answerable_verify import verify_members
from conformance.vectors.logs import TRUSTS as LOG_TRUSTS
from conformance.vectors.logs import log_cases
from conformance.vectors.runs import TRUSTS as RUN_TRUSTS
from conformance.vectors.runs import run_cases
from tests.conformance.damage import damaged, forged
from tests.conformance.second_opinion import in_base64, nodes_opinions, ours, theirs
from tests.conformance.test_vectors import load, members_of, trusted
from tests.soak import IS_SOAK

pytestmark = [pytest.mark.requirement("EV-3"), pytest.mark.slow]

FOLDER = Path(__file__).parents[2] / "conformance" / "node-verify"


def test_it_owes_us_nothing_but_the_pages() -> None:
    imported = {
        name
        for file in FOLDER.glob("*.mjs")
        for name in re.findall(r"from '([^']+)'", file.read_text(encoding="utf-8"))
    }

    assert {name for name in imported if not name.startswith("./")} <= {
        *("node:crypto", "node:zlib", "node:fs", "node:readline")
    }


def test_it_finds_in_every_vector_what_the_vectors_say() -> None:
    bundles, proofs = load("bundles.json"), load("proofs.json")
    lines: list[dict[str, Any]] = [
        {"members": in_base64(members_of(case)), "trust": bundles["trusts"].get(case["trust"], "")}
        for case in bundles["cases"]
    ]
    lines += [
        {"file": base64.b64encode(case["proof"].encode()).decode(), "trust": proofs["trust"]}
        for case in proofs["cases"]
    ]

    found = nodes_opinions(lines)

    for case, said in zip([*bundles["cases"], *proofs["cases"]], found, strict=True):
        first = said["first"] or {"check": "", "receipt": ""}
        opinion = {**said, "check": first["check"], "receipt": first["receipt"]}
        expected = case["expect"]
        assert {name: opinion[name] for name in expected} == expected, case["name"]


def test_it_opens_and_refuses_containers_and_trust_files_as_the_vectors_say() -> None:
    containers, trusts = load("containers.json")["cases"], load("trusts.json")["cases"]

    opened = nodes_opinions([{"file": case["zip"]} for case in containers])
    pinned = nodes_opinions([{"trust": case["trust"]} for case in trusts])

    for case, said in zip(containers, opened, strict=True):
        assert ((said["first"] or {}).get("check") != "container") is case["valid"], case["name"]
    for case, said in zip(trusts, pinned, strict=True):
        assert (said.get("verdict") != "bad trust") is case["valid"], case["name"]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(40 if IS_SOAK else 2))
def test_it_finds_the_same_faults_in_bundles_damaged_at_random(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    texts = {**RUN_TRUSTS, **LOG_TRUSTS, "": ""}
    pinned = {name: trusted(text, tmp_path) if text else None for name, text in texts.items()}
    cases = [*run_cases(), *log_cases()]
    drawn = [chance.choice(cases) for _ in range(1_000)]
    bundles = [
        damaged(
            {name: text if isinstance(text, bytes) else text.encode() for name, text in case["members"].items()}, chance
        )
        for case in drawn
    ]

    found = nodes_opinions(
        [
            {"members": in_base64(members), "trust": texts[case["trust"]]}
            for case, members in zip(drawn, bundles, strict=True)
        ]
    )

    for case, members, said in zip(drawn, bundles, found, strict=True):
        report = verify_members(members, pinned[case["trust"]])
        assert json.loads(json.dumps(ours(report))) == json.loads(json.dumps(theirs(said))), (
            f"seed {seed}: {case['name']}"
        )


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(20 if IS_SOAK else 1))
def test_it_finds_the_same_in_logs_that_whoever_has_their_keys_wrote_anew(seed: int) -> None:
    chance = random.Random(seed)
    whole = [members for case in load("bundles.json")["cases"] if _is_of_a_whole_log(members := members_of(case))]
    drawn = (_forged(chance.choice(whole), chance) for _ in range(1_000 if IS_SOAK else 400))
    bundles = [members for members in drawn if members]

    found = nodes_opinions([{"members": in_base64(members), "trust": ""} for members in bundles])

    for members, said in zip(bundles, found, strict=True):
        assert json.loads(json.dumps(ours(verify_members(members)))) == json.loads(json.dumps(theirs(said))), members


def _forged(members: dict[str, bytes], chance: random.Random) -> dict[str, bytes] | None:
    """None where that cannot be written: a part of the bundle is missing, or the run has no name any more."""
    try:
        return forged(members, chance)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError):
        return None


def _is_of_a_whole_log(members: dict[str, bytes]) -> bool:
    if not _forged(members, random.Random(0)):
        return False
    return bool(json.loads(members["manifest.json"]).get("complete", {"from": 0})["from"] == 0)


def test_its_command_ends_as_ours_does(tmp_path: Path) -> None:
    vectors = load("containers.json")["cases"]
    (tmp_path / "good.zip").write_bytes(base64.b64decode(vectors[0]["zip"]))
    (tmp_path / "cut.zip").write_bytes(base64.b64decode(vectors[0]["zip"])[:-40])
    with (tmp_path / "huge.zip").open("wb") as file:
        file.truncate((1 << 30) + 1)
    os.mkfifo(tmp_path / "pipe.zip")
    (tmp_path / "trust.toml").write_text(load("bundles.json")["trusts"]["plain"])

    def code(*words: str) -> int:
        main = str(FOLDER / "main.mjs")
        return subprocess.run(["node", main, *words], cwd=tmp_path, capture_output=True, timeout=60).returncode

    assert code("good.zip", "--trust", "trust.toml") == 0
    assert code("good.zip") == 3
    assert code("cut.zip") == 4
    assert code("huge.zip") == 4
    assert code("nowhere.zip") == code("pipe.zip") == code(".") == 2
    assert code("good.zip", "--trust", "good.zip") == 2
    assert code() == 2
