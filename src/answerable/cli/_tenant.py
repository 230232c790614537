"""Whose record a command is about: `answerable --tenant NAME …`. What is another's is not there."""

from contextvars import ContextVar
from pathlib import Path

from answerable.cli._errors import NotOnRecord
from answerable.core import RunId, TenantId
from answerable.ledger import Reader, Receipt
from answerable.runtime import RunRow, find_run

__all__ = ["chosen", "own_receipt", "own_run", "tenant"]

chosen: ContextVar[str] = ContextVar("tenant", default="default")
"""What `--tenant` says; the overview of commands sets it before any of them is called."""


def tenant() -> TenantId:
    """The tenant that the command is about."""
    return TenantId(chosen.get())


def own_run(reader: Reader, run: str, *, data: Path) -> RunRow:
    """A run of the tenant's.

    Raises:
        NotOnRecord: it has none of this id.
    """
    row = find_run(reader, RunId(run))
    if row is None or row.tenant != tenant():
        raise NotOnRecord(thing="run", name=run, data=str(data))
    return row


def own_receipt(reader: Reader, receipt: str, *, data: Path) -> Receipt:
    """A receipt of the tenant's, or of the gate's own keys.

    Raises:
        NotOnRecord: it has none of this id.
    """
    found = reader.find(receipt)
    if found is None or found.predicate["tenant"] not in (tenant(), "_system"):
        raise NotOnRecord(thing="receipt", name=receipt, data=str(data))
    return found
