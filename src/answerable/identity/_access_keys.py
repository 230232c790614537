"""Keys with which agents and people elsewhere reach the gate: each bound to its holder, kept only as a digest.

A key may be for one environment; it says so itself (`ans_staging.…`), so that a gate of another one can tell a
crossing from a key that nobody knows.

Issuing and revoking are receipts of phase `key` in the tenant's control run, with role `agent` or
`person`. Of a person the record carries a pseudonym; the name is sealed, and erasing it ends the key.
"""

import hashlib
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import orjson
import sqlalchemy as sa

from answerable.core import AgentId, ConfigError, Refused, TenantId, stable_json
from answerable.identity._ports import Book, Store
from answerable.ledger import Draft, ObjectErased, Phase, Prepared, Receipt, Tx, control_run, metadata

__all__ = [
    "AccessKey",
    "AccessKeyUnknown",
    "AccessKeys",
    "AccessKeysProjection",
    "EnvironmentUnnameable",
    "HolderKind",
    "RoleInvalid",
    "check_roles",
    "list_access_keys",
    "stated_environment",
]

HolderKind = Literal["agent", "person"]
_MOST_KNOWN = 1024
_PREFIX = {"agent": "ans_", "person": "anp_"}
_ENVIRONMENT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ROLE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_keys = sa.Table(
    "access_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("roles", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("since", sa.Text, nullable=False),
    sa.Column("receipt", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam
_PUT = Prepared(sa.insert(_keys))
_DROP = Prepared(sa.delete(_keys).where(_keys.c.id == _P("id")))
_COLUMNS = (_keys.c.id, _keys.c.kind, _keys.c.agent, _keys.c.roles, _keys.c.since, _keys.c.receipt, _keys.c.tenant)
_FIND = Prepared(sa.select(*_COLUMNS).where(_keys.c.digest == _P("digest"), _keys.c.kind == _P("kind")))
_LIST = Prepared(
    sa.select(*_COLUMNS)
    .where(_keys.c.tenant == _P("tenant"), _keys.c.kind == _P("kind"))
    .order_by(_keys.c.since, _keys.c.id)
)


@dataclass(eq=False, kw_only=True)
class AccessKeyUnknown(Refused):
    """No such key is in use."""

    code = "refused.access_key_unknown"
    what = "no key of {kind} `{named}` is in use"
    why = "a key is revoked once, and its secret is not kept, so it is named by its id or its holder"
    fix = "list the keys with `answerable {kind} key list`"

    kind: str
    named: str


@dataclass(eq=False, kw_only=True)
class RoleInvalid(ConfigError):
    """No policy can ask for such a role."""

    code = "config.role_invalid"
    what = "`{role}` is no name of a role"
    why = "policies ask for roles of small letters, digits, `.`, `_` and `-`: `approve:role=librarian`"
    fix = "name the role as the policies do"

    role: str


@dataclass(eq=False, kw_only=True)
class EnvironmentUnnameable(ConfigError):
    """A key cannot name such an environment."""

    code = "config.environment_unnameable"
    what = "no key can be for the environment `{environment}`"
    why = "a key names it in its own text, in letters, digits, `_` and `-`, at most 64 of them"
    fix = "name the environment so: `staging`, `production-eu`"

    environment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A key in use.

    Args:
        id: names it; says nothing of its secret.
        holder: the agent's name, or `person:name`.
        roles: what a person acts as with this key; an agent has none.
        since: RFC 3339 UTC.
        tenant: whose it is; it opens nothing of any other.
    """

    id: str
    kind: HolderKind
    holder: str
    roles: tuple[str, ...] = ()
    since: str = ""
    tenant: TenantId = TenantId("default")


class AccessKeysProjection:
    """The table `access_keys`: those in use."""

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `access_keys`."""
        return (_keys,)

    @property
    def phases(self) -> frozenset[Phase]:
        """Keys come and go by receipts of their own."""
        return frozenset({"key"})

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt; keys that sign open nothing."""
        said = receipt.predicate
        control = said["control"]
        if control["role"] not in get_args(HolderKind):
            return
        if control["state"] == "revoked":
            tx.run(_DROP, id=control["id"])
        else:
            tx.run(
                _PUT,
                id=control["id"],
                tenant=said["tenant"],
                kind=control["role"],
                agent=said["agent"]["id"],
                roles=" ".join(control.get("roles", ())),
                digest=control["key"],
                since=said["at"],
                receipt=said["id"],
            )


class AccessKeys:
    """Issues, revokes and recognises keys of one kind of holder.

    Needs `AccessKeysProjection` among the ledger's projections.

    Args:
        changes: moves with every receipt about keys, once it is on disk: until then agents' keys need not be looked
            up again. None where that is not known. MEASURED: a look is 5 % of what a call takes the gate.
    """

    def __init__(
        self,
        kind: HolderKind,
        *,
        book: Book,
        store: Store,
        tenant: TenantId = TenantId("default"),
        changes: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.kind: HolderKind = kind
        self._book = book
        self._store = store
        self._tenant = tenant
        self._changes = changes
        self._known: OrderedDict[str, AccessKey] = OrderedDict()
        self._known_at: int | None = None

    async def new(self, holder: str, roles: Sequence[str] = (), *, environment: str = "") -> tuple[AccessKey, str]:
        """A new key and its secret, which is shown this once.

        Args:
            holder: the agent, or the person with or without `person:`.
            roles: of a person, one or more.
            environment: the only one that it is for; of any if empty.

        Raises:
            RoleInvalid: no policy can ask for one of them.
            EnvironmentUnnameable: no key can name it.
        """
        if environment and not _ENVIRONMENT.fullmatch(environment):
            raise EnvironmentUnnameable(environment=environment)
        # SECURITY: 256 random bits, so that a plain digest of it gives nothing away, in the store or on the record.
        secret = _PREFIX[self.kind] + (environment and f"{environment}.") + secrets.token_urlsafe(32)
        control: dict[str, Any] = {"key": _digest_of(secret)}
        control.update({"environment": environment} if environment else {})
        subjects: tuple[str, ...] = ()
        if self.kind == "person":
            check_roles(roles)
            holder = f"person:{holder.rpartition(':')[2]}"
            roles = tuple(sorted(set(roles)))
            control |= {"by": self._book.pseudonym(self._tenant, holder), "roles": list(roles)}
            subjects = (holder,)
        key = AccessKey(
            id=f"{self.kind[0]}key_{secrets.token_hex(8)}", kind=self.kind, holder=holder, roles=tuple(roles)
        )
        await self._record(key, "in use", control, subjects)
        return key, secret

    async def revoke(self, named: str) -> list[AccessKey]:
        """Revoke a key by its id, or all of a holder's; it opens nothing from then on.

        Raises:
            AccessKeyUnknown: no key in use is meant.
        """
        found = [key for key in self.list() if named in (key.id, key.holder, key.holder.removeprefix("person:"))]
        # One whose person was erased is on no list, and can be named all the same.
        found = found or [
            AccessKey(id=row[0], kind=self.kind, holder=row[2])
            for row in self._store.rows(_LIST, tenant=self._tenant, kind=self.kind)
            if row[0] == named
        ]
        if not found:
            raise AccessKeyUnknown(kind=self.kind, named=named)
        for key in found:
            await self._record(key, "revoked", {}, ())
        return found

    def find(self, secret: str) -> AccessKey | None:
        """The key that this secret opens, if it is in use and its person is not erased."""
        if not secret.startswith(_PREFIX[self.kind]):
            return None
        digest = _digest_of(secret)
        now = self._changes()
        if now != self._known_at:
            self._known.clear()
            self._known_at = now
        if (known := self._known.get(digest)) is not None:
            return known
        rows = self._store.rows(_FIND, digest=digest, kind=self.kind)
        found = _key(rows[0], self._store) if rows else None
        # SECURITY: a person may be erased, which is no receipt about keys: their keys are looked up each time.
        if now is not None and found is not None and found.kind == "agent":
            self._known[digest] = found
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return found

    def list(self) -> list[AccessKey]:
        """The keys in use, the oldest first."""
        return list_access_keys(self.kind, self._store, tenant=self._tenant)

    async def _record(self, key: AccessKey, state: str, more: dict[str, Any], subjects: tuple[str, ...]) -> None:
        await self._book.append(
            Draft(
                tenant=self._tenant,
                run=control_run(self._tenant),
                phase="key",
                agent=AgentId(key.holder if self.kind == "agent" else ""),
                once=f"key:{key.id}:{state}",
                members={"control": {"role": self.kind, "id": key.id, "state": state, **more}},
                input=stable_json({"person": key.holder}) if subjects else None,
                subjects=subjects,
            )
        )


def stated_environment(secret: str) -> str:
    """The environment that an agent's key says it is for; empty where it says none.

    The digest covers it: of a key that is in use, it is what the key was issued for. Of any other it is a claim.
    """
    stated = secret.removeprefix(_PREFIX["agent"]).rpartition(".")[0] if secret.startswith(_PREFIX["agent"]) else ""
    return stated if _ENVIRONMENT.fullmatch(stated) else ""


def check_roles(roles: Sequence[str]) -> None:
    """Nothing, if policies can ask for each of these roles and there is one.

    Raises:
        RoleInvalid: they cannot.
    """
    for role in roles or ("",):
        if not _ROLE.fullmatch(role):
            raise RoleInvalid(role=role)


def list_access_keys(kind: HolderKind, store: Store, *, tenant: TenantId = TenantId("default")) -> list[AccessKey]:
    """The keys in use, the oldest first; without those whose person is erased."""
    found = (_key(row, store) for row in store.rows(_LIST, tenant=tenant, kind=kind))
    return [key for key in found if key is not None]


def _key(row: Sequence[Any], store: Store) -> AccessKey | None:
    id_, kind, agent, roles, since, receipt_id, tenant = row
    if kind == "agent":
        return AccessKey(id=id_, kind="agent", holder=agent, since=since, tenant=tenant)
    receipt = store.find(receipt_id)
    try:
        text = store.text(receipt).input if receipt is not None else None
    except ObjectErased:
        text = None
    if text is None:
        return None
    person = orjson.loads(text)["person"]
    return AccessKey(id=id_, kind="person", holder=person, roles=tuple(roles.split()), since=since, tenant=tenant)


def _digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
