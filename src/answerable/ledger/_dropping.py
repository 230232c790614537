"""Drops texts and the keys that open them, so that nothing of either is left in the store's files.

The receipts stay as they are: their commitments say nothing without the salts, which derive from the keys
that are dropped. A receipt whose text is gone keeps the pseudonyms of the people it concerned.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from answerable.core import RunId
from answerable.ledger._erasures import Erasure
from answerable.ledger._receipt import Receipt, is_replayed
from answerable.ledger._sql import Prepared
from answerable.ledger._tables import receipts, subject_keys
from answerable.ledger._vault import PARTY, Vault

__all__ = ["Concerned", "drop_texts", "drop_these", "seqs_of", "texts_of"]

_P = sa.bindparam
_FOUND = (receipts.c.position, receipts.c.body, receipts.c.subjects, receipts.c.sealed.is_not(None))
_LISTED = sa.literal("\n") + receipts.c.subjects + sa.literal("\n")
_OF_PERSON = Prepared(
    sa.select(*_FOUND).where(
        receipts.c.tenant == _P("tenant"),
        # The bounds let the store look only at texts that concern people (the index `receipts_of_people`).
        receipts.c.subjects >= PARTY,
        receipts.c.subjects < PARTY[:-1] + chr(ord(PARTY[-1]) + 1),
        _LISTED.contains(_P("listed")),
    )
)
_OF_NAME = Prepared(sa.select(*_FOUND).where(receipts.c.tenant == _P("tenant"), _LISTED.contains(_P("listed"))))
_OF_RUN = Prepared(sa.select(*_FOUND).where(receipts.c.run == _P("run"), receipts.c.subjects.is_not(None)))
_DROP = Prepared(sa.update(receipts).where(receipts.c.position == _P("at")).values(sealed=None))
_DROP_KEY = Prepared(
    sa.delete(subject_keys).where(subject_keys.c.tenant == _P("tenant"), subject_keys.c.subject == _P("subject"))
)
_NAMES = Prepared(
    sa.select(subject_keys.c.subject).where(
        subject_keys.c.tenant == _P("tenant"),
        sa.not_(subject_keys.c.subject.startswith(PARTY, autoescape=True)),
        sa.not_(subject_keys.c.subject.startswith("run_", autoescape=True)),
    )
)


class _Statements(Protocol):
    def rows(self, statement: Prepared, /, **params: Any) -> Sequence[Sequence[Any]]:
        """The rows a query finds."""

    def run(self, statement: Prepared, /, **params: Any) -> object:
        """Run a statement."""


@dataclass(frozen=True, slots=True)
class Concerned:
    """A receipt whose text an erasure concerns.

    Args:
        is_there: the text has not been dropped before.
        subjects: whom it is sealed for: people by pseudonym, or the run.
    """

    receipt: Receipt
    is_there: bool
    subjects: tuple[str, ...]

    @property
    def run(self) -> RunId:
        """The run that it belongs to."""
        return RunId(self.receipt.predicate["run"])

    @property
    def is_needed(self) -> bool:
        """Whether its run cannot go on without the text."""
        return is_replayed(self.receipt)


def texts_of(store: _Statements, vault: Vault, erasure: Erasure) -> list[Concerned]:
    """The texts that an erasure concerns, those dropped before included."""
    return _found(store, erasure, _names(store, vault, erasure))


def drop_texts(store: _Statements, vault: Vault, erasure: Erasure) -> list[Concerned]:
    """Drop every text that an erasure concerns, and the keys, inside a transaction; what it concerns comes back."""
    names = _names(store, vault, erasure)
    found = _found(store, erasure, names)
    drop_these(store, found)
    for name in names:
        store.run(_DROP_KEY, tenant=erasure.tenant, subject=name)
    return found


def drop_these(store: _Statements, found: Sequence[Concerned]) -> None:
    """Drop these texts; the keys stay, for the sake of others."""
    for each in found:
        if each.is_there:
            store.run(_DROP, at=each.receipt.position)


def seqs_of(found: Sequence[Concerned]) -> str:
    """The receipts of one run whose texts these are, as its erasure receipt names them: by seq, such as `0-3,7`."""
    spans: list[list[int]] = []
    for seq in sorted(each.receipt.predicate["seq"] for each in found):
        if spans and seq == spans[-1][1] + 1:
            spans[-1][1] = seq
        else:
            spans.append([seq, seq])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def _found(store: _Statements, erasure: Erasure, names: Sequence[str]) -> list[Concerned]:
    if erasure.run:
        return list(_read(store.rows(_OF_RUN, run=erasure.run)))
    found = {}
    for name in names:
        query = _OF_PERSON if name == erasure.subject else _OF_NAME
        for each in _read(store.rows(query, tenant=erasure.tenant, listed=f"\n{name}\n")):
            if name in each.subjects:
                found[each.receipt.position] = each
    return list(found.values())


def _names(store: _Statements, vault: Vault, erasure: Erasure) -> list[str]:
    """Whose keys go: the run's, or the person's; and the name in clear, under which older versions kept keys."""
    if erasure.run:
        return [erasure.run]
    names = [row[0] for row in store.rows(_NAMES, tenant=erasure.tenant)]
    return [erasure.subject, *(name for name in names if vault.pseudonym(erasure.tenant, name) == erasure.subject)]


def _read(rows: Sequence[Sequence[Any]]) -> Iterator[Concerned]:
    for position, body, subjects, is_there in rows:
        receipt = Receipt(position=position, body=body, signature=b"", key_id="", digest="")
        yield Concerned(receipt, bool(is_there), tuple(str(subjects).split("\n")))
