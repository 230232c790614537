"""What identity needs of the ledger."""

from collections.abc import Awaitable, Sequence
from typing import Any, Protocol

from answerable.core import TenantId
from answerable.ledger import Appended, Draft, Prepared, Receipt

__all__ = ["Book", "Store"]


class Book(Protocol):
    """Where it is written down."""

    def append(self, draft: Draft) -> Awaitable[Appended]:
        """Put one receipt on the record."""

    def pseudonym(self, tenant: TenantId, name: str) -> str:
        """What the record calls a person."""


class Store(Protocol):
    """Where it is read."""

    def rows(self, statement: Prepared, /, **params: Any) -> Sequence[Sequence[Any]]:
        """The rows a query finds."""

    def find(self, receipt_id: str) -> Receipt | None:
        """The receipt of this id."""

    def text(self, receipt: Receipt) -> Any:
        """What its commitments stand for, unsealed."""
