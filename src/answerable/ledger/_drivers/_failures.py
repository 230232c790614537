"""What a database on a server may answer instead of what it was asked."""

import sqlite3
from dataclasses import dataclass

from answerable.core import EvidenceError, Transient
from answerable.ledger._signers import SignerUnavailable

__all__ = ["PASSING", "ContendedError", "StoreRefused", "StoreUnreachable", "StoreWentBack", "TakenError"]


@dataclass(eq=False, kw_only=True)
class StoreUnreachable(Transient):
    """The database does not answer."""

    code = "execution.store_unreachable"
    what = "the store {address} does not answer: {reason}"
    why = "the database is down, restarts, or refuses this machine"
    fix = "bring it back: what is under way waits for it as long as its worker's lease lasts"

    address: str
    reason: str


@dataclass(eq=False, kw_only=True)
class StoreRefused(EvidenceError):
    """The database would not do what it was asked."""

    code = "evidence.store_refused"
    what = "the store {address} refused a statement (SQLSTATE {state}): {reason}"
    why = "a right is missing, the disk is full, or the tables are not what this version made"
    fix = "see the database's own log; nothing of that transaction was kept"

    address: str
    state: str
    reason: str


@dataclass(eq=False, kw_only=True)
class StoreWentBack(EvidenceError):
    """The database holds less than it once said it had kept."""

    code = "evidence.store_went_back"
    what = "the store {address} lacks what it had kept: it ends at receipt {found}, and the one at {known} is not there"
    why = "a backup was restored, or a standby took over that had not received everything: receipts were lost"
    fix = "stop every worker and find the database that holds all of it; going on would fork the log"

    address: str
    found: int
    known: int


class ContendedError(Exception):
    """Two transactions were in each other's way: this one was undone, and is to be done again."""


class TakenError(Exception):
    """A row with that key is there already: the transaction was undone."""


PASSING = (sqlite3.OperationalError, StoreUnreachable, ContendedError, SignerUnavailable)
"""What may be over a moment later: a full disk, a locked file, a server that restarts."""
