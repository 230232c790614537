"""SIGKILL of the worker, and of Temporal itself, where a Temporal server has runs advanced: books and record agree.

The sweep is that of `test_crash_sweep`, a sample of it on every change and all of it in `make soak`.
"""

import hashlib
import itertools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from answerable.core import FaultPoint
from tests.faults import _worker
from tests.faults._worker import Case
from tests.faults.test_crash_sweep import IN_DOUBT, Zygote, finished, killed
from tests.integration.temporal_server import TemporalServer, temporal_server
from tests.soak import IS_SOAK

SAMPLE = 4

pytestmark = [pytest.mark.requirement("RT-1", "RT-3", "RT-5"), pytest.mark.timeout(120)]


@dataclass(frozen=True, slots=True)
class Zygotes(Zygote):
    """Starts workers of a Temporal server."""

    server: TemporalServer

    def live(self, case: Case) -> dict[str, Any]:
        """Run one life of a worker to its end."""
        return Zygote.live(self, replace(case, temporal=self.server.address))


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygotes]:
    command = [sys.executable, _worker.__file__, "temporalio.worker"]
    with (
        temporal_server(tmp_path_factory.mktemp("temporal")) as server,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        yield Zygotes(process, server)
        assert process.stdin is not None
        process.stdin.close()


def deaths() -> list[tuple[str, FaultPoint]]:
    """Every kind at every point, or a few of them that stay the same."""
    every = list(itertools.product(_worker.KINDS, FaultPoint))
    return every if IS_SOAK else sorted(every, key=lambda case: hashlib.sha256(repr(case).encode()).digest())[:SAMPLE]


@pytest.mark.parametrize(("kind", "point"), deaths())
def test_a_run_of_a_killed_worker_is_given_to_the_next_with_no_effect_lost_or_doubled(
    workers: Zygotes, tmp_path: Path, kind: str, point: FaultPoint
) -> None:
    killed(workers, Case(directory=str(tmp_path), kind=kind, point=point))

    ended = finished(workers, tmp_path, kind)

    is_unknowable = kind == "neither" and point in IN_DOUBT
    assert ended["asked"] == (["plain"] if is_unknowable else [])


@pytest.mark.parametrize("kind", ["neither", *(_worker.KINDS if IS_SOAK else [])])
def test_a_temporal_that_died_beside_the_worker_costs_time_and_no_effect(
    workers: Zygotes, tmp_path: Path, kind: str
) -> None:
    killed(workers, Case(directory=str(tmp_path), kind=kind, point=FaultPoint.AFTER_EFFECT))
    workers.server.kill()
    workers.server.start()

    finished(workers, tmp_path, kind)


def test_a_temporal_that_forgot_everything_is_told_again_from_the_store(workers: Zygotes, tmp_path: Path) -> None:
    killed(workers, Case(directory=str(tmp_path), kind="key", point=FaultPoint.AFTER_PARK))
    workers.server.kill()
    for file in workers.server.directory.iterdir():
        file.unlink()
    workers.server.start()

    finished(workers, tmp_path, "key")
