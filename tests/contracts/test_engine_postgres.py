"""The engine contract, over Postgres: the store engine as one of several workers."""

from datetime import timedelta
from typing import Any

import pytest

from answerable.core import Clock
from answerable.runtime import Engine, StoreEngine
from tests.contracts.engine_on_postgres import OnPostgres
from tests.contracts.engine_suite import EngineContract


@pytest.mark.requirement("RT-1", "RT-2", "RT-5")
class TestStoreEngineOnPostgres(OnPostgres, EngineContract):
    """Every race, on Postgres."""

    def make(self, leases: Any, clock: Clock) -> Engine:
        return StoreEngine(leases, clock, sweep=timedelta(milliseconds=50))
