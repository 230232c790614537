"""The engine contract, over Postgres: the store engine as one of several workers."""

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from answerable.core import Clock
from answerable.runtime import Engine, StoreEngine
from tests.contracts.engine_suite import EngineContract
from tests.postgres import Databases


@pytest.mark.requirement("RT-1", "RT-2", "RT-5")
class TestStoreEngineOnPostgres(EngineContract):
    """Every race, on Postgres. A crash leaves a copy of the database, in which the worker that crashed is gone."""

    @pytest.fixture(autouse=True)
    def on_a_server(self, postgres: Databases) -> None:
        self.databases = postgres
        self.of: dict[Path, str] = {}

    def make(self, leases: Any, clock: Clock) -> Engine:
        return StoreEngine(leases, clock, sweep=timedelta(milliseconds=50))

    def store(self, directory: Path) -> str:
        if directory not in self.of:
            self.of[directory] = self.databases.new()
        return self.of[directory]

    def crash(self, here: Path, there: Path) -> None:
        shutil.copytree(here, there)
        (there / "store.toml").unlink()
        self.of[there] = self.databases.copy(self.of[here])
        self.databases.server.sql(self.of[there], "UPDATE workers SET until = ''")
