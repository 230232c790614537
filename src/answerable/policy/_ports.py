"""What policy needs of the ledger."""

from collections.abc import Sequence
from typing import Any, Protocol

from answerable.core import RunId, TenantId
from answerable.ledger import Draft, Prepared, Receipt

__all__ = ["Book", "Record", "Rows", "Store"]


class Rows(Protocol):
    """Reads a table that a projection keeps, as fresh as can be; `open` checks again in its transaction."""

    def __call__(self, statement: Prepared, /, **params: Any) -> Sequence[Sequence[Any]]:
        """The rows a query finds."""


class Book(Protocol):
    """Where decisions of people are written down."""

    async def append(self, draft: Draft) -> Any:
        """Put a receipt on the record; the answer's `status` is `ok`, `dup`, `stale` or `stopped`."""

    def pseudonym(self, tenant: TenantId, name: str) -> str:
        """What the record calls a person."""


class Store(Protocol):
    """A reader over the record."""

    def rows(self, statement: Prepared, /, **params: Any) -> Sequence[Sequence[Any]]:
        """The rows a query finds."""

    def find(self, receipt_id: str) -> Receipt | None:
        """The receipt of this id."""

    def text(self, receipt: Receipt) -> Any:
        """What its commitments stand for, unsealed: `input` and `output` are bytes or None."""


class Record(Protocol):
    """What replay reads: receipts, and objects by their commitment."""

    def receipts(self, *, run: RunId | None = None, tenant: TenantId = ...) -> Sequence[Receipt]:
        """The run's receipts, in order."""

    def stored(self, digest: str) -> tuple[bytes, bytes] | None:
        """The text and salt of an object, by its commitment."""
