"""This process among the workers of a shared store: its lease, renewed off the loop, and what the others tell.

One lease a worker, not one a run. It is never revived: whoever comes late (stopped, cut off) is another worker from
then on, under another name, and holds none of its former runs.
"""

import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import sqlalchemy as sa

from answerable.ledger._drivers._failures import ContendedError, StoreRefused, StoreUnreachable, TakenError
from answerable.ledger._drivers._postgres import PostgresConnection
from answerable.ledger._many import CHANNEL
from answerable.ledger._sql import Prepared
from answerable.ledger._tables import NOW, server_time, slices, workers

__all__ = ["Presence"]

log = logging.getLogger("answerable.ledger")

_RENEWALS = 4  # a lease is renewed when a quarter of it is over, so that two lost answers cost nothing
_P = sa.bindparam
_UNTIL = server_time(sa.func.clock_timestamp() + _P("lease_ms") * sa.literal_column("interval '1 millisecond'"))
_YESTERDAY = server_time(sa.func.clock_timestamp() - sa.literal_column("interval '1 day'"))
_JOIN = Prepared(
    sa.insert(workers).values(worker=_P("worker"), boot=_P("boot"), host=_P("host"), until=_UNTIL, batch=0, counts="{}")
)
_RENEW = Prepared(
    sa.update(workers)
    .where(workers.c.worker == _P("me"), workers.c.until > NOW)
    .values(until=_UNTIL)
    .returning(workers.c.worker)
)
_LEAVE = Prepared(sa.update(workers).where(workers.c.worker == _P("me")).values(until=""))
_GONE = Prepared(sa.update(workers).where(workers.c.boot == _P("boot")).values(until=""))
_OWNERLESS = sa.and_(
    slices.c.state == "leased",
    ~sa.exists().where(workers.c.worker == slices.c.worker, workers.c.until > NOW),
)
_ANY_OWNERLESS = Prepared(sa.select(slices.c.run).where(_OWNERLESS).limit(1))
_TAKE_OVER = Prepared(sa.update(slices).where(_OWNERLESS).values(state="ready", worker=None).returning(slices.c.run))
_CLEAN = Prepared(sa.delete(workers).where(workers.c.until < _YESTERDAY))
_BRIEFLY = Prepared(sa.text("SET lock_timeout = '1s'"))
_LISTEN = Prepared(sa.text(f"LISTEN {CHANNEL}"))


class Presence:
    """Keeps this process among the workers, on a thread of its own.

    Args:
        connection: its own; nobody else uses it.
        boot: of the gate.
        lease: how long the others wait for it before they take its runs.
        former: a boot that is known to be gone, whose lease nobody need wait for.
        heard: called on the thread with the payloads of notifications.
        missed: called on the thread when notifications may have been lost, or the worker has another name.
        freed: called on the thread with runs whose worker is gone.
    """

    def __init__(
        self,
        connection: PostgresConnection,
        *,
        boot: str,
        lease: timedelta,
        former: str = "",
        heard: Callable[[list[str]], None],
        missed: Callable[[], None],
        freed: Callable[[list[str]], None],
    ) -> None:
        self._connection = connection
        self._boot = boot
        self._lease_ms = int(lease.total_seconds() * 1000)
        self._heard, self._missed, self._freed = heard, missed, freed
        self._names = itertools.count(1)
        self._until_s = 0.0
        self._dialled = 0
        self._is_away = False
        self._is_over = threading.Event()
        self.worker = ""
        if former:
            connection.run(_GONE, boot=former)
        self._join()
        self._listen()
        self._thread = threading.Thread(target=self._serve, name="answerable-lease", daemon=True)
        self._thread.start()

    @property
    def lease_s(self) -> float:
        """How long a lease lasts without renewal."""
        return self._lease_ms / 1000

    @property
    def is_alive(self) -> bool:
        """Whether the lease lasts still, by a clock that counts the time in which the machine slept."""
        return _boottime_s() < self._until_s

    def close(self) -> None:
        """Leave: others need not wait for the lease to end."""
        self._is_over.set()
        self._thread.join()
        try:
            self._connection.run(_LEAVE, me=self.worker)
            self._take_over()
        except (StoreUnreachable, StoreRefused, ContendedError) as error:
            log.warning("the worker could not sign off, its runs wait for the end of its lease: %s", error)
        self._connection.close()

    def _serve(self) -> None:
        next_s = 0.0
        while not self._is_over.is_set():
            try:
                if time.monotonic() >= next_s:
                    next_s = time.monotonic() + self.lease_s / _RENEWALS
                    self._renew()
                    self._take_over()
                heard = self._connection.wait(min(0.5, max(0.0, next_s - time.monotonic())))
                if self._dialled != self._connection.dialled:
                    self._listen()
                    self._missed()
                if heard:
                    self._heard([each.payload for each in heard])
                self._is_away = False
            except ContendedError:
                continue  # the others were busy: a moment later again
            except (StoreUnreachable, StoreRefused) as error:
                if not self._is_away:
                    log.warning("the worker's lease cannot be renewed: %s", error)
                self._is_away = True
                self._is_over.wait(0.2)

    def _join(self) -> None:
        name, began_s = f"{self._boot}.{next(self._names)}", _boottime_s()
        said = {"worker": name, "boot": self._boot, "host": os.uname().nodename, "lease_ms": self._lease_ms}
        with contextlib.suppress(TakenError):  # an answer was lost, and the statement sent again
            self._connection.run(_JOIN, **said)
        self.worker, self._until_s = name, began_s + self.lease_s

    def _listen(self) -> None:
        self._connection.run(_BRIEFLY)
        self._connection.run(_LISTEN)
        self._dialled = self._connection.dialled

    def _renew(self) -> None:
        began_s = _boottime_s()
        if self._connection.rows(_RENEW, me=self.worker, lease_ms=self._lease_ms):
            self._until_s = began_s + self.lease_s
            return
        log.warning("the lease of worker %s is over: its runs are others' now", self.worker)
        self._join()
        self._missed()

    def _take_over(self) -> None:
        """Free the runs of workers whose lease is over. With the pen: they may be about to commit."""
        if not self._connection.rows(_ANY_OWNERLESS):
            return
        with self._connection.transaction():
            found = [row[0] for row in self._connection.rows(_TAKE_OVER)]
            self._connection.run(_CLEAN)
        if found:
            log.info("took over %d runs of a worker that is gone", len(found))
            self._freed(found)


def _boottime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
