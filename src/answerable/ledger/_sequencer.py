"""Enters what workers appended into the tenants' logs: one of them at a time, in the order it was appended.

Whoever holds an advisory lock is the sequencer. The lock belongs to its connection: when its process dies the lock
is free at once, and where it stands still the server ends its connection.
"""

import logging
import threading

import sqlalchemy as sa

from answerable.ledger._checkpoint import origin_of, sign_checkpoint
from answerable.ledger._drivers._failures import ContendedError, StoreRefused, StoreUnreachable
from answerable.ledger._drivers._postgres import PostgresConnection
from answerable.ledger._merkle import Frontier
from answerable.ledger._ports import Signer
from answerable.ledger._sql import Prepared
from answerable.ledger._tables import logs, receipts

__all__ = ["Sequencer", "integrate"]

log = logging.getLogger("answerable.ledger")

_P = sa.bindparam
_PAUSE_S = 0.1  # between two checkpoints, so that a busy log has a few a second and not one a commit
_LOOK_S = 1.0
_PAGE = 10_000
_LOCK = Prepared(sa.text("SELECT pg_try_advisory_lock(4272019003)"))
_UNLOCK = Prepared(sa.text("SELECT pg_advisory_unlock(4272019003)"))
_RETIRED = Prepared(sa.select(receipts.c.once).where(receipts.c.once == _P("retired")))
# SECURITY: one that stands still loses its connection, and with it the lock.
_WATCH = Prepared(sa.text("SET idle_session_timeout = '5s'"))
_GROWN = Prepared(
    sa.text(
        "SELECT tenant, size, peaks FROM logs WHERE size < coalesce((SELECT leaf + 1 FROM receipts "
        "WHERE receipts.tenant = logs.tenant ORDER BY leaf DESC LIMIT 1), 0)"
    )
)
_ENTRIES = Prepared(
    sa.select(receipts.c.digest)
    .where(receipts.c.tenant == _P("tenant"), receipts.c.leaf >= _P("start"))
    .order_by(receipts.c.leaf)
    .limit(_PAGE)
)
_SAVE = Prepared(
    sa.update(logs)
    # INVARIANT: a head never goes back, even where somebody only believes to hold the lock; and none is taken by a key
    # after the receipt that retires it, whichever gate wrote that.
    .where(
        logs.c.tenant == _P("of_tenant"),
        logs.c.size == _P("was"),
        ~sa.exists(sa.select(receipts.c.once).where(receipts.c.once == _P("retired"))),
    )
    .values(origin=_P("name"), size=_P("entries"), peaks=_P("edge"), checkpoint=_P("note"))
)


class Sequencer:
    """Grows the logs' trees, on a thread of its own, as long as it is the one that does.

    Args:
        connection: its own; nobody else uses it.
        signer: the log's key.
        log_name: what its origins are named after.
    """

    def __init__(self, connection: PostgresConnection, signer: Signer, *, log_name: str) -> None:
        self._connection = connection
        self._signer = signer
        self._log_name = log_name
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
                    integrate(self._connection, self._signer, self._log_name)
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


def retired_by(signer: Signer) -> str:
    """What the receipt that retires a key is appended under (`Draft.once`)."""
    return f"key:{signer.key_id}:retired"


def integrate(connection: PostgresConnection, signer: Signer, log_name: str) -> int:
    """Enter what was appended, and sign each log's new head; the number of entries comes back."""
    count = 0
    for tenant, size, peaks in connection.rows(_GROWN):
        frontier = Frontier(size, [peaks[start : start + 32] for start in range(0, len(peaks), 32)])
        while page := connection.rows(_ENTRIES, tenant=tenant, start=frontier.size):
            for (digest,) in page:
                frontier.append(digest)
        origin = origin_of(log_name, tenant)
        note = sign_checkpoint(signer, origin, frontier.size, frontier.root())
        edge = b"".join(frontier.peaks)
        connection.run(
            _SAVE,
            of_tenant=tenant,
            was=size,
            name=origin,
            entries=frontier.size,
            edge=edge,
            note=note,
            retired=retired_by(signer),
        )
        count += frontier.size - size
    return count
