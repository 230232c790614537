"""What the engines on Postgres have in common: how the server commits, and how many rows a table has."""

import psycopg

from benchmarks._engines._work import Durability

__all__ = ["count", "durability_of_server"]


def durability_of_server(url: str, *, synchronous_commit: str = "") -> Durability:
    """How a connection commits: `fsync` is the server's, `synchronous_commit` each connection's own.

    Source: PostgreSQL, "Write Ahead Log": with both on, a commit is on disk when it is answered.
    """
    with psycopg.connect(url) as connection:
        shown = {}
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            row = connection.execute(f"SHOW {name}".encode()).fetchone()
            assert row is not None
            shown[name] = row[0]
    shown["synchronous_commit"] = synchronous_commit or shown["synchronous_commit"]
    return Durability(journal_mode="wal", synchronous=2 if set(shown.values()) == {"on"} else 0)


def count(url: str, query: str) -> int:
    """What a counting query finds."""
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])
