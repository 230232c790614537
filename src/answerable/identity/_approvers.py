"""Who may answer approvals: the people registered, and the keys they sign with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from answerable.core import TenantId
from answerable.identity._people import People
from answerable.identity._ports import Book, Store
from answerable.identity._signing import SigningKeys, verify_signature

__all__ = ["Approvers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvers:
    """What policy asks of identity."""

    people: People
    keys: SigningKeys

    @classmethod
    def on(cls, book: Book, store: Store, *, tenant: TenantId = TenantId("default")) -> "Approvers":
        """Those of a tenant on this record."""
        people, keys = People(book=book, store=store, tenant=tenant), SigningKeys(book=book, store=store, tenant=tenant)
        return cls(people=people, keys=keys)

    def roles_of(self, person: str, given: Sequence[str], now: datetime) -> frozenset[str]:
        """The roles somebody may act in now."""
        return self.people.roles_of(person, given, now)

    def is_in_line(self, one: str, other: str) -> bool:
        """Whether one stands above the other."""
        return self.people.is_in_line(one, other)

    def must_sign(self, person: str) -> bool:
        """Whether this person has a key of their own."""
        return bool(self.keys.of(person))

    def verify(self, person: str, message: bytes, signature: Mapping[str, str]) -> dict[str, str]:
        """What goes on the record of a signature by one of the person's keys."""
        return verify_signature(self.keys.of(person), message, signature)
