"""The people who answer for agents: their roles, whom they report to, who stands in for them.

Each change is a receipt (`control.do` = `person`) in the tenant's control run, under a pseudonym.
While nobody is registered, roles are whatever the one who authenticated a person says.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from answerable.core import Refused, TenantId, format_time, stable_json
from answerable.identity._access_keys import check_roles
from answerable.identity._ports import Book, Store
from answerable.ledger import Draft, Phase, Prepared, Receipt, Tx, control_run, metadata

__all__ = ["People", "PeopleProjection", "Person", "PersonUnknown", "registered_roles"]

_people = sa.Table(
    "people",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("roles", sa.Text, nullable=False),
    sa.Column("reports_to", sa.Text, nullable=False),
    sa.Column("deputy", sa.Text, nullable=False),
    sa.Column("deputy_until", sa.Text, nullable=False),
    sa.Column("receipt", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam
_PUT = Prepared(sa.insert(_people))
_DROP = Prepared(sa.delete(_people).where(_people.c.tenant == _P("tenant"), _people.c.person == _P("person")))
_LIST = Prepared(
    sa.select(
        _people.c.person,
        _people.c.roles,
        _people.c.reports_to,
        _people.c.deputy,
        _people.c.deputy_until,
        _people.c.receipt,
    )
    .where(_people.c.tenant == _P("tenant"))
    .order_by(_people.c.person)
)
_ROLES = Prepared(sa.select(_people.c.roles).where(_people.c.tenant == _P("tenant"), _people.c.person == _P("person")))


@dataclass(eq=False, kw_only=True)
class PersonUnknown(Refused):
    """Nobody of this name is registered, and others are."""

    code = "refused.person_unknown"
    what = "nobody is registered as `{person}`"
    why = "once people are registered here, only they answer, in the roles they are registered for"
    fix = "register them with `answerable person set NAME --role ROLE`"

    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person, as registered.

    Args:
        person: what the record calls them; `name` is who they are, empty once erased.
        reports_to: the next above in the line of command.
        deputy: who acts in their roles until `deputy_until` (RFC 3339 UTC).
    """

    person: str
    roles: tuple[str, ...]
    reports_to: str = ""
    deputy: str = ""
    deputy_until: str = ""
    name: str = ""


class PeopleProjection:
    """The table `people`."""

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `people`."""
        return (_people,)

    @property
    def phases(self) -> frozenset[Phase]:
        """People come and go by `control` receipts."""
        return frozenset({"control"})

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt; other controls concern nobody here."""
        said = receipt.predicate
        control = said["control"]
        if control.get("do") != "person":
            return
        tx.run(_DROP, tenant=said["tenant"], person=control["person"])
        if control["state"] == "in use":
            tx.run(
                _PUT,
                tenant=said["tenant"],
                person=control["person"],
                roles=" ".join(control["roles"]),
                reports_to=control.get("reportsTo", ""),
                deputy=control.get("deputy", ""),
                deputy_until=control.get("deputyUntil", ""),
                receipt=said["id"],
            )


class People:
    """Registers people and knows how they stand to each other. Needs `PeopleProjection` on the ledger."""

    def __init__(self, *, book: Book, store: Store, tenant: TenantId = TenantId("default")) -> None:
        self._book = book
        self._store = store
        self._tenant = tenant

    async def set(
        self,
        name: str,
        roles: Sequence[str],
        *,
        reports_to: str = "",
        deputy: str = "",
        deputy_until: datetime | None = None,
    ) -> Person:
        """Register a person, or change what is registered of them: what is left out is gone.

        Args:
            name: with or without `person:`.
            deputy: acts in these roles until `deputy_until`, and only with it.

        Raises:
            RoleInvalid: no policy can ask for one of the roles.
        """
        check_roles(roles)
        found = Person(
            person=self.called(name),
            roles=tuple(sorted(set(roles))),
            reports_to=self.called(reports_to) if reports_to else "",
            deputy=self.called(deputy) if deputy and deputy_until else "",
            deputy_until=format_time(deputy_until) if deputy and deputy_until else "",
            name=_typed(name),
        )
        control: dict[str, Any] = {"roles": list(found.roles), "reportsTo": found.reports_to, "deputy": found.deputy}
        control["deputyUntil"] = found.deputy_until
        await self._record(name, "in use", {key: value for key, value in control.items() if value})
        return found

    async def remove(self, name: str) -> None:
        """Nobody answers under this name any more.

        Raises:
            PersonUnknown: nobody did.
        """
        if all(each.person != self.called(name) for each in self.list()):
            raise PersonUnknown(person=_typed(name))
        await self._record(name, "gone", {})

    def called(self, name: str) -> str:
        """What the record calls a person."""
        return self._book.pseudonym(self._tenant, _typed(name))

    def list(self) -> list[Person]:
        """Everybody registered."""
        found = []
        for row in self._store.rows(_LIST, tenant=self._tenant):
            receipt = self._store.find(row[5])
            text = self._store.text(receipt).input if receipt is not None else None
            found.append(replace(_person(row), name=orjson.loads(text)["person"] if text else ""))
        return sorted(found, key=lambda each: each.name)

    def roles_of(self, person: str, given: Sequence[str], now: datetime) -> frozenset[str]:
        """The roles somebody may act in now, those of people they stand in for included.

        Args:
            person: as the record calls them.
            given: what whoever authenticated them says; counts only while nobody is registered.

        Raises:
            PersonUnknown: others are registered, and they are not.
        """
        everybody = self._standing()
        if not everybody:
            return frozenset(given)
        if person not in everybody:
            raise PersonUnknown(person=person)
        moment = format_time(now)
        stood_in = (each for each in everybody.values() if each.deputy == person and each.deputy_until > moment)
        return frozenset(everybody[person].roles).union(*(each.roles for each in stood_in))

    def is_in_line(self, one: str, other: str) -> bool:
        """Whether one stands above the other in the line of command, however far."""
        everybody = self._standing()
        return other in _above(everybody, one) or one in _above(everybody, other)

    def _standing(self) -> dict[str, Person]:
        return {row[0]: _person(row) for row in self._store.rows(_LIST, tenant=self._tenant)}

    async def _record(self, name: str, state: str, more: dict[str, Any]) -> None:
        person = _typed(name)
        await self._book.append(
            Draft(
                tenant=self._tenant,
                run=control_run(self._tenant),
                phase="control",
                agent="",
                members={"control": {"do": "person", "person": self.called(name), "state": state, **more}},
                input=stable_json({"person": person}),
                subjects=(person,),
            )
        )


def registered_roles(rows: Callable[..., Sequence[Sequence[Any]]], tenant: TenantId, person: str) -> tuple[str, ...]:
    """The roles a person is registered for, sorted; `person` as the record calls them."""
    found = rows(_ROLES, tenant=tenant, person=person)
    return tuple(found[0][0].split()) if found else ()


def _typed(name: str) -> str:
    return f"person:{name.rpartition(':')[2]}"


def _person(row: Sequence[Any]) -> Person:
    return Person(person=row[0], roles=tuple(row[1].split()), reports_to=row[2], deputy=row[3], deputy_until=row[4])


def _above(everybody: dict[str, Person], person: str) -> Iterator[str]:
    seen = {person}
    while (at := everybody.get(person)) is not None and at.reports_to and at.reports_to not in seen:
        person = at.reports_to  # a circle, which nobody can forbid across two changes, ends here
        seen.add(person)
        yield person
