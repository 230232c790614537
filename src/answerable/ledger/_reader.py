"""Reading the record: from the gate's own process or any other, while the gate runs."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from answerable.core import ConfigError, RunId, TenantId
from answerable.ledger._checkpoint import Head, read_head
from answerable.ledger._history import History
from answerable.ledger._key_lives import KeyLife, key_lives
from answerable.ledger._merkle import root_hash
from answerable.ledger._ports import Connection
from answerable.ledger._receipt import Receipt, control_run, is_replayed
from answerable.ledger._sharing import share
from answerable.ledger._sql import Prepared
from answerable.ledger._stores import store_of
from answerable.ledger._tables import keys, logs, objects, receipts, subject_keys
from answerable.ledger._texts import object_salt, split_texts
from answerable.ledger._vault import Keyset, ObjectErased, Vault

__all__ = ["NoStore", "Reader", "Texts"]

_COLUMNS = (
    receipts.c.position,
    receipts.c.body,
    receipts.c.signature,
    receipts.c.key,
    receipts.c.digest,
    receipts.c.sealed,
    receipts.c.subjects,
)
_OF_RUN = Prepared(
    sa.select(*_COLUMNS)
    .where(receipts.c.run == sa.bindparam("run"), receipts.c.seq > sa.bindparam("after"))
    .order_by(receipts.c.seq)
)
_LAST_SEQ = Prepared(sa.select(sa.func.max(receipts.c.seq)).where(receipts.c.run == sa.bindparam("run")))
_OPENED = Prepared(sa.select(*_COLUMNS).where(receipts.c.run == sa.bindparam("run"), receipts.c.seq == 0))
_OF_TENANT = Prepared(
    sa.select(*_COLUMNS).where(receipts.c.tenant == sa.bindparam("tenant")).order_by(receipts.c.position)
)
_ALL = Prepared(sa.select(*_COLUMNS).order_by(receipts.c.position))
_BY_ID = Prepared(sa.select(*_COLUMNS).where(receipts.c.id == sa.bindparam("id")))
# By run and seq, which are indexed: a search by digest alone reads the whole record.
_LEAF = Prepared(
    sa.select(receipts.c.leaf).where(
        receipts.c.run == sa.bindparam("run"),
        receipts.c.seq == sa.bindparam("seq"),
        receipts.c.digest == sa.bindparam("digest"),
    )
)
_ENTRIES = Prepared(
    sa.select(receipts.c.digest)
    .where(
        receipts.c.tenant == sa.bindparam("tenant"),
        receipts.c.leaf >= sa.bindparam("start"),
        receipts.c.leaf < sa.bindparam("size"),
    )
    .order_by(receipts.c.leaf)
)
_AT = Prepared(
    sa.select(*_COLUMNS)
    .where(
        receipts.c.tenant == sa.bindparam("tenant"),
        receipts.c.leaf >= sa.bindparam("start"),
        receipts.c.leaf < sa.bindparam("size"),
    )
    .order_by(receipts.c.leaf)
)
_STANDS_IN = ("run_", "control:")
_TAKEN = Prepared(sa.select(receipts.c.position).where(receipts.c.once == sa.bindparam("once")))
_TENANTS = Prepared(sa.select(logs.c.tenant).order_by(logs.c.tenant))
_LOG = Prepared(sa.select(logs.c.origin, logs.c.size, logs.c.checkpoint).where(logs.c.tenant == sa.bindparam("tenant")))
_KEYS = Prepared(sa.select(keys.c.id, keys.c.key_id, keys.c.public, keys.c.role).order_by(keys.c.id))
_OBJECT = Prepared(sa.select(objects.c.tenant, objects.c.sealed).where(objects.c.commitment == sa.bindparam("name")))
_SUBJECT = Prepared(
    sa.select(subject_keys.c.wrapped).where(
        subject_keys.c.tenant == sa.bindparam("tenant"), subject_keys.c.subject == sa.bindparam("subject")
    )
)


@dataclass(eq=False, kw_only=True)
class NoStore(ConfigError):
    """There is no record where one was looked for."""

    code = "config.no_store"
    what = "`{directory}` holds no Answerable record"
    why = "no agent has run with this data directory yet, or the path is another one"
    fix = "run an agent first, or name the directory with `--data DIR` or ANSWERABLE_DATA"

    directory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """The texts behind a receipt's commitments, and the salts that open them (32 bytes each)."""

    input: bytes | None = None
    input_salt: bytes | None = None
    output: bytes | None = None
    output_salt: bytes | None = None


class Reader:
    """The record, read-only. Sees what is committed, and nothing else."""

    def __init__(self, connection: Connection, vault: Vault, directory: Path) -> None:
        self.directory = directory
        self._connection = connection
        self._vault = vault
        self._key_ids: dict[int, str] = {}

    @classmethod
    def open(cls, directory: Path, *, vault: Vault | None = None) -> "Reader":
        """Read the record in a data directory; `vault` spares a gate deriving its keys twice.

        Raises:
            NoStore: there is none.
            StoreDamaged: the database file cannot be read.
            StoreUnreachable: it is on a server, and that does not answer.
        """
        store = store_of(directory)
        if not store.exists():
            raise NoStore(directory=str(directory))
        vault = vault or Vault(directory / "keys" / "master.key")
        return cls(store.connect(writable=False), vault, directory)

    def close(self) -> None:
        """Let go of the store."""
        self._connection.close()

    def rows(self, statement: Prepared, /, **params: Any) -> Sequence[Any]:
        """The rows a query finds in any table, projections' included."""
        return self._connection.rows(statement, **params)

    def still(self) -> AbstractContextManager[None]:
        """Read one moment of the record in a block, whatever is written meanwhile."""
        return self._connection.transaction(only_reads=True)

    def receipts(self, *, run: RunId | None = None, tenant: TenantId = TenantId("default")) -> list[Receipt]:
        """All receipts of a run by `seq`, or of a tenant in the order of its log."""
        rows = self.rows(_OF_RUN, run=run, after=-1) if run else self.rows(_OF_TENANT, tenant=tenant)
        return [self._receipt(row) for row in rows]

    def after(self, run: RunId, seq: int) -> list[Receipt]:
        """The receipts of a run beyond a `seq`, in order; -1 for all."""
        return [self._receipt(row) for row in self.rows(_OF_RUN, run=run, after=seq)]

    def last_seq(self, run: RunId) -> int:
        """The `seq` of the run's last receipt, -1 where it has none."""
        last = self.rows(_LAST_SEQ, run=run)[0][0]
        return -1 if last is None else int(last)

    def all(self) -> Iterator[Receipt]:
        """Every receipt of every tenant in the order they were written."""
        for row in self._connection.each(_ALL):
            yield self._receipt(row)

    def opened(self, run: RunId) -> dict[str, Any]:
        """The `run.open` of a run on record, as it says."""
        predicate: dict[str, Any] = self._receipt(self.rows(_OPENED, run=run)[0]).predicate
        return predicate

    def find(self, receipt_id: str) -> Receipt | None:
        """The receipt with this id."""
        rows = self.rows(_BY_ID, id=receipt_id)
        return self._receipt(rows[0]) if rows else None

    def is_taken(self, once: str) -> bool:
        """Whether a receipt was appended under this name (`Draft.once`)."""
        return bool(self.rows(_TAKEN, once=once))

    def text(self, receipt: Receipt) -> Texts:
        """What the receipt's commitments stand for.

        Raises:
            ObjectErased: a person it concerns was erased.
        """
        said = receipt.predicate
        row = vars(receipt).get("_row")  # where this reader found it, if it did
        if row is None:
            row = next(iter(self.rows(_BY_ID, id=said["id"])), None)
        if row is None or row[6] is None:
            return Texts()
        keyset, texts = self._unseal(said, row)
        context = said.get("step") or said["id"]
        salts = [
            keyset.salt(said["run"], context, field) if text is not None else None
            for field, text in zip(("input", "output"), texts, strict=True)
        ]
        return Texts(input=texts[0], input_salt=salts[0], output=texts[1], output_salt=salts[1])

    def subjects(self, receipt: Receipt) -> tuple[str, ...]:
        """The people (or the run) that its texts concern; their keys together seal them."""
        rows = self.rows(_BY_ID, id=receipt.predicate["id"])
        said = rows[0][6] if rows else None
        return tuple(said.split("\n")) if said else ()

    def stored(self, commitment: str) -> tuple[bytes, bytes] | None:
        """Text and salt of an object that is kept once: a decided request, a policy, a specification."""
        rows = self.rows(_OBJECT, name=commitment)
        if not rows:
            return None
        keyset = self._vault.tenant_keyset(rows[0][0])
        text = keyset.decrypt(rows[0][1], commitment)
        return text, object_salt(keyset, text)

    def history(self, run: RunId) -> History:
        """What the record holds of a run, for replay; of a fork, what it shares included.

        Raises:
            SharedReceiptsChanged: what it shares is not there as it was.
        """
        history = History(run=run)
        self.refresh(history)
        origin = history.opened.get("control", {}).get("origin", {})
        if origin.get("how") == "fork":
            share(self, history, origin)
        return history

    def refresh(self, history: History) -> None:
        """Take in what was appended to the run since.

        Raises:
            ObjectErased: a text that a replay needs was erased; `history.closed` says if the run is over.
        """
        rows = self.rows(_OF_RUN, run=history.run, after=history.seen)
        for row in rows:
            receipt = self._receipt(row)
            if row[6] is None or not is_replayed(receipt):
                history.follow(receipt)
            else:
                history.follow(receipt, self._unseal(receipt.predicate, row)[1], _people(row))

    def outline(self, run: RunId) -> History:
        """What the record holds of a run, without any text."""
        history = History(run=run)
        for row in self.rows(_OF_RUN, run=run, after=-1):
            history.follow(self._receipt(row), subjects=_people(row))
        return history

    def checkpoint(self, tenant: TenantId = TenantId("default")) -> str:
        """The latest signed checkpoint of the tenant's log; empty before its first receipt."""
        rows = self.rows(_LOG, tenant=tenant)
        return rows[0][2] if rows else ""

    def head(self, tenant: TenantId = TenantId("default")) -> Head:
        """What the latest checkpoint states; the empty tree before the first, for which gates that share a log wait."""
        note = self.checkpoint(tenant)
        return read_head(note) if note else Head(origin=self.log_key(tenant)[0], size=0, root=root_hash([]))

    def log_size(self, tenant: TenantId = TenantId("default")) -> int:
        """The number of entries in the tenant's log."""
        rows = self.rows(_LOG, tenant=tenant)
        return rows[0][1] if rows else 0

    def leaf(self, receipt: Receipt) -> int:
        """The index of the receipt's entry in its tenant's log."""
        said = receipt.predicate
        rows = self.rows(_LEAF, run=said["run"], seq=said["seq"], digest=bytes.fromhex(receipt.digest[7:]))
        return int(rows[0][0])

    def entries(
        self, tenant: TenantId = TenantId("default"), size: int | None = None, *, start: int = 0
    ) -> list[bytes]:
        """The log entries from `start` up to a tree of `size`, 32 bytes each; all of them by default."""
        end = self.log_size(tenant) if size is None else size
        return [row[0] for row in self.rows(_ENTRIES, tenant=tenant, start=start, size=end)]

    def receipts_at(self, tenant: TenantId, start: int, count: int) -> list[Receipt]:
        """The receipts behind `count` log entries from `start` on, as far as there are."""
        return [self._receipt(row) for row in self.rows(_AT, tenant=tenant, start=start, size=start + count)]

    def tenants(self) -> list[TenantId]:
        """Every tenant that has a log."""
        return [TenantId(row[0]) for row in self.rows(_TENANTS)]

    def gate_keys(self) -> dict[str, bytes]:
        """Raw public keys (32 bytes) that signed receipts, by key id."""
        return {row[1]: row[2] for row in self.rows(_KEYS) if row[3] == "gate"}

    def log_key(self, tenant: TenantId = TenantId("default")) -> tuple[str, bytes]:
        """The origin of the tenant's log and the raw public key (32 bytes) of its latest checkpoints."""
        return self.rows(_LOG, tenant=tenant)[0][0], self.log_keys()[-1]

    @property
    def is_shared(self) -> bool:
        """Whether several gates write this record, each with a key of its own."""
        return store_of(self.directory).is_shared

    def key_roles(self) -> dict[str, str]:
        """In which role each key was ever used, by key id."""
        return {row[1]: row[3] for row in self.rows(_KEYS)}

    def log_keys(self) -> list[bytes]:
        """Raw public keys (32 bytes) that signed checkpoints, the one in use last."""
        return [row[2] for row in self.rows(_KEYS) if row[3] == "log"]

    def keys_of(self, tenant: TenantId) -> list[KeyLife]:
        """The lives of keys that sign: `_system` has the gate's and the log's, another tenant its people's."""
        return key_lives(self.receipts(run=control_run(tenant)))

    def pseudonym(self, tenant: TenantId, name: str) -> str:
        """What the record calls this person or system."""
        return self._vault.pseudonym(tenant, name)

    def run_key(self, tenant: TenantId, run: RunId) -> bytes:
        """The key that names a run's steps, 32 bytes."""
        return self._vault.run_key(tenant, run)

    def _receipt(self, row: Any) -> Receipt:
        if row[3] not in self._key_ids:
            self._key_ids = {key[0]: key[1] for key in self.rows(_KEYS)}
        receipt = Receipt(
            position=row[0],
            body=row[1],
            signature=row[2],
            key_id=self._key_ids[row[3]],
            digest="sha256:" + row[4].hex(),
        )
        vars(receipt)["_row"] = row
        return receipt

    def _unseal(self, said: dict[str, Any], row: Any) -> tuple[Keyset, tuple[bytes | None, bytes | None]]:
        if row[5] is None:
            raise ObjectErased(receipt=said["id"])
        subjects = tuple(row[6].split("\n"))

        def stored(tenant: TenantId, subject: str) -> bytes:
            rows = self.rows(_SUBJECT, tenant=tenant, subject=subject)
            if not rows:
                raise ObjectErased(receipt=said["id"])
            wrapped: bytes = rows[0][0]
            return wrapped

        keyset = self._vault.keyset(said["tenant"], subjects, stored)
        return keyset, split_texts(keyset.decrypt(row[5], said["id"]))


def _people(row: Any) -> tuple[str, ...]:
    """The people whom a receipt's text concerns; none where its run stands in for them."""
    names = row[6].split("\n") if row[6] else ()
    return tuple(name for name in names if not name.startswith(_STANDS_IN))
