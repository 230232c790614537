"""Which outcomes a session's agent has received: what decides whether the same call is a new one."""

import asyncio
import logging

import sqlalchemy as sa

from answerable.core import ReceiptId, RunId
from answerable.ledger import Ledger, Prepared, Tx, insert, metadata

__all__ = ["Deliveries"]

log = logging.getLogger("answerable.runtime")

_deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("receipt", sa.Text, primary_key=True),
    sqlite_with_rowid=False,
)
_PUT = Prepared(insert(_deliveries).on_conflict_do_nothing())
_OF_RUN = Prepared(sa.select(_deliveries.c.receipt).where(_deliveries.c.run == sa.bindparam("run")))
_DROP = Prepared(sa.delete(_deliveries).where(_deliveries.c.run == sa.bindparam("run")))


class Deliveries:
    """Marks of one session. A mark lost in a crash makes an answer count as undelivered, never the reverse.

    The table is bookkeeping of the wire, like leases: it does not follow from receipts, and `rebuild`
    leaves it alone.
    """

    def __init__(self, ledger: Ledger, run: RunId) -> None:
        self._ledger = ledger
        self._run = run
        self._marked = {ReceiptId(row[0]) for row in ledger.reader.rows(_OF_RUN, run=run)}
        self._unwritten: list[ReceiptId] = []

    def mark(self, receipt: ReceiptId) -> None:
        """The agent has this outcome."""
        if receipt and receipt not in self._marked:
            self._marked.add(receipt)
            self._unwritten.append(receipt)

    def has(self, receipt: ReceiptId) -> bool:
        """Whether the agent has this outcome."""
        return receipt in self._marked

    def ride(self) -> None:
        """Put the marks into the batch that the caller is about to write to, at no commit of their own."""
        if self._unwritten:
            self._write().add_done_callback(_told)

    async def flush(self) -> None:
        """Write what is not written."""
        if self._unwritten:
            await self._write()

    async def drop(self) -> None:
        """The session is over."""
        run = self._run
        self._unwritten.clear()
        await self._ledger.writer.submit(lambda tx: tx.run(_DROP, run=run))

    def _write(self) -> "asyncio.Future[None]":
        marks, self._unwritten = self._unwritten, []
        run = self._run

        def work(tx: Tx) -> None:
            for receipt in marks:
                tx.run(_PUT, run=run, receipt=receipt)

        return self._ledger.writer.submit(work)


def _told(written: "asyncio.Future[None]") -> None:
    if not written.cancelled() and (error := written.exception()) is not None:
        log.warning("marks of delivery were not written: %s", type(error).__name__)
