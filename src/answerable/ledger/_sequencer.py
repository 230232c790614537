"""Enters what workers appended into the tenants' logs: one of them at a time, in the order it was appended.

Whoever holds an advisory lock is the sequencer. The lock belongs to its connection: when its process dies the lock
is free at once, and where it stands still the server ends its connection.
"""

import logging
import threading

import sqlalchemy as sa

from answerable.ledger._drivers._failures import ContendedError, StoreRefused, StoreUnreachable
from answerable.ledger._drivers._postgres import PostgresConnection
from answerable.ledger._entering import integrate, retired_by
from answerable.ledger._ports import Signer
from answerable.ledger._sql import Prepared
from answerable.ledger._tables import receipts

__all__ = ["Sequencer"]

log = logging.getLogger("answerable.ledger")

_P = sa.bindparam
_PAUSE_S = 0.1  # between two checkpoints, so that a busy log has a few a second and not one a commit
_LOOK_S = 1.0
_LOCK = Prepared(sa.text("SELECT pg_try_advisory_lock(4272019003)"))
_UNLOCK = Prepared(sa.text("SELECT pg_advisory_unlock(4272019003)"))
_RETIRED = Prepared(sa.select(receipts.c.once).where(receipts.c.once == _P("retired")))
# SECURITY: one that stands still loses its connection, and with it the lock.
_WATCH = Prepared(sa.text("SET idle_session_timeout = '5s'"))


class Sequencer:
    """Grows the logs' trees, on a thread of its own, as long as it is the one that does.

    Args:
        connection: its own; nobody else uses it.
        signer: the log's key.
    """

    def __init__(self, connection: PostgresConnection, signer: Signer) -> None:
        self._connection = connection
        self._signer = signer
        self._holds_since = 0
        self._is_retired = False
        self._news = threading.Event()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="answerable-log", daemon=True)
        self._thread.start()

    def poke(self) -> None:
        """Something was appended."""
        self._news.set()

    def close(self) -> None:
        """Enter what is there, if no other worker does, and stop."""
        self._is_over.set()
        self._news.set()
        self._thread.join()
        self._connection.close()

    def _serve(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._is_over.is_set()
            try:
                if self._is_it():
                    integrate(self._connection, self._signer)
            except (StoreUnreachable, StoreRefused, ContendedError) as error:
                log.warning("the log waits for its sequencer: %s", error)
            self._is_over.wait(_PAUSE_S)
            if not is_last:
                self._news.wait(_LOOK_S)
                self._news.clear()

    def _is_it(self) -> bool:
        if self._is_retired or self._connection.rows(_RETIRED, retired=retired_by(self._signer)):
            if not self._is_retired:
                log.warning(
                    "the log's key was replaced: this gate enters nothing into the log until it has the new one"
                )
            if self._holds_since == self._connection.dialled:
                self._connection.rows(_UNLOCK)
            self._is_retired, self._holds_since = True, 0
            return False
        # The lock went with the connection it was taken on.
        if self._holds_since != self._connection.dialled and self._connection.rows(_LOCK)[0][0]:
            self._connection.run(_WATCH)
            self._holds_since = self._connection.dialled
        return self._holds_since == self._connection.dialled
