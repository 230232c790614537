"""What policy needs of the ledger."""

from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from answerable.core import Action, ActionKind, Description, RunId, TenantId
from answerable.ledger import Draft, Prepared, Receipt

__all__ = ["Approvers", "Book", "Clauses", "Describes", "Found", "Record", "Rows", "Store", "Unsealed"]


class Rows(Protocol):
    """Reads a table that a projection keeps, as fresh as can be; `open` checks again in its transaction."""

    def __call__(self, statement: Prepared, /, **params: Any) -> Sequence[Sequence[Any]]:
        """The rows a query finds."""


class Book(Protocol):
    """Where decisions of people are written down."""

    def append(self, draft: Draft) -> Awaitable[Any]:
        """Put a receipt on the record; the answer's `status` is `ok`, `dup`, `stale` or `stopped`."""

    def pseudonym(self, tenant: TenantId, name: str) -> str:
        """What the record calls a person."""

    def committed_input(self, action: Action) -> tuple[str, Any, str]:
        """Commitment to the action's arguments, the keys behind it, and the action digest."""


class Store(Protocol):
    """A reader over the record."""

    def rows(self, statement: Prepared, /, **params: Any) -> Sequence[Sequence[Any]]:
        """The rows a query finds."""

    def find(self, receipt_id: str) -> Receipt | None:
        """The receipt of this id."""

    def text(self, receipt: Receipt) -> Any:
        """What its commitments stand for, unsealed: `input` and `output` are bytes or None."""

    def subjects(self, receipt: Receipt) -> tuple[str, ...]:
        """The people its texts concern."""


class Clauses(Protocol):
    """Knows how the clauses of specifications stand in a run."""

    async def now(self, run: RunId, names: frozenset[str]) -> tuple[Mapping[str, str], int]:
        """The standing of these clauses by all that is on the record of the run, and the `seq` up to which."""

    def by(self, receipts: Sequence[Receipt], names: frozenset[str]) -> Mapping[str, str]:
        """Their standing by these receipts of one run."""


class Approvers(Protocol):
    """Who may answer: people, their roles and their keys."""

    def roles_of(self, person: str, given: Sequence[str], now: datetime) -> frozenset[str]:
        """The roles somebody may act in now; `given` is the word of whoever authenticated them."""

    def is_in_line(self, one: str, other: str) -> bool:
        """Whether one stands above the other in the line of command."""

    def must_sign(self, person: str) -> bool:
        """Whether this person has a key of their own, so that nobody answers in their name without it."""

    def verify(self, person: str, message: bytes, signature: Mapping[str, str]) -> dict[str, str]:
        """What goes on the record of a signature by one of the person's keys; raises where it does not hold."""


class Describes(Protocol):
    """Knows what a call with other arguments would be."""

    def __call__(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        """What the call is, from its declaration; raises `Refused` where there is no such call."""


class Record(Protocol):
    """What replay reads: receipts, and objects by their commitment."""

    def receipts(self, *, run: RunId | None = None, tenant: TenantId = ...) -> Sequence[Receipt]:
        """The run's receipts, in order."""

    def stored(self, digest: str) -> tuple[bytes, bytes] | None:
        """The text and salt of an object, by its commitment."""


class Unsealed(Record, Protocol):
    """A record whose texts can be read."""

    def after(self, run: RunId, seq: int) -> list[Receipt]:
        """The receipts of a run beyond a `seq`, in order; -1 for all."""

    def text(self, receipt: Receipt) -> Any:
        """What its commitments stand for: `input` and `output` are bytes or None."""


class Found(Record, Protocol):
    """A record in which a receipt is found by its id."""

    def find(self, receipt_id: str) -> Receipt | None:
        """The receipt of this id."""
