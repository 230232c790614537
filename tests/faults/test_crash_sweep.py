"""SIGKILL at every point of the road: no effect is lost or doubled, and the record stays whole.

A worker process is killed, another takes over, and the tool server's own books are held against the
record. What cannot be known (an irreversible effect with neither key nor probe) must reach a person.
"""

import base64
import hashlib
import itertools
import json
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from answerable.app import all_projections
from answerable.core import FaultPoint, RunId
from answerable.ledger import Prepared, Reader, export_bundle, leaf_hash, metadata, rebuild, root_hash, write_trust
from tests.conformance.second_opinion import verify
from tests.faults import _worker
from tests.faults._worker import Case
from tests.soak import IS_SOAK

WRITES = ("key", "probe", "neither")
ONE_PASSAGE = ("probe", FaultPoint.AFTER_INTENT)
IN_DOUBT = {FaultPoint.AFTER_INTENT, FaultPoint.EFFECT_DISPATCHED, FaultPoint.AFTER_EFFECT, FaultPoint.AFTER_COMMIT}
"""Where the first call that is armed dies between its intent and its outcome."""

_BUDGETS = metadata.tables["policy_budgets"].c
_RUNS = Prepared(sa.select(metadata.tables["runs"].c.run))
_RESERVED = Prepared(sa.select(metadata.tables["policy_reservations"]))
_HELD_BACK = Prepared(sa.select(_BUDGETS.reserved))
_TOKENS = Prepared(sa.select(_BUDGETS.scope, _BUDGETS.spent).where(_BUDGETS.dimension == "tokens"))

pytestmark = pytest.mark.requirement("RT-1", "RT-2", "RT-3")


@dataclass(frozen=True, slots=True)
class Zygote:
    """Starts workers that have done their imports."""

    process: "subprocess.Popen[str]"

    def live(self, case: Case) -> dict[str, Any]:
        """Run one life of a worker to its end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asdict(case)) + "\n")
        self.process.stdin.flush()
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        assert "error" not in said, said["error"]
        return said


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    command = [sys.executable, _worker.__file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Zygote(process)
        assert process.stdin is not None
        process.stdin.close()


def killed(zygote: Zygote, case: Case) -> None:
    """A life that must end at its fault point."""
    ended = zygote.live(case)

    assert ended.get("signal") == signal.SIGKILL, f"{case.point or case.deadly} was not reached: {ended}"


def finished(zygote: Zygote, directory: Path, kind: str, *, in_vain: int = 0) -> dict[str, Any]:
    """A life without a fault, to the end of the run; everything that must hold then is checked.

    Args:
        in_vain: calls that reached the tool server and came to nothing.
    """
    ended = zygote.live(Case(directory=str(directory), kind=kind))
    assert ended["result"] == list(_worker.REFS)
    check_books(directory, kind, in_vain)
    check_record(directory, RunId(ended["run"]))
    return ended


def check_books(directory: Path, kind: str, in_vain: int) -> None:
    """The tool server's own books and the record tell the same: nothing lost, nothing doubled."""
    tool = f"books.{_worker.KINDS[kind]}"
    with closing(Reader.open(directory / "data")) as reader:
        outcomes = [receipt for receipt in reader.receipts() if receipt.phase == "outcome"]
        recorded = Counter(
            json.loads(reader.text(receipt).output or b"{}")["ref"]
            for receipt in outcomes
            if receipt.predicate["action"]["name"] == tool and receipt.predicate["effect"]["status"] == "ok"
        )
    with closing(sqlite3.connect(directory / "books.sqlite3")) as books:
        done = Counter(ref for (ref,) in books.execute("SELECT ref FROM effects"))
        called = Counter(ref for (ref,) in books.execute("SELECT ref FROM calls WHERE tool != 'ship_status'"))

    assert called["ban"] == 0, "a refused action reached its tool"
    if kind != "model":
        assert recorded == Counter(_worker.REFS)
    if kind in WRITES:
        assert done == recorded
    if kind in ("probe", "neither"):
        assert called.total() == recorded.total() + in_vain, "an irreversible effect was asked for twice"


def check_record(directory: Path, run: RunId) -> None:
    """The record is one unbroken chain and log, its projections follow from it, and outsiders can verify it."""
    with closing(Reader.open(directory / "data")) as reader:
        receipts = list(reader.all())
        check_chains([receipt.predicate for receipt in receipts], [receipt.digest for receipt in receipts])
        entries = reader.entries()
        _, size, root, *_ = reader.checkpoint().split("\n")
        assert int(size) == len(entries)
        assert base64.b64decode(root) == root_hash([leaf_hash(entry) for entry in entries])
        export_bundle(reader, [run], directory / "run.evidence.zip")
        write_trust(reader, directory / "trust.toml")
        tokens = {row[0]: row[1] for row in reader.rows(_TOKENS)}
        used = [receipt.predicate.get("usage", {}) for receipt in receipts if receipt.phase == "outcome"]
        assert [row[0] for row in reader.rows(_RUNS)] == [run]
        assert reader.rows(_RESERVED) == []
        assert {row[0] for row in reader.rows(_HELD_BACK)} == {0}
        assert tokens[f"run:{run}"] == sum(each.get("inputTokens", 0) + each.get("outputTokens", 0) for each in used)

    differing = [table for table in rebuild(directory / "data", all_projections(_worker.BUDGETS)) if not table.is_equal]
    report = verify(directory / "run.evidence.zip", directory / "trust.toml")

    assert differing == []
    assert (report.verdict, report.findings) == ("verified", ())
    assert [(summary.state, summary.unknown) for summary in report.runs] == [("done", ())]


def check_chains(said: list[dict[str, Any]], digests: list[str]) -> None:
    """`seq` and `prev` chain each run, `n` counts each boot's receipts, and no step has two outcomes."""
    runs: dict[str, list[tuple[dict[str, Any], str]]] = {}
    counters: dict[tuple[str, str], list[int]] = {}
    for each, digest in zip(said, digests, strict=True):
        runs.setdefault(each["run"], []).append((each, digest))
        counters.setdefault((each["boundary"]["boot"], each["tenant"]), []).append(each["boundary"]["n"])
    for receipts in runs.values():
        assert [each["seq"] for each, _ in receipts] == list(range(len(receipts)))
        assert [each.get("prev") for each, _ in receipts] == [None, *(digest for _, digest in receipts[:-1])]
        assert [each["at"] for each, _ in receipts] == sorted(each["at"] for each, _ in receipts)
    broken = {place: numbers for place, numbers in counters.items() if numbers != list(range(len(numbers)))}
    assert broken == {}
    finals = [(each["run"], each["step"]) for each in said if each["phase"] in ("outcome", "denied")]
    assert len(finals) == len(set(finals))


@pytest.mark.parametrize("kind", _worker.KINDS)
@pytest.mark.parametrize("point", FaultPoint)
def test_a_worker_killed_at_any_point_is_resumed_with_no_effect_lost_or_doubled(
    zygote: Zygote, tmp_path: Path, point: FaultPoint, kind: str
) -> None:
    killed(zygote, Case(directory=str(tmp_path), kind=kind, point=point))

    ended = finished(zygote, tmp_path, kind)

    is_unknowable = kind == "neither" and point in IN_DOUBT
    assert ended["asked"] == (["plain"] if is_unknowable else []), "a person is asked when, and only when, nobody knows"


@pytest.mark.parametrize("kind", ["read", *WRITES])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_worker_killed_while_the_tool_has_the_call_asks_key_probe_or_person(
    zygote: Zygote, tmp_path: Path, moment: str, kind: str
) -> None:
    killed(zygote, Case(directory=str(tmp_path), kind=kind, deadly=f"plain:{moment}"))

    ended = finished(zygote, tmp_path, kind, in_vain=1 if moment == "before" else 0)

    assert ended["asked"] == (["plain"] if kind == "neither" else [])


def pairs() -> list[tuple[str, FaultPoint, FaultPoint]]:
    """Every two deaths in a row, or as many of them as one can afford on every change."""
    every: list[tuple[str, FaultPoint, FaultPoint]] = [
        (kind, first, second)
        for kind, first, second in itertools.product(_worker.KINDS, FaultPoint, FaultPoint)
        if not (first == FaultPoint.AFTER_RUN_CLOSE or second == FaultPoint.RUN_OPENED)
    ]
    return every if IS_SOAK else sorted(every, key=lambda case: hashlib.sha256(repr(case).encode()).digest())[:12]


@pytest.mark.parametrize(("kind", "first", "second"), pairs())
def test_a_worker_killed_twice_is_resumed_with_no_effect_lost_or_doubled(
    zygote: Zygote, tmp_path: Path, kind: str, first: FaultPoint, second: FaultPoint
) -> None:
    killed(zygote, Case(directory=str(tmp_path), kind=kind, point=first))
    # What the first life got done, the second may never pass again: then it simply finishes.
    zygote.live(Case(directory=str(tmp_path), kind=kind, point=second))

    finished(zygote, tmp_path, kind)


def passages() -> list[tuple[str, FaultPoint]]:
    """Every point for every kind, or one that is passed a few times."""
    every = list(itertools.product(_worker.KINDS, FaultPoint))
    return every if IS_SOAK else [(kind, point) for kind, point in every if (kind, point) == ONE_PASSAGE]


@pytest.mark.parametrize(("kind", "point"), passages())
@pytest.mark.timeout(900)
def test_a_worker_killed_at_any_passage_of_any_point_is_resumed(
    zygote: Zygote, tmp_path: Path, kind: str, point: FaultPoint
) -> None:
    for passes in itertools.count(1):
        directory = tmp_path / str(passes)
        directory.mkdir()
        ended = zygote.live(Case(directory=str(directory), kind=kind, point=point, passes=passes))
        if "signal" not in ended:
            break
        finished(zygote, directory, kind)
