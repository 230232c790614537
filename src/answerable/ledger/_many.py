"""The record in a store that many workers write: one batch after the other, each seeing all before it.

Whoever holds the pen (an advisory lock, from the first statement to the commit) is the only writer, so all that
holds of a single process holds here: what is read cannot change before the commit, positions and leaves have no
gaps, a chain has one next link. What a worker remembers of the record is good as long as nobody else wrote; each
batch begins by reading what others did since its last one. See `docs/decisions/0017`.
"""

import copy
import functools
import json
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from answerable.core import TenantId
from answerable.ledger._checkpoint import line_of, origin_of
from answerable.ledger._drivers._failures import StoreWentBack
from answerable.ledger._lately import Lately
from answerable.ledger._merkle import Frontier
from answerable.ledger._ports import Batch, Connection, Forgetful
from answerable.ledger._receipt import Appended, Draft, Receipt
from answerable.ledger._record import Recorder, Transaction
from answerable.ledger._sql import Prepared, insert
from answerable.ledger._tables import NOW, logs, receipts, subject_keys, workers
from answerable.ledger._vault import Keyset

__all__ = ["CHANNEL", "MARK", "Query", "SharedRecorder", "SharedTransaction"]

Query = tuple[Prepared, Sequence[Any]]

CHANNEL = "answerable"
NO_RUN = "-"
_MOST_NEWS = 5_000
_MOST_PAYLOAD_BYTES = 7_000  # Postgres allows 8,000
_PLAIN = frozenset({"intent", "outcome"})
_P = sa.bindparam
_WORKERS = Prepared(
    sa.select(workers.c.worker, workers.c.boot, workers.c.until > NOW, workers.c.batch, workers.c.counts).where(
        sa.or_(workers.c.until > NOW, workers.c.worker == _P("me"), workers.c.worker == _P("marked"))
    )
)
_NEWS = Prepared(
    sa.select(receipts.c.position, receipts.c.tenant, receipts.c.run, receipts.c.leaf, receipts.c.id)
    .where(receipts.c.position >= _P("since"))
    .order_by(receipts.c.position)
    .limit(_MOST_NEWS)
)
_LATEST = Prepared(
    sa.select(receipts.c.position, sa.case((receipts.c.position > _P("since"), receipts.c.body)), receipts.c.id)
    .order_by(receipts.c.position.desc())
    .limit(1)
)
_NEXT_LEAF = Prepared(
    sa.select(receipts.c.leaf).where(receipts.c.tenant == _P("tenant")).order_by(receipts.c.leaf.desc()).limit(1)
)
_ORIGINS = Prepared(sa.select(logs.c.origin))
_TENANTS = Prepared(sa.select(logs.c.tenant))
_RENAME = Prepared(sa.update(logs).where(logs.c.tenant == _P("of_tenant")).values(origin=_P("name")))
_INSERT = Prepared(sa.insert(receipts))  # with their positions, which are given at the commit
_NEW_LOG = Prepared(sa.insert(logs))
_NEW_SUBJECT = Prepared(sa.insert(subject_keys))
_SAVE_SUBJECT = Prepared(insert(subject_keys).on_conflict_do_nothing())
MARK = Prepared(sa.update(workers).where(workers.c.worker == _P("me")).values(batch=_P("last"), counts=_P("counted")))
_NOTIFY = Prepared(sa.text("SELECT pg_notify(:channel, :payload)"))


class _LeafCounter(Frontier):
    """Counts leaves; their tree is grown by the sequencer."""

    def copy(self) -> "_LeafCounter":
        return _LeafCounter(self.size)

    def append(self, entry: bytes) -> int:
        self.size += 1
        return self.size - 1


class SharedRecorder(Recorder):
    """What this worker's transactions build on, as last committed by anyone.

    Args (beyond a `Recorder`'s):
        address: of the store.
    """

    def __init__(self, *args: Any, address: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lately = Lately(keeps_texts=False)  # others may erase them
        self._address = address
        self.worker = ""
        """Under which the fences that are remembered were given out; another one holds none of them."""
        self.marked = ""
        """The name in which the last batch was written."""
        self.is_serving = False
        """Whether this process advances runs, so that others need not hurry to."""
        self.position, self.last_id = 0, ""
        """Of the last receipt that is known; if it is not there any more, the store is another one."""
        self.batch = 0
        """Of the transaction at work, or the last one."""
        self.is_careful = False
        """After a batch met what was there already: look before each receipt."""
        self.others: dict[str, int] = {}
        self.lost: Callable[[], None] = lambda: None
        self.appended: Callable[[], None] = lambda: None
        """Called after a commit that appended receipts."""

    # -- how a batch begins -------------------------------------------------------------------------------------------

    def reads(self, after: Batch | None = None) -> list[Query]:
        """What to read when a transaction begins; `after` one that is about to be committed."""
        given = {
            "me": self.worker,
            "marked": self.marked,
            "since": self.position + (after.size if isinstance(after, SharedTransaction) else 0),
        }
        return [(query, query.postgres.arrange(given)) for query in (_WORKERS, _NEWS, _LATEST)]

    def has_committed(self, answers: Sequence[Sequence[Any]]) -> bool:
        """Whether the transaction whose commit nobody confirmed is on disk: under the name that it was written in."""
        return any(row[0] == self.marked and row[3] == self.batch for row in answers[0])

    def take_in(self, answers: Sequence[Sequence[Any]]) -> None:
        """What others did since; what is remembered of it is forgotten.

        Raises:
            StoreWentBack: what was committed before is not there.
        """
        workers, news, latest = answers
        found = latest[0][0] if latest else 0
        if isinstance(self.halted, StoreWentBack):
            raise copy.copy(self.halted)
        if self.position:
            # Found again by its id: after a loss, others may have written on past this position by now.
            if not news or news[0][0] != self.position or news[0][4] != self.last_id:
                self.halted = StoreWentBack(address=self._address, found=found, known=self.position)
                raise copy.copy(self.halted)
            news = news[1:]
        if not any(row[0] == self.worker and row[2] for row in workers):
            self.drop_fences()
        self.others = {row[1]: count for row in workers if row[0] != self.worker and row[2] for count in [row[4]]}
        if not news:
            return
        if len(news) < _MOST_NEWS - 1:
            for _, tenant, run, leaf, _ in news:
                self.heads.pop(run, None)
                self.names.pop(run, None)
                if tenant in self.frontiers:
                    self.frontiers[tenant].size = leaf + 1
        else:
            self._forget_runs()
        self.position, self.last_id = found, latest[0][2]
        self.last_at = max(self.last_at, _said_at(latest[0][1]))
        self.doubt_projections()

    def drop_fences(self) -> None:
        """The lease is over: no run is this worker's any more."""
        if self.fences:
            self.fences.clear()
            self.lost()

    def doubt_projections(self) -> None:
        """Others wrote: whoever remembers what its tables hold has to look again."""
        for projection in self.projections:
            if isinstance(projection, Forgetful):
                projection.forget()

    def forget(self) -> None:
        """Something was not as remembered: remember nothing, and look before each receipt."""
        self._forget_runs()
        self.is_careful = True
        self.vault.forget(self.vault.unsaved)

    def _forget_runs(self) -> None:
        self.heads.clear()
        self.names.clear()
        self.frontiers.clear()

    @property
    def lookups(self) -> Connection:
        """A connection for what is asked outside the transaction."""
        return self._lookups

    def transaction(self, again: Transaction | None = None) -> "SharedTransaction":
        """A fresh batch on top of what is committed."""
        self.signing.drop()
        self.batch += 1
        return SharedTransaction(self)

    # -- keys of subjects ---------------------------------------------------------------------------------------------

    def _wrapped(self, tenant: TenantId, subject: str) -> bytes | None:
        """A subject's key, made at once where there is none: two workers must never each make one."""
        found = self._stored_key(tenant, subject)
        if found is None:
            wrapped = self.vault.new_key(tenant, subject)
            self._lookups.run(_SAVE_SUBJECT, tenant=tenant, subject=subject, wrapped=wrapped)
            found = self._stored_key(tenant, subject)
        return found


class SharedTransaction(Transaction):
    """One batch among those of all workers."""

    insertion = _INSERT

    def __init__(self, recorder: SharedRecorder) -> None:
        super().__init__(recorder)
        self._shared = recorder
        self._is_told = False
        self._lets_go = False
        self._new_logs: set[str] = set()

    def position_of(self, tenant: str) -> dict[str, int]:
        """`asOf`: the last counter of each live boot, as decisions saw the record."""
        known = super().position_of(tenant)
        for boot, counts in self._shared.others.items():
            last = _counts(counts).get(tenant, 0) - 1
            if last >= 0:
                known[boot] = last
        return known

    def append(
        self, draft: Draft, *, keyset: Keyset | None = None, committed: dict[str, str] | None = None
    ) -> Appended:
        """As in a store of one's own."""
        self._is_told = self._is_told or draft.phase not in _PLAIN
        return super().append(draft, keyset=keyset, committed=committed)

    def _is_on_record(self, once: str) -> bool:
        # Nearly never: the store itself refuses it at the commit, and the batch is done again with a look each.
        return self._shared.is_careful and super()._is_on_record(once)

    def _own_frontier(self, tenant: TenantId) -> Frontier:
        known = self._shared.frontiers.get(tenant)
        if known is None:
            rows = self.rows(_NEXT_LEAF, tenant=tenant)
            known = _LeafCounter(rows[0][0] + 1 if rows else 0)
            if not rows:
                self._new_logs.add(tenant)
        self._frontiers[tenant] = own = known.copy()
        return own

    def let_go(self) -> None:
        """Have other workers look at once for what they may do."""
        self._lets_go = True

    def rename_logs(self) -> None:
        """Have the logs bear the origins of this line of history; the sequencer signs under what they bear."""
        of = self._shared
        for (tenant,) in self.rows(_TENANTS):
            self.run(_RENAME, of_tenant=tenant, name=origin_of(of.log_name, tenant, of.line))

    def flush(self) -> None:
        """Nothing: positions are given at the commit. What came in with an erasure counts as come after it."""

    def prepare(self) -> None:
        """Sign and insert the receipts, keep new subjects' keys, and tell the other workers once it is committed."""
        of = self._shared
        if self._unsigned:
            self._seal()
        first = of.position + 1
        self._rows = [(first + at, *row) for at, row in enumerate(self._rows)]
        line = max((line_of(row[0]) for row in self.rows(_ORIGINS)), default=1) if self._new_logs else 1
        for tenant in self._new_logs:
            origin = origin_of(of.log_name, tenant, line)
            self.run(_NEW_LOG, tenant=tenant, origin=origin, size=0, peaks=b"", checkpoint="")
        self._subjects = list(of.vault.unsaved)
        for (tenant, subject), wrapped in of.vault.unsaved.items():
            self.run(_NEW_SUBJECT, tenant=tenant, subject=subject, wrapped=wrapped)
        counts = json.dumps({**of.counters, **self._counters})
        of.marked = of.worker
        self.run(MARK, last=of.batch, counted=counts, me=of.marked)
        for payload in self._payloads():
            self.run(_NOTIFY, channel=CHANNEL, payload=payload)
        self._insert()

    @property
    def size(self) -> int:
        """How many receipts it appends, once it is prepared."""
        return len(self._rows)

    def publish(self) -> None:
        """On disk now: later transactions build on this one, and woken runs are told."""
        of = self._shared
        if self._rows:
            of.position, of.last_id = of.position + len(self._rows), self._ids[-1]
        of.is_careful = False
        if of.marked != of.worker:  # its lease ended before it knew: what it took is not its own any more
            self._fences = dict.fromkeys(self._fences)
        super().publish()
        if self._rows:
            self._shared.appended()

    def _payloads(self) -> list[str]:
        """What others are told: who speaks, whether it serves, what to look at again, and whom was woken."""
        of = self._shared
        # Of no run; and as if by one that serves nobody, so that they do not give it a moment's start.
        free = [f"{of.boundary['boot']} 0 0 {NO_RUN}"] if self._lets_go else []
        if not self._rows and not self._woken:
            return free
        head = f"{of.boundary['boot']} {int(of.is_serving)} {int(self._is_told)}"
        payloads, line = free, head
        for run in dict.fromkeys(self._woken):
            if len(line) + len(run) > _MOST_PAYLOAD_BYTES:
                payloads.append(line)
                line = head
            line += f" {run}"
        return [*payloads, line]


@functools.lru_cache(maxsize=256)
def _counts(said: str) -> dict[str, int]:
    found: dict[str, int] = json.loads(said)
    return found


def _said_at(body: bytes | None) -> str:
    if body is None:
        return ""
    at: str = Receipt(position=0, body=body, signature=b"", key_id="", digest="").predicate["at"]
    return at
