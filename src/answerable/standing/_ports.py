"""What standing needs of the record: to read it."""

from typing import Protocol

from answerable.core import RunId, TenantId
from answerable.ledger import Receipt

__all__ = ["Record", "Unsealed"]


class Unsealed(Protocol):
    """The sealed texts of one receipt, as far as they are still there."""

    @property
    def input(self) -> bytes | None:
        """What went in."""

    @property
    def output(self) -> bytes | None:
        """What came out."""


class Record(Protocol):
    """The ledger's reader, as far as it is used here."""

    def receipts(self, *, run: RunId | None = None, tenant: TenantId = TenantId("default")) -> list[Receipt]:
        """Receipts in the order they were written."""

    def text(self, receipt: Receipt, /) -> Unsealed:
        """The receipt's sealed texts."""

    def stored(self, commitment: str, /) -> tuple[bytes, bytes] | None:
        """The text and salt of an object, by its commitment."""
