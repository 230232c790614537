"""SIGKILL at every point of the road, the record on Postgres: another gate takes over once the lease ends.

The sweep is that of `test_crash_sweep`, a sample of it on every change and all of it in `make soak`. Each life is a
gate of its own, with its own data directory and gate key, as on another machine.
"""

import contextlib
import hashlib
import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from answerable.core import FaultPoint
from answerable.ledger import join_store
from tests.faults import _worker
from tests.faults._worker import Case
from tests.faults.test_crash_sweep import IN_DOUBT, Zygote, finished, killed
from tests.integration.temporal_server import temporal_server
from tests.postgres import Databases
from tests.soak import IS_SOAK

SAMPLE = 2

pytestmark = [pytest.mark.requirement("RT-1", "RT-3", "RT-5", "OP-1"), pytest.mark.timeout(120)]


@dataclass(frozen=True, slots=True)
class Gates(Zygote):
    """Starts gates that share the record of one test.

    Args:
        url: of its database.
        temporal: address of the Temporal server that has the run advanced, if one does.
    """

    url: str
    temporal: str = ""
    lives: Iterator[int] = field(default_factory=itertools.count)

    def live(self, case: Case) -> dict[str, Any]:
        """Run one life of a gate that is new to the record to its end."""
        number, directory = next(self.lives), Path(case.directory)
        worker = f"data-{number}" if number else "data"
        if number:
            join_store(directory / worker, directory / "data", enters_log=True)
        return Zygote.live(self, replace(case, store=self.url, worker=worker, temporal=self.temporal))


@pytest.fixture(scope="module")
def process() -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, _worker.__file__, "psycopg", "answerable.ledger._membership", "temporalio.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        yield running
        assert running.stdin is not None
        running.stdin.close()


@pytest.fixture
def gates(process: "subprocess.Popen[str]", postgres: Databases) -> Gates:
    return Gates(process, postgres.new())


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with temporal_server(tmp_path_factory.mktemp("temporal")) as server:
        yield server.address


def deaths(sample: int = SAMPLE) -> list[tuple[str, FaultPoint]]:
    """Every kind at every point, or a few of them that stay the same."""
    every = list(itertools.product(_worker.KINDS, FaultPoint))
    if IS_SOAK:
        return every
    return sorted(every, key=lambda case: hashlib.sha256(repr(case[::-1]).encode()).digest())[:sample]


def dies_and_is_taken_over(gates: Gates, directory: Path, kind: str, point: FaultPoint) -> None:
    killed(gates, Case(directory=str(directory), kind=kind, point=point))

    ended = finished(gates, directory, kind)

    is_unknowable = kind == "neither" and point in IN_DOUBT
    assert ended["asked"] == (["plain"] if is_unknowable else []), "a person is asked when, and only when, nobody knows"


@pytest.mark.parametrize(("kind", "point"), deaths())
def test_a_run_of_a_killed_gate_goes_on_in_another_with_no_effect_lost_or_doubled(
    gates: Gates, tmp_path: Path, kind: str, point: FaultPoint
) -> None:
    dies_and_is_taken_over(gates, tmp_path, kind, point)


@pytest.mark.parametrize(("kind", "point"), deaths(1))
def test_a_run_of_a_killed_gate_is_given_to_another_by_temporal_with_no_effect_lost_or_doubled(
    gates: Gates, temporal: str, tmp_path: Path, kind: str, point: FaultPoint
) -> None:
    dies_and_is_taken_over(replace(gates, temporal=temporal), tmp_path, kind, point)


@pytest.mark.parametrize("kind", ["read", "key", "probe", "neither"] if IS_SOAK else ["neither"])
@pytest.mark.parametrize("moment", ["before", "after"] if IS_SOAK else ["before"])
def test_a_gate_killed_while_the_tool_has_the_call_asks_key_probe_or_person(
    gates: Gates, tmp_path: Path, moment: str, kind: str
) -> None:
    killed(gates, Case(directory=str(tmp_path), kind=kind, deadly=f"plain:{moment}"))

    ended = finished(gates, tmp_path, kind, in_vain=1 if moment == "before" else 0)

    assert ended["asked"] == (["plain"] if kind == "neither" else [])


@pytest.mark.parametrize(("kind", "point"), deaths() if IS_SOAK else [("probe", FaultPoint.AFTER_COMMIT)])
def test_a_database_that_crashed_beside_the_gate_has_what_was_committed(
    gates: Gates, postgres: Databases, tmp_path: Path, kind: str, point: FaultPoint
) -> None:
    killed(gates, Case(directory=str(tmp_path), kind=kind, point=point))
    postgres.server.restart(signal.SIGQUIT)

    finished(gates, tmp_path, kind)


def pairs() -> list[tuple[str, FaultPoint, FaultPoint]]:
    """Two deaths in a row, each of another gate."""
    every = [
        (kind, first, second)
        for kind, first, second in itertools.product(_worker.KINDS, FaultPoint, FaultPoint)
        if first in IN_DOUBT and second in IN_DOUBT
    ]
    return every if IS_SOAK else every[11::97]


@pytest.mark.parametrize(("kind", "first", "second"), pairs())
def test_a_run_that_two_gates_die_with_goes_on_in_a_third(
    gates: Gates, tmp_path: Path, kind: str, first: FaultPoint, second: FaultPoint
) -> None:
    killed(gates, Case(directory=str(tmp_path), kind=kind, point=first))
    with contextlib.suppress(KeyError):  # what the first life got done, the second may never pass again
        gates.live(Case(directory=str(tmp_path), kind=kind, point=second))

    finished(gates, tmp_path, kind)
