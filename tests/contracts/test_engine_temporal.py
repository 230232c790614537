"""The engine contract, over a real Temporal server."""

import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from answerable.core import Clock
from answerable.runtime import Engine, Temporal
from answerable.runtime._drivers._temporal import TemporalEngine
from tests.contracts.engine_on_postgres import OnPostgres
from tests.contracts.engine_suite import EngineContract
from tests.integration.temporal_server import TemporalServer, temporal_server

_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    with temporal_server(tmp_path_factory.mktemp("temporal")) as running:
        yield running


@pytest.mark.requirement("RT-1", "RT-2", "RT-5")
class TestTemporalEngine(EngineContract):
    """Every race, with a Temporal server between the wake and the slice."""

    @pytest.fixture(autouse=True)
    def _queue(self, server: TemporalServer) -> None:
        # One queue for all the worlds of a test: what an earlier one left in Temporal meets the later one's store.
        self.settings = Temporal(address=server.address, queue=f"queue-{next(_NUMBERS)}")

    def make(self, leases: Any, clock: Clock) -> Engine:
        return TemporalEngine(leases, clock, self.settings, sweep=timedelta(milliseconds=50))


@pytest.mark.requirement("RT-1", "RT-2", "RT-5")
class TestTemporalEngineOnPostgres(OnPostgres, TestTemporalEngine):
    """Every race, with Temporal, and a store that other workers share."""
