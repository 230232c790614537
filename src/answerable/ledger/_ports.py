"""What the ledger asks of others: who signs, who keeps tables that follow from receipts, where it all is stored."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import sqlalchemy as sa

from answerable.core import Action, AnswerableError, Decision, ReceiptId, RunId
from answerable.ledger._receipt import Phase, Receipt
from answerable.ledger._sql import Prepared

__all__ = [
    "Batch",
    "Connection",
    "Forgetful",
    "Projection",
    "Ruling",
    "RulingProjection",
    "RulingTx",
    "Signer",
    "Store",
    "Tx",
    "Writer",
]

T = TypeVar("T")
B_co = TypeVar("B_co", bound="Batch", covariant=True)


class Signer(Protocol):
    """Holds one Ed25519 key and signs with it."""

    @property
    def key_id(self) -> str:
        """SHA-256 of the raw public key, 64 hexadecimal digits."""

    @property
    def public_key(self) -> bytes:
        """The raw public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """The signature over exactly these bytes, 64 bytes (RFC 8032)."""


class Tx(Protocol):
    """The open transaction, as a projection sees it."""

    @property
    def now(self) -> str:
        """The time of this transaction, RFC 3339 UTC with microseconds."""

    def rows(self, statement: Prepared, /, **params: Any) -> Sequence[Sequence[Any]]:
        """The rows a query finds."""

    def run(self, statement: Prepared, /, **params: Any) -> object:
        """Run a statement. Its effect is seen by the next `rows`; what it answers is nobody's business."""

    def wake(self, run: str) -> None:
        """Have the run advanced once this transaction is on disk."""


class RulingTx(Tx, Protocol):
    """The transaction in which an action is about to be opened."""

    def last_seq(self, run: RunId) -> int:
        """The `seq` of the run's last receipt so far, -1 where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What a projection's check says of an action about to be opened.

    Args:
        refuse: not at all, and why.
        hold: not yet: it waits for `wait` (an approval id).
        moved: a fact that the decision read has changed since.
        approvals: the approval receipts that are taken by this opening.
        budget: what is reserved with the intent, each `{"scope": …, "dimension": …, "amount": …}`.
    """

    refuse: AnswerableError | None = None
    hold: bool = False
    wait: str = ""
    moved: bool = False
    approvals: tuple[ReceiptId, ...] = ()
    budget: tuple[dict[str, Any], ...] = ()


class Projection(Protocol):
    """Tables that follow from receipts: kept in the receipt's transaction, rebuilt from receipts alone.

    One that has a say in what is opened is a `RulingProjection`.

    INVARIANT: `apply` reads only the receipt and its own tables; two applications for different runs
    commute.
    """

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The tables it owns; nobody else writes them."""

    @property
    def phases(self) -> frozenset[Phase]:
        """The phases `apply` wants to see."""

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt."""


@runtime_checkable
class RulingProjection(Projection, Protocol):
    """A projection that is asked before an action is opened. INVARIANT: `check` writes nothing."""

    def check(self, tx: RulingTx, action: Action, decision: Decision, digest: str) -> Ruling | None:
        """Whether the action may be opened now; `digest` names it. Called inside `open`'s transaction."""


@runtime_checkable
class Forgetful(Protocol):
    """A projection that remembers what it once read of its tables, and so must hear when others write too."""

    def forget(self) -> None:
        """Others may have written since: look at the tables again."""


class Connection(Protocol):
    """A connection to the store. Used by one thread at a time."""

    def rows(self, statement: Prepared, /, **params: Any) -> Sequence[Any]:
        """The rows a query finds."""

    def run(self, statement: Prepared, /, **params: Any) -> object:
        """Run a statement; inside a transaction it may be sent only with the next query, or the commit."""

    def insert(self, statement: Prepared, rows: Sequence[Sequence[Any]], /) -> None:
        """Insert rows of values, given in the order of the statement's parameters."""

    def each(self, statement: Prepared) -> Iterator[Any]:
        """The rows a query finds, however many: never all of them in memory."""

    def transaction(self, *, only_reads: bool = False) -> AbstractContextManager[None]:
        """What is done in the block is on disk together or not at all, and nobody else writes meanwhile.

        Args:
            only_reads: others may write, and what is read is of one moment.
        """

    def close(self) -> None:
        """Let go of it."""


class Batch(Protocol):
    """What one transaction changes in memory, published only once it is on disk."""

    def prepare(self) -> None:
        """All that is left to do before COMMIT."""

    def publish(self) -> None:
        """The transaction is on disk."""


class Writer(Protocol[B_co]):
    """Runs functions inside transactions, many to a commit.

    A function that raises fails alone. INVARIANT: whoever did not ask to be told earlier is answered only after the
    commit that holds their work.
    """

    def submit(
        self, work: Callable[[B_co], T], *, landed: Callable[[Exception | None], None] | None = None
    ) -> "asyncio.Future[T]":
        """Have `work` done in the next transaction; its result comes when that is on disk.

        It may be called more than once, if its transaction has to be done again. Cancelling the future does not
        undo it.

        Args:
            landed: if given, the result may come as soon as the work is done, before it is on disk. What is
                submitted later is never on disk without it. Called when it is on disk, or with what kept it
                from there; not if the work itself raised.
        """

    async def close(self) -> None:
        """Finish what was submitted, then stop."""


class Store(Protocol):
    """Where a record is kept."""

    @property
    def address(self) -> str:
        """What to call it in messages; never with a password."""

    @property
    def is_shared(self) -> bool:
        """Whether several processes write it at a time."""

    def exists(self) -> bool:
        """Whether there is a record in it."""

    def connect(self, *, writable: bool) -> Connection:
        """A connection, durable at every commit."""

    def scrub(self) -> bool:
        """Have no trace of dropped rows in its files; False where it cannot, or not yet."""

    def upgrade(self) -> None:
        """Bring it to this version's schema; one that is there already is only looked at."""
