"""Enters receipts in their tenants' logs that were appended and not entered yet: trees grow, and heads are signed.

Where gates share a record one of them does it (`_sequencer`); what a backup of such a record holds beyond its
checkpoints is entered by the gate that goes on with it.
"""

import sqlalchemy as sa

from answerable.ledger._checkpoint import sign_checkpoint
from answerable.ledger._merkle import Frontier
from answerable.ledger._ports import Connection, Signer
from answerable.ledger._sql import Prepared
from answerable.ledger._tables import logs, receipts

__all__ = ["integrate", "retired_by"]

_P = sa.bindparam
_PAGE = 10_000
_GROWN = Prepared(
    sa.text(
        "SELECT tenant, origin, size, peaks FROM logs WHERE size < coalesce((SELECT leaf + 1 FROM receipts "
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
    # INVARIANT: a head never goes back, even where somebody only believes to hold the lock; none is signed under an
    # origin that the log has no more, and none is taken by a key after the receipt that retires it.
    .where(
        logs.c.tenant == _P("of_tenant"),
        logs.c.size == _P("was"),
        logs.c.origin == _P("name"),
        ~sa.exists(sa.select(receipts.c.once).where(receipts.c.once == _P("retired"))),
    )
    .values(size=_P("entries"), peaks=_P("edge"), checkpoint=_P("note"))
)


def retired_by(signer: Signer) -> str:
    """What the receipt that retires a key is appended under (`Draft.once`)."""
    return f"key:{signer.key_id}:retired"


def integrate(connection: Connection, signer: Signer) -> int:
    """Enter what was appended, and sign each log's new head under its origin; the number of entries comes back."""
    count = 0
    for tenant, origin, size, peaks in connection.rows(_GROWN):
        frontier = Frontier(size, [peaks[start : start + 32] for start in range(0, len(peaks), 32)])
        while page := connection.rows(_ENTRIES, tenant=tenant, start=frontier.size):
            for (digest,) in page:
                frontier.append(digest)
        connection.run(
            _SAVE,
            of_tenant=tenant,
            was=size,
            name=origin,
            entries=frontier.size,
            edge=b"".join(frontier.peaks),
            note=sign_checkpoint(signer, origin, frontier.size, frontier.root()),
            retired=retired_by(signer),
        )
        count += frontier.size - size
    return count
