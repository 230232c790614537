"""What `answerable doctor` finds of keys and of what evidence is worth; exit 1 where something is wrong."""

import asyncio
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from answerable.cli._main import run
from answerable.core import TenantId
from answerable.ledger import Draft, Ledger, Reader, control_run, rotate_key, write_key

Capture = pytest.CaptureFixture[str]


class LongAgo:
    """A clock that stood still."""

    def now(self) -> datetime:
        return datetime(2024, 3, 1, tzinfo=UTC)

    def monotonic_s(self) -> float:
        return 0.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A record of a few receipts by a gate that agents of other users reached."""
    found = tmp_path / "data"
    began(found, isolation="separate-user")
    return found


def began(data: Path, **more: Any) -> None:
    async def main() -> None:
        ledger = Ledger.open(data, **more)
        await ledger.start()
        tenant = TenantId("default")
        members = {"control": {"name": "x"}}
        await ledger.append(Draft(tenant=tenant, run=control_run(tenant), phase="signal", agent="a", members=members))
        await ledger.close()

    asyncio.run(main())


def doctor(data: Path, capsys: Capture) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """The exit code, and by what was looked at each verdict with what was said."""
    capsys.readouterr()
    code = run(["doctor", "--data", str(data), "--json"])
    found: dict[str, list[tuple[str, str]]] = {}
    for each in json.loads(capsys.readouterr().out):
        found.setdefault(each["what"], []).append((each["verdict"], each["said"]))
    return code, found


@pytest.mark.requirement("EV-2")
def test_keys_isolation_and_the_assurance_that_results_are_told(data: Path, capsys: Capture) -> None:
    code, found = doctor(data, capsys)

    assert code == 0
    for role in ("gate", "log"):
        ((verdict, said),) = found[f"{role} key"]
        assert (verdict, "in use since" in said) == ("ok", True)
    assert found["isolation"][0][0] == "ok"
    assert found["assurance"][0][1].startswith("local, isolation separate-user")
    assert {verdict for verdict, _ in found["key file"]} == {"ok"}


def test_a_gate_in_its_agents_process_and_a_log_that_nobody_watches_are_pointed_at(
    tmp_path: Path, capsys: Capture
) -> None:
    began(tmp_path / "data")

    code, found = doctor(tmp_path / "data", capsys)

    assert (code, found["isolation"][0][0], found["assurance"][0][0]) == (0, "look", "look")
    assert "could use its keys" in found["isolation"][0][1]


def test_a_key_that_is_older_than_a_year_is_pointed_at(tmp_path: Path, capsys: Capture) -> None:
    began(tmp_path / "data", clock=LongAgo())

    code, found = doctor(tmp_path / "data", capsys)

    assert code == 0
    assert found["gate key"][0] == ("look", found["gate key"][0][1])
    assert "2024-03-01" in found["gate key"][0][1]
    assert "rotate it" in found["log key"][0][1]


def _readable(data: Path) -> None:
    (data / "keys" / "gate.key").chmod(0o644)


def _lost(data: Path) -> None:
    (data / "keys" / "log.key").unlink()


def _doubled(data: Path) -> None:
    shutil.copy(data / "keys" / "gate.key", data / "keys" / "log.key")


def _retired(data: Path) -> None:
    old = (data / "keys" / "gate.key").read_bytes()
    asyncio.run(rotate_key(data, "gate", by="ada", reason=""))
    (data / "keys" / "gate.key").write_bytes(old)


def _unreachable(data: Path) -> None:
    options = {"socket": str(data / "no-such.sock")}
    write_key(data / "keys" / "gate.key", signer="ssh-agent", public=public_key(data), options=options)


def public_key(data: Path) -> bytes:
    (public,) = Reader.open(data).gate_keys().values()
    return public


@pytest.mark.parametrize(
    ("break_", "what", "why"),
    [
        (_readable, "key file", "others can read it"),
        (_lost, "log key", "is not there"),
        (_doubled, "log key", "is the gate's already"),
        (_retired, "gate key", "was retired"),
        (_unreachable, "gate key", "did not sign"),
    ],
)
def test_what_would_keep_a_gate_from_starting_or_give_its_key_away_is_wrong(
    data: Path, capsys: Capture, break_: Callable[[Path], None], what: str, why: str
) -> None:
    break_(data)

    code, found = doctor(data, capsys)

    assert code == 1
    assert any(verdict == "WRONG" and why in said for verdict, said in found[what]), found[what]
