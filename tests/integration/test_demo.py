"""The demo, run as a newcomer runs it and judged from the outside: by exit codes, the shop's books and stock tools."""

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import answerable
from answerable.ledger import Reader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

_SOURCE = Path(answerable.__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a demo left behind."""

    exit_code: int
    events: list[dict[str, Any]]
    errors: str
    out: Path

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of one kind."""
        return [each for each in self.events if each["event"] == event]

    def books(self, query: str) -> list[tuple[Any, ...]]:
        """What stands in the shop's own books."""
        with closing(sqlite3.connect(self.out / "books.sqlite3")) as books:
            return books.execute(query).fetchall()


def command(*words: str, directory: Path, timeout: float = 200) -> subprocess.CompletedProcess[str]:
    """`answerable …`, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "answerable.cli", *words],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": str(_SOURCE)},
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    directory = tmp_path_factory.mktemp("a newcomer's directory")
    done = command("demo", "support", "--json", "--decide", "approve,reject", directory=directory)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return Told(exit_code=done.returncode, events=events, errors=done.stderr, out=directory / "demo-out")


@pytest.mark.requirement("SC-1")
def test_the_demo_ends_well_and_everything_it_checked_held(told: Told) -> None:
    assert told.exit_code == 0, told.errors
    assert [check for check in told.of("check") if not check["holds"]] == []
    assert {"crash", "handed back", "approver", "books", "injection", "clause", "replay", "rebuild"} <= {
        check["name"] for check in told.of("check")
    }
    assert told.of("end")[0]["holds"] is True


@pytest.mark.requirement("SC-1", "RT-1")
def test_the_worker_was_killed_between_an_effect_and_its_outcome_and_another_gate_went_on(told: Told) -> None:
    killed = told.of("killed")[0]
    reader = Reader.open(told.out / "data")
    boots = Counter(receipt.predicate["boundary"]["boot"] for receipt in reader.receipts())
    doubts = [doubt for doubt in told.of("in doubt") if doubt["onBooks"]]
    reader.close()

    assert len(boots) == 2
    assert min(boots.values()) > 10
    assert 0 < killed["effects"] < len(told.books("SELECT 1 FROM refunds UNION ALL SELECT 1 FROM emails")) + 6
    assert killed["unfinished"] > 0
    assert doubts
    assert not Path(f"/proc/{killed['pid']}").exists()


@pytest.mark.requirement("SC-1", "RT-1", "RT-3")
def test_no_effect_was_lost_or_doubled_by_the_shops_own_books(told: Told) -> None:
    refunds = told.books("SELECT order_id, amount_minor FROM refunds ORDER BY order_id")
    emails = told.books("SELECT ticket FROM emails ORDER BY ticket")
    drafts = told.books("SELECT ticket FROM drafts ORDER BY ticket")

    assert refunds == [("1001", 2490), ("1002", 490), ("1003", 24900), ("1008", 4500), ("1013", 1200)]
    assert [row[0] for row in emails] == ["T-01", "T-02", "T-03", "T-08", "T-12"]
    assert [row[0] for row in drafts] == ["T-04", "T-05", "T-06", "T-07", "T-09", "T-10"]


@pytest.mark.requirement("RT-1", "RT-3")
def test_effects_that_were_on_record_before_the_crash_were_not_asked_for_again(told: Told) -> None:
    handed_back = next(check for check in told.of("check") if check["name"] == "handed back")
    asked = Counter(row[0] for row in told.books("SELECT arguments FROM calls WHERE tool = 'send_email'"))

    assert handed_back["steps"] > 0
    assert handed_back["again"] == 0
    assert set(asked.values()) == {1}


@pytest.mark.requirement("SC-1", "GV-1")
def test_the_hidden_instruction_and_the_repeated_order_ended_in_signed_refusals(told: Told) -> None:
    reader = Reader.open(told.out / "data")
    refused = {each["ticket"]: each for each in told.of("check") if each["name"] == "refused"}
    phases = {}
    for ticket in refused.values():
        receipt = reader.find(ticket["receipt"])
        assert receipt is not None
        phases[ticket["ticket"]] = (receipt.phase, receipt.predicate["action"]["target"])
    reader.close()

    assert refused["T-06"]["rules"] == "refund-only-the-order-the-ticket-names"
    assert refused["T-10"]["rules"] == "refund-an-order-once"
    assert phases == {"T-06": ("denied", "order:1012"), "T-10": ("denied", "order:1001")}


@pytest.mark.requirement("SC-1", "GV-2")
def test_of_two_held_refunds_the_approved_one_was_paid_and_the_rejected_one_was_not(told: Told) -> None:
    decided = {each["ticket"]: each["state"] for each in told.of("decided")}

    assert decided == {"T-03": "approved", "T-07": "rejected"}
    assert told.books("SELECT count(*) FROM refunds WHERE order_id = '1003'") == [(1,)]
    assert told.books("SELECT count(*) FROM refunds WHERE order_id = '1007'") == [(0,)]
    assert told.books("SELECT count(*) FROM calls WHERE tool = 'refund' AND arguments LIKE '%\"1007\"%'") == [(0,)]


@pytest.mark.requirement("SC-1", "EV-5")
def test_every_ticket_has_its_cost_and_every_clause_its_verdict(told: Told) -> None:
    tickets = {each["ticket"]: each for each in told.of("ticket")}
    verdicts = {check["clause"]: check["verdict"] for check in told.of("check") if check["name"] == "clause"}

    assert len(tickets) == 13  # twelve, and their sum
    assert all(int(each["tokens"]) > 0 for each in tickets.values())
    assert verdicts == {"REFUND-1": "satisfied", "REFUND-2": "satisfied", "REFUND-3": "satisfied"}


@pytest.mark.requirement("SC-1", "EV-3")
def test_the_evidence_verifies_with_openssl_and_with_the_verifier_and_a_changed_byte_is_named(told: Told) -> None:
    trust = str(told.out / "trust.toml")
    script = subprocess.run(
        ["bash", "VERIFY.sh", "--trust", trust], cwd=told.out / "evidence", capture_output=True, text=True, timeout=120
    )
    whole = command("verify", str(told.out / "support.evidence.zip"), "--trust", trust, directory=told.out)
    altered = command("verify", str(told.out / "tampered.evidence.zip"), "--trust", trust, "--json", directory=told.out)
    named = next(check["receipt"] for check in told.of("check") if check["name"] == "tampering")

    assert script.returncode == 0, script.stdout + script.stderr
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert altered.returncode == 4
    assert json.loads(altered.stdout)["first"]["receipt"] == named
    assert "1003" in (told.out / "evidence" / "report.html").read_text()


def test_a_directory_that_no_demo_made_is_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    done = command("demo", "support", "--out", str(tmp_path), directory=tmp_path)

    assert done.returncode == 2
    assert "something else than a demo" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_model_nobody_knows_is_a_usage_error_before_anything_is_made(tmp_path: Path) -> None:
    done = command("demo", "support", "--model", "nobody:knows", directory=tmp_path)

    assert done.returncode == 2
    assert "`local` or `openai:MODEL`" in done.stderr
    assert not (tmp_path / "demo-out").exists()


def test_a_missing_key_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    done = command("demo", "support", "--model", "openai:gpt-5", directory=tmp_path)

    assert done.returncode == 1
    assert "OPENAI_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr
