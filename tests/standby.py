"""A standby of a test's Postgres, by streaming replication, that can be promoted."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

from tests.postgres import Server

__all__ = ["drop", "promote", "standby_of", "stop_receiving", "synchronously"]

_PATIENCE_S = 60


def standby_of(primary: Server) -> Server:
    """A running standby of a running server, which receives all that it writes from now on."""
    owner = primary.directory.stat()
    home = Path(tempfile.mkdtemp(prefix="answerable-standby-"))
    os.chown(home, owner.st_uid, owner.st_gid)
    command = [str(primary.binaries / "pg_basebackup"), "-h", str(primary.directory), "-U", "postgres"]
    command += ["-D", str(home / "data"), "-X", "stream", "-c", "fast", "-R"]
    user = {"user": owner.st_uid, "group": owner.st_gid} if os.geteuid() == 0 else {}
    subprocess.run(command, check=True, capture_output=True, timeout=120, **user)  # type: ignore[call-overload]
    for copied in (home / "data").glob(".s.PGSQL.*"):  # the socket of the other one, which is in its directory
        copied.unlink()
    standby = Server(home / "data", primary.binaries)
    standby.start()
    _until(primary, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", 1)
    return standby


def synchronously(primary: Server) -> None:
    """A commit is one from now on when the standby has it on disk too."""
    primary.sql(primary.url("postgres"), "ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.sql(primary.url("postgres"), "SELECT pg_reload_conf()")
    _until(primary, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", 1)


def stop_receiving(standby: Server) -> None:
    """The standby falls behind, as one does whose network is slow."""
    standby.sql(standby.url("postgres"), "ALTER SYSTEM SET primary_conninfo = ''")
    standby.sql(standby.url("postgres"), "SELECT pg_reload_conf()")
    _until(standby, "SELECT count(*) FROM pg_stat_wal_receiver", 0)


def promote(standby: Server) -> None:
    """It takes writes when this returns."""
    standby.sql(standby.url("postgres"), f"SELECT pg_promote(true, {_PATIENCE_S})")


def drop(*servers: Server) -> None:
    """End them, and leave nothing."""
    for server in servers:
        if server.process is not None:
            server.process.kill()
            server.process.wait(_PATIENCE_S)
            server.process = None
        shutil.rmtree(server.directory.parent, ignore_errors=True)


def _until(server: Server, query: str, wanted: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        while connection.execute(query.encode()).fetchone() != (wanted,):
            assert time.monotonic() < deadline, f"{query} is not {wanted}"
            time.sleep(0.02)
