"""The shop's own books, and whether the record agrees with them."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from answerable.ledger import Receipt

__all__ = ["Agreement", "Books", "Effect", "compare", "effect_of"]

Effect = tuple[str, str]
"""A tool, and what tells one of its effects from another: the idempotency key, or the ticket of an e-mail."""

_EFFECTS = {
    "shop.refund": "SELECT idempotency_key FROM refunds",
    "shop.draft_reply": "SELECT idempotency_key FROM drafts",
    "shop.send_email": "SELECT ticket FROM emails",
}
# By what the shop would be done wrong to, had anything happened twice under two keys.
_ONCE = {
    "refund of order": "SELECT order_id FROM refunds",
    "draft for": "SELECT ticket FROM drafts",
    "e-mail for": "SELECT ticket FROM emails",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How the record and the books compare.

    Args:
        effects: refunds, drafts and e-mails on the books.
        doubled: what is on the books more often than it was done by the record, or than it should ever be.
        lost: what the record says was done and the books do not have.
    """

    effects: int
    doubled: tuple[str, ...]
    lost: tuple[str, ...]


class Books:
    """The shop's SQLite file, read as anybody may read it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def effects(self) -> Counter[Effect]:
        """What happened, each with how often."""
        return Counter((tool, row[0]) for tool, statement in _EFFECTS.items() for row in self._rows(statement))

    def repeated(self) -> list[str]:
        """What happened twice to the same order or ticket."""
        found = []
        for what, statement in _ONCE.items():
            counted = Counter(row[0] for row in self._rows(statement))
            found += [f"{what} {name}" for name, count in counted.items() if count > 1]
        return found

    def calls(self, *, after: int = 0) -> list[tuple[int, Effect]]:
        """Calls as they arrived, by number; reads have nothing that tells them apart."""
        found = []
        for number, tool, text in self._rows("SELECT id, tool, arguments FROM calls WHERE id > ? ORDER BY id", after):
            said: dict[str, Any] = json.loads(text)
            key = said.get("idempotency_key", said.get("ticket", ""))
            found.append((number, (f"shop.{tool}", key)))
        return found

    def refunded(self, order: str) -> int:
        """How many refunds of an order there are."""
        return len(self._rows("SELECT id FROM refunds WHERE order_id = ?", order))

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.path, timeout=10)) as books:
            return books.execute(statement, values).fetchall()


def effect_of(action: dict[str, Any]) -> Effect:
    """What the action of a receipt is called on the books."""
    name = action["name"]
    if name == "shop.send_email":  # it knows no key
        return name, action["target"].partition(":")[2]
    return name, action.get("idempotencyKey", "")


def compare(books: Books, receipts: Iterable[Receipt]) -> Agreement:
    """Hold the books against the record, effect by effect."""
    recorded = Counter(
        effect_of(receipt.predicate["action"])
        for receipt in receipts
        if receipt.phase == "outcome"
        and receipt.predicate["action"]["name"] in _EFFECTS
        and receipt.predicate["effect"]["status"] == "ok"
    )
    found = books.effects()
    doubled = [f"{tool} {key}" for tool, key in (found - recorded).elements()]
    lost = [f"{tool} {key}" for tool, key in (recorded - found).elements()]
    return Agreement(effects=found.total(), doubled=(*doubled, *books.repeated()), lost=tuple(lost))
