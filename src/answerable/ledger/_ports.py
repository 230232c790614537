"""What the ledger asks of others: who signs, and who keeps tables that follow from receipts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import sqlalchemy as sa

from answerable.core import Action, AnswerableError, Decision, ReceiptId
from answerable.ledger._receipt import Phase, Receipt
from answerable.ledger._sql import Prepared

__all__ = ["Projection", "Ruling", "RulingProjection", "Signer", "Tx"]


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

    def run(self, statement: Prepared, /, **params: Any) -> int:
        """The number of rows a statement changed."""

    def wake(self, run: str) -> None:
        """Have the run advanced once this transaction is on disk."""


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

    def check(self, tx: Tx, action: Action, decision: Decision, digest: str) -> Ruling | None:
        """Whether the action may be opened now; `digest` names it. Called inside `open`'s transaction."""
