"""The demo on a real language model: it errs, and its mistakes are governed, proved and told as what they are."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import answerable
from answerable.ledger import Reader
from tests.integration.test_demo import Told, command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_MODEL = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    directory = tmp_path_factory.mktemp("local")
    words = ("demo", "support", "--model", "local", "--json", "--decide", "approve,reject")
    done = command(*words, directory=directory, timeout=800)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return Told(exit_code=done.returncode, events=events, errors=done.stderr, out=directory / "demo-out")


@pytest.fixture
def receipts(told: Told) -> Any:
    reader = Reader.open(told.out / "data")
    try:
        return [receipt.predicate for receipt in reader.receipts()]
    finally:
        reader.close()


@pytest.mark.requirement("MD-1", "SC-1")
def test_the_demo_on_a_real_model_ends_well_whatever_the_model_does(told: Told) -> None:
    assert told.exit_code == 0, told.errors
    assert [check for check in told.of("check") if not check["holds"]] == []
    assert {"handed back", "books", "injection", "clause", "replay", "rebuild", "VERIFY.sh", "verify", "tampering"} <= {
        check["name"] for check in told.of("check")
    }
    assert told.of("killed")[0]["unfinished"] > 0
    assert len(told.of("ticket")) == 13  # twelve, and their sum


@pytest.mark.requirement("MD-3")
def test_every_model_call_was_the_local_models_and_was_metered(told: Told, receipts: list[dict[str, Any]]) -> None:
    calls = [said for said in receipts if said.get("action", {}).get("kind") == "model" and said["phase"] == "outcome"]

    assert len(calls) >= 12
    for said in calls:
        assert said["basis"]["model"]["provider"] == "local"
        assert said["basis"]["model"]["id"] == _MODEL
        assert said["basis"]["model"]["fingerprint"].startswith("sha256:")
        assert said["usage"]["inputTokens"] > 300
        assert said["usage"]["outputTokens"] > 10
        assert not said["usage"].get("costNanoUsd")


@pytest.mark.requirement("SC-1", "GV-1")
def test_no_mistake_of_the_model_went_further_than_policy_lets_it(told: Told) -> None:
    refunds = told.books("SELECT order_id, amount_minor, currency FROM refunds")
    approved = {each["ticket"] for each in told.of("decided") if each["state"] == "approved"}
    held = {each["ticket"]: each["target"].partition(":")[2] for each in told.of("held")}

    assert len({order for order, _, _ in refunds}) == len(refunds)
    assert "1012" not in {order for order, _, _ in refunds}
    assert all(currency == "EUR" and 0 < amount <= 50000 for _, amount, currency in refunds)
    large = {order for order, amount, _ in refunds if amount > 20000}
    assert large <= {held[ticket] for ticket in approved}


@pytest.mark.requirement("SC-1")
def test_what_the_model_got_wrong_is_told_and_adds_up(told: Told, receipts: list[dict[str, Any]]) -> None:
    proposals = {each["ticket"]: each for each in told.of("proposal")}
    judged = told.of("judged")[0]
    wrong = [each for each in proposals.values() if each["so"] != "right"]
    denied = [said for said in receipts if said["phase"] == "denied"]

    assert len(proposals) == 12
    assert (judged["right"], judged["wrong"]) == (12 - len(wrong), len(wrong))
    assert sum(judged["counts"].values()) == len(wrong)
    assert len(told.of("refused")) == len(denied)
    assert {each["receipt"] for each in told.of("refused")} == {said["id"] for said in denied}


@pytest.mark.requirement("EV-3")
def test_the_evidence_of_a_real_models_run_verifies_and_a_changed_byte_is_named(told: Told) -> None:
    trust = str(told.out / "trust.toml")
    whole = command("verify", str(told.out / "support.evidence.zip"), "--trust", trust, directory=told.out)
    altered = command("verify", str(told.out / "tampered.evidence.zip"), "--trust", trust, "--json", directory=told.out)

    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert altered.returncode == 4
    assert json.loads(altered.stdout)["first"]["receipt"]


def test_without_its_extra_the_demo_says_so_before_anything_is_made(tmp_path: Path) -> None:
    program = "import sys; sys.modules['xllamacpp'] = None; from answerable.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "demo", "support", "--model", "local"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(answerable.__file__).parents[1])},
    )

    assert done.returncode == 2
    assert "pip install 'answerable[local]'" in done.stderr
    assert not (tmp_path / "demo-out").exists()
