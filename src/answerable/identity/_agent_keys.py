"""Keys with which agents elsewhere reach the gate: each bound to one agent, kept only as a digest.

Issuing and revoking are receipts of phase `key` in the tenant's control run, with role `agent`.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from answerable.core import AgentId, Refused, TenantId
from answerable.ledger import Appended, Draft, Phase, Prepared, Receipt, Tx, control_run, metadata

__all__ = ["AgentKey", "AgentKeyUnknown", "AgentKeys", "AgentKeysProjection", "digest_of", "list_keys"]

_PREFIX = "ans_"
_keys = sa.Table(
    "agent_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("agent", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("since", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam
_PUT = Prepared(sa.insert(_keys))
_DROP = Prepared(sa.delete(_keys).where(_keys.c.id == _P("id")))
_FIND = Prepared(sa.select(_keys.c.id, _keys.c.agent).where(_keys.c.digest == _P("digest")))
_LIST = Prepared(
    sa.select(_keys.c.id, _keys.c.agent, _keys.c.since)
    .where(_keys.c.tenant == _P("tenant"))
    .order_by(_keys.c.since, _keys.c.id)
)


@dataclass(eq=False, kw_only=True)
class AgentKeyUnknown(Refused):
    """No such key is in use."""

    code = "refused.agent_key_unknown"
    what = "no key or agent `{named}` has a key in use"
    why = "a key is revoked once, and its secret is not kept, so it is named by its id or its agent"
    fix = "list the keys with `answerable agent key list`"

    named: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentKey:
    """A key in use.

    Args:
        id: names it; says nothing of its secret.
        since: RFC 3339 UTC.
    """

    id: str
    agent: AgentId
    since: str = ""


class _Book(Protocol):
    async def append(self, draft: Draft) -> Appended:
        """Put one receipt on the record."""


class _Store(Protocol):
    def rows(self, statement: Prepared, /, **params: Any) -> Sequence[Sequence[Any]]:
        """The rows a query finds."""


class AgentKeysProjection:
    """The table `agent_keys`: those in use."""

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `agent_keys`."""
        return (_keys,)

    @property
    def phases(self) -> frozenset[Phase]:
        """Keys come and go by receipts of their own."""
        return frozenset({"key"})

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt; the gate's own keys are no agent's."""
        said = receipt.predicate
        control = said["control"]
        if control["role"] != "agent":
            return
        if control["state"] == "revoked":
            tx.run(_DROP, id=control["id"])
        else:
            tx.run(
                _PUT,
                id=control["id"],
                tenant=said["tenant"],
                agent=said["agent"]["id"],
                digest=control["key"],
                since=said["at"],
            )


class AgentKeys:
    """Issues, revokes and recognises agents' keys. Needs `AgentKeysProjection` among the ledger's projections."""

    def __init__(self, *, book: _Book, store: _Store, tenant: TenantId = TenantId("default")) -> None:
        self._book = book
        self._store = store
        self._tenant = tenant

    async def new(self, agent: str) -> tuple[AgentKey, str]:
        """A new key and its secret, which is shown this once."""
        # SECURITY: 256 random bits, so that a plain digest of it gives nothing away, in the store or on the record.
        secret = _PREFIX + secrets.token_urlsafe(32)
        key = AgentKey(id=f"akey_{secrets.token_hex(8)}", agent=AgentId(agent))
        await self._record(key, state="in use", digest=digest_of(secret))
        return key, secret

    async def revoke(self, named: str) -> list[AgentKey]:
        """Revoke a key by its id, or all of an agent's; it opens nothing from then on.

        Raises:
            AgentKeyUnknown: no key in use is meant.
        """
        found = [key for key in self.list() if named in (key.id, key.agent)]
        if not found:
            raise AgentKeyUnknown(named=named)
        for key in found:
            await self._record(key, state="revoked")
        return found

    def find(self, secret: str) -> AgentKey | None:
        """The key that this secret opens, if it is in use."""
        if not secret.startswith(_PREFIX):
            return None
        rows = self._store.rows(_FIND, digest=digest_of(secret))
        return AgentKey(id=rows[0][0], agent=AgentId(rows[0][1])) if rows else None

    def list(self) -> list[AgentKey]:
        """The keys in use, the oldest first."""
        return list_keys(self._store, tenant=self._tenant)

    async def _record(self, key: AgentKey, *, state: str, digest: str = "") -> None:
        control = {"role": "agent", "id": key.id, "state": state}
        control.update({"key": digest} if digest else {})
        await self._book.append(
            Draft(
                tenant=self._tenant,
                run=control_run(self._tenant),
                phase="key",
                agent=key.agent,
                once=f"key:{key.id}:{state}",
                members={"control": control},
            )
        )


def list_keys(store: _Store, *, tenant: TenantId = TenantId("default")) -> list[AgentKey]:
    """The keys in use, the oldest first."""
    rows = store.rows(_LIST, tenant=tenant)
    return [AgentKey(id=row[0], agent=AgentId(row[1]), since=row[2]) for row in rows]


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
