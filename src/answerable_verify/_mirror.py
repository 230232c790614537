"""A monitor's own copy of a log: what it was shown cannot be taken back."""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from answerable_verify._receipt import Receipt, read_receipt
from answerable_verify._tree import leaf_hash, node_hash

__all__ = ["Mirror", "boot_of"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    leaf INTEGER PRIMARY KEY, entry BLOB NOT NULL, is_judged INTEGER NOT NULL, run TEXT, boot TEXT, envelope BLOB);
CREATE INDEX IF NOT EXISTS by_run ON entries (run, leaf);
CREATE INDEX IF NOT EXISTS by_boot ON entries (boot, leaf);
CREATE INDEX IF NOT EXISTS to_judge ON entries (leaf) WHERE is_judged = 0;
CREATE TABLE IF NOT EXISTS heads (size INTEGER PRIMARY KEY, root BLOB NOT NULL, note BLOB NOT NULL, seen TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS alerts (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, what TEXT NOT NULL, receipt TEXT NOT NULL, at TEXT NOT NULL,
    evidence BLOB NOT NULL, UNIQUE (kind, what, receipt));
CREATE TABLE IF NOT EXISTS peaks (level INTEGER PRIMARY KEY, node BLOB NOT NULL);
"""


class Mirror:
    """Entries, receipts, heads and alerts of one log, in one file.

    INVARIANT: entries are only added, with the head that covers them, in one transaction; the receipts
    behind them are judged afterwards, each once.
    """

    def __init__(self, path: Path) -> None:
        self._store = sqlite3.connect(path, isolation_level=None)
        self._store.execute("PRAGMA journal_mode=WAL")
        self._store.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    @property
    def head(self) -> tuple[int, bytes, bytes, str]:
        """Size, root hash, note and time of the last checkpoint that was taken in; 0 and nothing before the first."""
        row = self._store.execute("SELECT size, root, note, seen FROM heads ORDER BY size DESC LIMIT 1").fetchone()
        return row or (0, hashlib.sha256(b"").digest(), b"", "")

    def grown(self, entries: Iterable[bytes]) -> tuple[dict[int, bytes], bytes]:
        """The peaks and the root hash that the log has with these entries added; nothing is kept yet."""
        return _add(dict(self._store.execute("SELECT level, node FROM peaks")), entries)

    def root_at(self, size: int) -> bytes:
        """The root hash of the first `size` entries."""
        if known := self._store.execute("SELECT root FROM heads WHERE size = ?", (size,)).fetchone():
            return bytes(known[0])
        rows = self._store.execute("SELECT entry FROM entries WHERE leaf < ? ORDER BY leaf", (size,))
        return _add({}, (entry for (entry,) in rows))[1]

    def keep(self, entries: Sequence[bytes], *, peaks: dict[int, bytes], root: bytes, note: bytes, seen: str) -> None:
        """Take in what the log gained, with the checkpoint that covers it."""
        start = self.head[0]
        with self._transaction():
            self._store.executemany(
                "INSERT INTO entries (leaf, entry, is_judged) VALUES (?, ?, 0)", list(enumerate(entries, start))
            )
            self._store.execute("DELETE FROM peaks")
            self._store.executemany("INSERT INTO peaks VALUES (?, ?)", peaks.items())
            self._store.execute("INSERT INTO heads VALUES (?, ?, ?, ?)", (start + len(entries), root, note, seen))

    def to_judge(self, count: int) -> list[tuple[int, bytes]]:
        """The next entries whose receipts were not looked at, by leaf."""
        query = "SELECT leaf, entry FROM entries WHERE is_judged = 0 ORDER BY leaf LIMIT ?"
        return self._store.execute(query, (count,)).fetchall()

    def judged(self, found: Iterable[tuple[int, Receipt | None, bytes]]) -> None:
        """Keep receipts that were looked at, each with its leaf and envelope; None where there was no readable one."""
        rows = [
            (receipt.run if receipt else None, boot_of(receipt) if receipt else None, receipt and envelope, leaf)
            for leaf, receipt, envelope in found
        ]
        with self._transaction():
            self._store.executemany(
                "UPDATE entries SET is_judged = 1, run = ?, boot = ?, envelope = ? WHERE leaf = ?", rows
            )

    def last_of_run(self, run: str) -> Receipt | None:
        """The newest receipt of a run."""
        return self._one("SELECT leaf, envelope FROM entries WHERE run = ? ORDER BY leaf DESC LIMIT 1", run)

    def last_of_boot(self, boot: str) -> Receipt | None:
        """The newest receipt that one boot of a gate wrote."""
        return self._one("SELECT leaf, envelope FROM entries WHERE boot = ? ORDER BY leaf DESC LIMIT 1", boot)

    def run(self, run: str) -> list[Receipt]:
        """The receipts of a run, in the order of the log."""
        rows = self._store.execute("SELECT leaf, envelope FROM entries WHERE run = ? ORDER BY leaf", (run,))
        return [read_receipt(envelope, f"entry {leaf}") for leaf, envelope in rows if envelope]

    def key_receipts(self) -> Iterator[Receipt]:
        """The receipts of the gate's key changes, where this is the log of them."""
        for leaf, envelope in self._store.execute(
            "SELECT leaf, envelope FROM entries WHERE run = 'control:_system' ORDER BY leaf"
        ):
            receipt = read_receipt(envelope, f"entry {leaf}")
            if receipt.phase == "key":
                yield receipt

    def alert(self, kind: str, what: str, receipt: str, at: str, evidence: bytes) -> bool:
        """Keep an alert; whether it is new."""
        return bool(
            self._store.execute(
                "INSERT INTO alerts VALUES (NULL, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (kind, what, receipt, at, evidence),
            ).rowcount
        )

    def alerts(self) -> list[tuple[str, str, str, str, bytes]]:
        """All alerts that were kept: kind, what, receipt, when, evidence."""
        return self._store.execute("SELECT kind, what, receipt, at, evidence FROM alerts ORDER BY number").fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._store.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._store.execute("ROLLBACK")
            raise
        self._store.execute("COMMIT")

    def _one(self, query: str, name: str) -> Receipt | None:
        row = self._store.execute(query, (name,)).fetchone()
        return read_receipt(row[1], f"entry {row[0]}") if row else None


def _add(peaks: dict[int, bytes], entries: Iterable[bytes]) -> tuple[dict[int, bytes], bytes]:
    """A tree's largest whole subtrees by level, and its root hash, after entries were added (RFC 6962 §2.1)."""
    for entry in entries:
        node, level = leaf_hash(entry), 0
        while level in peaks:
            node, level = node_hash(peaks.pop(level), node), level + 1
        peaks[level] = node
    root = b""
    for level in sorted(peaks):
        root = node_hash(peaks[level], root) if root else peaks[level]
    return peaks, root or hashlib.sha256(b"").digest()


def boot_of(receipt: Receipt) -> str:
    """Names one boot of a gate."""
    return " ".join(receipt.gate[:2])
