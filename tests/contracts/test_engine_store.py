"""The engine contract, over the engine that needs nothing but the store."""

from datetime import timedelta
from typing import Any

import pytest

from answerable.core import Clock
from answerable.runtime import Engine, StoreEngine
from tests.contracts.engine_suite import EngineContract


@pytest.mark.requirement("RT-1", "RT-2")
class TestStoreEngine(EngineContract):
    """Every race, on SQLite."""

    def make(self, leases: Any, clock: Clock) -> Engine:
        return StoreEngine(leases, clock, sweep=timedelta(milliseconds=50))
