"""Keys with which people reach the gate over HTTP: each bound to a person and the roles they act in.

Issuing and revoking are receipts of phase `key` in the tenant's control run, with role `person`. The
record carries a pseudonym; the name is sealed, and erasing it ends the key.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from answerable.core import ConfigError, Refused, TenantId, stable_json
from answerable.identity._agent_keys import digest_of
from answerable.identity._ports import Book, Store
from answerable.ledger import Draft, Phase, Prepared, Receipt, Tx, control_run, metadata

__all__ = [
    "PersonKey",
    "PersonKeyUnknown",
    "PersonKeys",
    "PersonKeysProjection",
    "RoleInvalid",
    "check_roles",
    "list_person_keys",
]

_PREFIX = "anp_"
_ROLE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_keys = sa.Table(
    "person_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("roles", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("since", sa.Text, nullable=False),
    sa.Column("receipt", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam
_PUT = Prepared(sa.insert(_keys))
_DROP = Prepared(sa.delete(_keys).where(_keys.c.id == _P("id")))
_COLUMNS = (_keys.c.id, _keys.c.roles, _keys.c.since, _keys.c.receipt)
_FIND = Prepared(sa.select(*_COLUMNS).where(_keys.c.digest == _P("digest")))
_LIST = Prepared(sa.select(*_COLUMNS).where(_keys.c.tenant == _P("tenant")).order_by(_keys.c.since, _keys.c.id))


@dataclass(eq=False, kw_only=True)
class PersonKeyUnknown(Refused):
    """No such key is in use."""

    code = "refused.person_key_unknown"
    what = "no key `{key}` of a person is in use"
    why = "a key is revoked once, and its secret is not kept, so it is named by its id"
    fix = "list the keys with `answerable person key list`"

    key: str


@dataclass(eq=False, kw_only=True)
class RoleInvalid(ConfigError):
    """No policy can ask for such a role."""

    code = "config.role_invalid"
    what = "`{role}` is no name of a role"
    why = "policies ask for roles of small letters, digits, `.`, `_` and `-`: `approve:role=librarian`"
    fix = "name the role as the policies do"

    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonKey:
    """A key in use.

    Args:
        id: names it; says nothing of its secret.
        person: as `person:name`.
        roles: what the person acts as with this key.
        since: RFC 3339 UTC.
    """

    id: str
    person: str
    roles: tuple[str, ...]
    since: str


class PersonKeysProjection:
    """The table `person_keys`: those in use."""

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `person_keys`."""
        return (_keys,)

    @property
    def phases(self) -> frozenset[Phase]:
        """Keys come and go by receipts of their own."""
        return frozenset({"key"})

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt; other keys are no person's."""
        said = receipt.predicate
        control = said["control"]
        if control["role"] != "person":
            return
        if control["state"] == "revoked":
            tx.run(_DROP, id=control["id"])
        else:
            tx.run(
                _PUT,
                id=control["id"],
                tenant=said["tenant"],
                roles=" ".join(control["roles"]),
                digest=control["key"],
                since=said["at"],
                receipt=said["id"],
            )


class PersonKeys:
    """Issues, revokes and recognises people's keys. Needs `PersonKeysProjection` among the ledger's projections."""

    def __init__(self, *, book: Book, store: Store, tenant: TenantId = TenantId("default")) -> None:
        self._book = book
        self._store = store
        self._tenant = tenant

    async def new(self, person: str, roles: Sequence[str]) -> tuple[PersonKey, str]:
        """A new key and its secret, which is shown this once.

        Args:
            person: a name, with or without `person:`.
            roles: one or more.

        Raises:
            RoleInvalid: no policy can ask for one of them.
        """
        check_roles(roles)
        person = f"person:{person.rpartition(':')[2]}"
        # SECURITY: 256 random bits, so that a plain digest of it gives nothing away, in the store or on the record.
        secret = _PREFIX + secrets.token_urlsafe(32)
        key = PersonKey(id=f"pkey_{secrets.token_hex(8)}", person=person, roles=tuple(sorted(set(roles))), since="")
        control = {"by": self._book.pseudonym(self._tenant, person), "key": digest_of(secret), "roles": list(key.roles)}
        await self._record(key.id, "in use", control, person)
        return key, secret

    async def revoke(self, key: str) -> None:
        """Revoke a key by its id; it opens nothing from then on.

        Raises:
            PersonKeyUnknown: no key in use is meant.
        """
        if all(row[0] != key for row in self._store.rows(_LIST, tenant=self._tenant)):
            raise PersonKeyUnknown(key=key)
        await self._record(key, "revoked", {}, "")

    def find(self, secret: str) -> PersonKey | None:
        """The key that this secret opens, if it is in use and its person is not erased."""
        if not secret.startswith(_PREFIX):
            return None
        rows = self._store.rows(_FIND, digest=digest_of(secret))
        return _key(rows[0], self._store) if rows else None

    def list(self) -> list[PersonKey]:
        """The keys in use, the oldest first."""
        return list_person_keys(self._store, tenant=self._tenant)

    async def _record(self, key: str, state: str, more: dict[str, Any], person: str) -> None:
        await self._book.append(
            Draft(
                tenant=self._tenant,
                run=control_run(self._tenant),
                phase="key",
                agent="",
                once=f"key:{key}:{state}",
                members={"control": {"role": "person", "id": key, "state": state, **more}},
                input=stable_json({"person": person}) if person else None,
                subjects=(person,) if person else (),
            )
        )


def check_roles(roles: Sequence[str]) -> None:
    """Nothing, if policies can ask for each of these roles and there is one.

    Raises:
        RoleInvalid: they cannot.
    """
    for role in roles or ("",):
        if not _ROLE.fullmatch(role):
            raise RoleInvalid(role=role)


def list_person_keys(store: Store, *, tenant: TenantId = TenantId("default")) -> list[PersonKey]:
    """The keys in use, the oldest first; without those whose person is erased."""
    found = (_key(row, store) for row in store.rows(_LIST, tenant=tenant))
    return [key for key in found if key is not None]


def _key(row: Sequence[Any], store: Store) -> PersonKey | None:
    receipt = store.find(row[3])
    text = store.text(receipt).input if receipt is not None else None
    if text is None:
        return None
    return PersonKey(id=row[0], person=orjson.loads(text)["person"], roles=tuple(row[1].split()), since=row[2])
