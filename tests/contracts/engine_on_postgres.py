"""The engine contract's worlds, with their records on Postgres."""

import shutil
from pathlib import Path

import pytest

from tests.postgres import Databases

__all__ = ["OnPostgres"]


class OnPostgres:
    """Mixed into an engine's tests: each data directory has a database.

    A crash leaves a copy of it, in which the worker that crashed is gone.
    """

    @pytest.fixture(autouse=True)
    def on_a_server(self, postgres: Databases) -> None:
        self.databases = postgres
        self.of: dict[Path, str] = {}
        self.failed: list[Exception] = []

    def store(self, directory: Path) -> str:
        if self.failed:  # it was raised inside of a tool, where it is an outcome like any other
            raise self.failed[0]
        if directory not in self.of:
            self.of[directory] = self.databases.new()
        return self.of[directory]

    def crash(self, here: Path, there: Path) -> None:
        try:
            self._crash(here, there)
        except Exception as error:
            self.failed.append(error)
            raise

    def _crash(self, here: Path, there: Path) -> None:
        shutil.copytree(here / "keys", there / "keys")  # the record is not in the directory
        self.of[there] = self.databases.copy(self.of[here])
        self.databases.server.sql(self.of[there], "UPDATE workers SET until = ''")
