"""The one place where receipts are numbered, chained, signed and entered in the log."""

import copy
import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from answerable.core import (
    AnswerableError,
    Clock,
    ReceiptId,
    RunId,
    TenantId,
    format_time,
    new_receipt_id,
)
from answerable.ledger._checkpoint import line_of, origin_of, sign_checkpoint
from answerable.ledger._lately import Lately, priority_of
from answerable.ledger._merkle import Frontier
from answerable.ledger._ports import Connection, Projection, Signer
from answerable.ledger._receipt import (
    Appended,
    Draft,
    Phase,
    Receipt,
    envelope_json,
    pae,
)
from answerable.ledger._signing import Busyness, SignQueue
from answerable.ledger._sql import Prepared, insert
from answerable.ledger._statement import predicate_of, statement_json
from answerable.ledger._tables import logs, objects, receipts, slices, subject_keys
from answerable.ledger._texts import commitments, join_texts, object_salt
from answerable.ledger._vault import Keyset, Vault, commitment

__all__ = ["Recorder", "Transaction"]

# By `_journal`, from typed fields: no float can be in them.
_BUILT_HERE = frozenset({"action", "authority", "basis", "labels", "usage"})
# Whoever inserts them rolls back if that fails. MEASURED: unless SQLite is told so, it keeps a copy of every page that
# a statement of many rows changes, in a temporary file: a tenth of what an append costs.
_INSERT = Prepared(
    sa.insert(receipts)
    .values({each.name: sa.bindparam(each.name) for each in receipts.c if each.name != "position"})
    .prefix_with("OR ROLLBACK", dialect="sqlite")
)
_HEAD = Prepared(
    sa.select(receipts.c.seq, receipts.c.digest)
    .where(receipts.c.run == sa.bindparam("run"))
    .order_by(receipts.c.seq.desc())
    .limit(1)
)
_LOG = Prepared(sa.select(logs.c.size, logs.c.peaks, logs.c.origin).where(logs.c.tenant == sa.bindparam("tenant")))
_PUT_LOG = insert(logs)
_SAVE_LOG = Prepared(
    _PUT_LOG.on_conflict_do_update(
        index_elements=[logs.c.tenant],
        set_={name: _PUT_LOG.excluded[name] for name in ("origin", "size", "peaks", "checkpoint")},
    )
)
_SAVE_OBJECT = Prepared(insert(objects).prefix_with("OR ROLLBACK", dialect="sqlite").on_conflict_do_nothing())
_SAVE_SUBJECT = Prepared(insert(subject_keys).on_conflict_do_nothing())
_TAKEN = Prepared(sa.select(receipts.c.position).where(receipts.c.once == sa.bindparam("once")))
_OF_SUBJECT = (subject_keys.c.tenant == sa.bindparam("tenant"), subject_keys.c.subject == sa.bindparam("subject"))
_FIND_SUBJECT = Prepared(sa.select(subject_keys.c.wrapped).where(*_OF_SUBJECT))
_ORIGINS = Prepared(sa.select(logs.c.origin))
_LAST_AT = Prepared(sa.select(receipts.c.body).order_by(receipts.c.position.desc()).limit(1))
_WAKE = Prepared(
    sa.update(slices)
    .where(slices.c.run == sa.bindparam("of_run"), slices.c.state != "closed")
    .values(
        wake=slices.c.wake + 1,
        # One that waits for its turn is looked at, too: it may have been killed. Else it goes on waiting.
        state=sa.case(((slices.c.state == "parked") | (slices.c.state == "queued"), "ready"), else_=slices.c.state),
    )
)
_CLOSED = Prepared(sa.select(slices.c.run).where(slices.c.run == sa.bindparam("run"), slices.c.state == "closed"))
_MOVING: frozenset[Phase] = frozenset({"run.open", "run.close"})
_AFTER_CLOSE: frozenset[Phase] = frozenset({"observation", "erasure"})
_OPEN_SLICE = Prepared(sa.insert(slices))
_CLOSE_SLICE = Prepared(
    sa.update(slices).where(slices.c.run == sa.bindparam("of_run")).values(state="closed", due=None)
)


# A receipt that has its number, and waits for its signature: tenant, run, seq, id, once, body, sealed, subjects.
_Unsigned = tuple[TenantId, RunId, int, ReceiptId, str | None, bytes, bytes | None, str | None]


class Recorder:
    """What every transaction needs: keys, clock, chain heads and log frontiers as last committed."""

    def __init__(
        self,
        connection: Connection,
        *,
        lookups: Connection,
        gate: Signer,
        log: Signer,
        vault: Vault,
        clock: Clock,
        boundary: dict[str, Any],
        log_name: str,
        key_rows: dict[str, int],
        projections: Sequence[Projection],
    ) -> None:
        self.connection = connection
        self._lookups = lookups  # `connection` may be inside a COMMIT on the writer thread
        self.gate = gate
        self.signing = SignQueue(gate, getattr(gate, "start_helper", None), is_busy=Busyness())
        self.log = log
        self.log_name = log_name  # id of the first key of the log, which origins are named after
        self.vault = vault
        self.clock = clock
        self.boundary = boundary
        self.gate_row = key_rows[gate.key_id]
        self.projections = tuple(projections)
        self.by_phase: dict[Phase, list[Projection]] = {}
        for projection in projections:
            for phase in projection.phases:
                self.by_phase.setdefault(phase, []).append(projection)
        self.heads: dict[str, tuple[int, str]] = {}
        self.counters: dict[str, int] = {}
        self.frontiers: dict[str, Frontier] = {}
        self.fences: dict[str, int] = {}
        """The fence of every leased run: mirrors `slices`, which this process alone writes."""
        self.names: dict[str, set[str]] = {}
        """The `once` names of every run that this process opened and has leased since: none need be looked up."""
        self.stored: dict[bytes, str] = {}
        self.lately = Lately()
        self.woken: Callable[[Sequence[str]], None] = lambda runs: None
        self.key_changes = 0  # receipts about keys that have come to be on disk
        self.last_at = self._last_at()
        self.line = max((line_of(row[0]) for row in connection.rows(_ORIGINS)), default=1)
        self.halted: AnswerableError | None = None
        """Why nothing may be appended any more."""

    def close(self) -> None:
        """Let go of what was opened for it."""
        self._lookups.close()
        self.signing.close()

    def transaction(self, again: "Transaction | None" = None) -> "Transaction":
        """A fresh batch on top of what is committed; in the place of another one, if that is done again."""
        self.signing.drop()
        return Transaction(self, again)

    def keyset(self, tenant: TenantId, subjects: tuple[str, ...], run: str) -> Keyset:
        """Keys for texts concerning these people, or the run itself."""
        return self.vault.keyset(tenant, self.vault.called(tenant, subjects) if subjects else (run,), self._wrapped)

    def keyset_inside(self, draft: Draft) -> Keyset:
        """The same, inside a transaction: a new run's key is stored with its first receipt, and not looked for."""
        tenant, subjects = draft.tenant, draft.subjects
        if not subjects:
            return self.vault.keyset(tenant, (draft.run,), _no_key if draft.phase == "run.open" else self._stored_key)
        return self.vault.keyset(tenant, self.vault.called(tenant, subjects), self._wrapped)

    def _wrapped(self, tenant: TenantId, subject: str) -> bytes | None:
        return self._stored_key(tenant, subject)

    def _stored_key(self, tenant: TenantId, subject: str) -> bytes | None:
        rows = self._lookups.rows(_FIND_SUBJECT, tenant=tenant, subject=subject)
        return rows[0][0] if rows else None

    def _last_at(self) -> str:
        rows = self.connection.rows(_LAST_AT)
        return Receipt(position=0, body=rows[0][0], signature=b"", key_id="", digest="").predicate["at"] if rows else ""


class Transaction:
    """One batch: the receipts in it are on disk together or not at all.

    Args:
        again: the batch in whose place this one comes. Its receipts have their ids and their time here too:
            somebody may have been told of them.
    """

    insertion = _INSERT

    def __init__(self, recorder: Recorder, again: "Transaction | None" = None) -> None:
        self._of = recorder
        moment = again.now if again else format_time(recorder.clock.now())
        self.now: str = max(moment, recorder.last_at)  # a clock set back must not reorder the record
        self._ids: list[ReceiptId] = []
        self._ids_again = again.all_ids() if again else ()
        self._heads: dict[str, tuple[int, str]] = {}
        self._counters: dict[str, int] = {}
        self._frontiers: dict[str, Frontier] = {}
        self._unsigned: list[_Unsigned] = []
        self._rows: list[tuple[Any, ...]] = []
        self._objects: list[tuple[str, TenantId, bytes]] = []
        self._once: dict[str, str] = {}
        self._fences: dict[str, int | None] = {}
        self._stored: dict[bytes, str] = {}
        self._forgotten: set[tuple[TenantId, str]] = set()
        self._woken: list[str] = []
        self._closed: dict[str, Draft] = {}
        self._opened: list[str] = []
        self._key_changes = 0
        self.rows, self.run = recorder.connection.rows, recorder.connection.run

    def wake(self, run: str) -> None:
        """Have the run advanced once this is on disk."""
        self.run(_WAKE, of_run=run)
        self._woken.append(run)

    def last_seq(self, run: RunId) -> int:
        """The `seq` of the run's last receipt, those of this batch included."""
        head = self._heads.get(run) or self._of.heads.get(run) or self._stored_head(run)
        return head[0] if head else -1

    def fence(self, run: str) -> int | None:
        """The fence under which the run is leased now."""
        if run in self._fences:
            return self._fences[run]
        return self._of.fences.get(run)

    def is_closed(self, run: str) -> bool:
        """Whether the run has its `run.close`; a lease on it says at once that it has not."""
        if self.fence(run) is not None:
            return False
        return bool(self.rows(_CLOSED, run=run))

    def set_fence(self, run: str, fence: int | None) -> None:
        """The run is leased under this fence, or not leased any more."""
        self._fences[run] = fence

    def position_of(self, tenant: str) -> dict[str, int]:
        """`asOf`: the last counter of each live boot, as decisions saw the record."""
        last = self._counters.get(tenant, self._of.counters.get(tenant, 0)) - 1
        return {self._of.boundary["boot"]: last} if last >= 0 else {}

    def store(self, tenant: TenantId, text: bytes) -> str:
        """Keep a text that names nobody, once; its commitment comes back."""
        known = self._stored.get(text) or self._of.stored.get(text)
        if known:
            return known
        keyset = self._of.vault.tenant_keyset(tenant)
        name = commitment(object_salt(keyset, text), text)
        self._objects.append((name, tenant, keyset.encrypt(text, name)))
        self._stored[text] = name
        return name

    def append(
        self, draft: Draft, *, keyset: Keyset | None = None, committed: dict[str, str] | None = None
    ) -> Appended:
        """Number, chain, sign and enter one receipt, and let projections follow it.

        Where the caller has the texts' keys and commitments already, it passes them.
        """
        of, run, tenant, phase, members = self._of, draft.run, draft.tenant, draft.phase, draft.members
        if of.halted is not None:
            raise copy.copy(of.halted)
        if draft.fence is not None and self.fence(run) != draft.fence:
            return Appended("stale")
        head, is_over = self._heads.get(run) or of.heads.get(run), run in self._closed
        if head is None and phase != "run.open":  # not advanced by this boot so far, or over
            head = self._stored_head(run)
            is_over = head is not None and self.is_closed(run)
        if is_over and phase not in _AFTER_CLOSE:
            return Appended("closed")
        if draft.once:
            if self._is_taken(draft.once, run):
                return Appended("dup")
            self._once[draft.once] = run
        if head is not None and not head[1]:  # the run's last receipt is in this batch, and not signed yet
            self._seal()
            head = self._heads[run]
        seq = head[0] + 1 if head else 0
        n = self._counters.get(tenant, of.counters.get(tenant, 0))
        count = len(self._ids)
        receipt_id = self._ids_again[count] if count < len(self._ids_again) else new_receipt_id()
        self._ids.append(receipt_id)

        sealed = subjects = None
        if draft.input is not None or draft.output is not None:
            keyset = keyset or of.keyset_inside(draft)
            committed = committed or commitments(keyset, draft, receipt_id)
            sealed = keyset.encrypt(join_texts(draft.input, draft.output), receipt_id)
            subjects = "\n".join(of.vault.called(tenant, draft.subjects)) if draft.subjects else run
        boundary, prev = {**of.boundary, "n": n}, head[1] if head else ""
        predicate = predicate_of(draft, receipt_id, seq, prev, self.now, boundary, committed, of.vault)
        is_given = _BUILT_HERE.isdisjoint(members)
        given = members.values() if is_given else [members[name] for name in members.keys() - _BUILT_HERE]
        body = statement_json(predicate, unproven=given)
        of.signing.put(pae(body))
        self._unsigned.append((tenant, run, seq, receipt_id, draft.once or None, body, sealed, subjects))
        self._heads[run] = (seq, "")
        self._counters[tenant] = n + 1
        self._key_changes += phase == "key"
        followers = of.by_phase.get(phase)
        if followers:
            receipt = Receipt(position=0, body=body, signature=b"", key_id=of.gate.key_id, digest="")
            vars(receipt)["predicate"] = predicate  # spares projections parsing what was just built
            for projection in followers:
                projection.apply(self, receipt)
        if draft.wake or phase in _MOVING:
            self._move_slice(draft, body)
        return Appended("ok", receipt_id, seq, self.now)

    def let_go(self) -> None:
        """Tell other workers that something is free which they may wait for; here there are none."""

    def rename_logs(self) -> None:
        """Nothing: what a log of one's own is called goes with each of its heads."""

    def all_ids(self) -> Sequence[ReceiptId]:
        """The ids of its receipts, in order; those first that a batch in its place has had."""
        return (*self._ids, *self._ids_again[len(self._ids) :])

    def _is_taken(self, once: str, run: str) -> bool:
        if once in self._once:
            return True
        known = self._of.names.get(run)
        if known is not None and run in once:  # a name of this run alone
            return once in known
        return self._is_on_record(once)

    def _is_on_record(self, once: str) -> bool:
        return bool(self.rows(_TAKEN, once=once))

    def _seal(self) -> None:
        """Sign what was appended, chain it and enter it in the logs, in the order it was appended."""
        of, unsigned = self._of, self._unsigned
        key_id, gate_row = of.gate.key_id, of.gate_row
        signatures = of.signing.take()
        # One step for all, then the next. MEASURED: receipt by receipt, a processor's cache misses a tenth more code.
        envelopes = [
            envelope_json(one[5], signature, key_id) for one, signature in zip(unsigned, signatures, strict=True)
        ]
        digests = [hashlib.sha256(envelope).digest() for envelope in envelopes]
        for one, signature, digest in zip(unsigned, signatures, digests, strict=True):
            tenant, run, seq, receipt_id, once, body, sealed, subjects = one
            frontier = self._frontiers.get(tenant) or self._own_frontier(tenant)
            leaf = frontier.append(digest)
            self._heads[run] = (seq, "sha256:" + digest.hex())
            self._rows.append(
                (tenant, leaf, run, seq, receipt_id, once, digest, body, signature, gate_row, sealed, subjects)
            )
        self._unsigned.clear()

    def _move_slice(self, draft: Draft, body: bytes) -> None:
        if draft.phase == "run.open":
            control = draft.members.get("control", {})
            self.run(
                _OPEN_SLICE,
                run=draft.run,
                tenant=draft.tenant,
                state="ready",
                fence=0,
                wake=0,
                seen=0,
                due=None,
                worker=None,
                agent=control.get("agent", draft.agent),
                priority=priority_of(draft),
                opened=self.now,
                begun=None,
                build=None,
            )
            self._woken.append(draft.run)
            self._opened.append(draft.run)
            self._of.lately.opened(draft, body)
        elif draft.phase == "run.close":
            self.run(_CLOSE_SLICE, of_run=draft.run)
            self._fences[draft.run] = None
            self._closed[draft.run] = draft
            self._woken.append(draft.run)
        elif draft.wake:
            self.wake(draft.run)

    def _stored_head(self, run: RunId) -> tuple[int, str] | None:
        rows = self.rows(_HEAD, run=run)
        return (rows[0][0], "sha256:" + rows[0][1].hex()) if rows else None

    def _own_frontier(self, tenant: TenantId) -> Frontier:
        known = self._of.frontiers.get(tenant)
        if known is None:
            rows = self.rows(_LOG, tenant=tenant)
            size, peaks = (rows[0][0], rows[0][1]) if rows else (0, b"")
            known = Frontier(size, [peaks[start : start + 32] for start in range(0, len(peaks), 32)])
        self._frontiers[tenant] = own = known.copy()
        return own

    def flush(self) -> None:
        """Have every receipt so far in its table, where statements find it."""
        if self._unsigned:
            self._seal()
        self._of.connection.insert(self.insertion, self._rows)
        self._rows.clear()

    def forget(self, tenant: TenantId, names: Iterable[str]) -> None:
        """The keys of these people or runs are dropped: once this is on disk, memory does not hold them either."""
        self._forgotten.update((tenant, name) for name in names)

    def prepare(self) -> None:
        """Sign the receipts and the checkpoint of every log that grew, keep new subjects' keys, and insert the rows."""
        of = self._of
        if self._unsigned:
            self._seal()
        for tenant, frontier in self._frontiers.items():
            origin = origin_of(of.log_name, tenant, of.line)
            self.run(
                _SAVE_LOG,
                tenant=tenant,
                origin=origin,
                size=frontier.size,
                peaks=b"".join(frontier.peaks),
                checkpoint=sign_checkpoint(of.log, origin, frontier.size, frontier.root()),
            )
        self._subjects = list(of.vault.unsaved)
        for (tenant, subject), wrapped in of.vault.unsaved.items():
            if (tenant, subject) in self._forgotten:
                continue
            self.run(_SAVE_SUBJECT, tenant=tenant, subject=subject, wrapped=wrapped)
        self._insert()

    def _insert(self) -> None:
        """What nobody asks for before it is on disk: receipts, and texts that name nobody."""
        connection = self._of.connection
        connection.insert(self.insertion, self._rows)
        if self._objects:
            connection.insert(_SAVE_OBJECT, self._objects)

    def publish(self) -> None:
        """On disk now: later transactions build on this one, and woken runs are told."""
        of = self._of
        of.heads.update(self._heads)
        of.counters.update(self._counters)
        of.frontiers.update(self._frontiers)
        of.names.update((run, set()) for run in self._opened)
        for once, run in self._once.items():
            if run in of.names:
                of.names[run].add(once)
        for run, fence in self._fences.items():
            if fence is None:
                of.fences.pop(run, None)
                of.names.pop(run, None)
                of.heads.pop(run, None)  # a run that waits is a row: what comes for it looks its head up
            else:
                of.fences[run] = fence
        of.stored.update(self._stored)
        while len(of.stored) > 4096:
            of.stored.pop(next(iter(of.stored)))
        for run, draft in self._closed.items():
            of.heads.pop(run, None)
            of.lately.ended(draft)
        of.vault.saved(self._subjects)
        of.vault.forget(self._forgotten)
        if self._forgotten:
            of.lately.forget_texts()
        of.last_at = self.now
        of.key_changes += self._key_changes
        if self._woken:
            of.woken(self._woken)


def _no_key(tenant: TenantId, subject: str) -> None:
    """Of a run that is new."""
