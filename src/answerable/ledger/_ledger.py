"""The record of one data directory: opened by one process, which is then its only writer."""

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from answerable.core import (
    Action,
    Clock,
    ConfigError,
    FaultPoint,
    ReceiptId,
    RunId,
    SystemClock,
    TenantId,
    new_boot_id,
    reach,
)
from answerable.ledger._drivers._sqlite import SqliteConnection, SqliteWriter
from answerable.ledger._entering import integrate
from answerable.ledger._going_on import check_goes_on, move_in
from answerable.ledger._history import History
from answerable.ledger._journal import RunJournal
from answerable.ledger._key_files import key_draft, key_path, open_signers
from answerable.ledger._leases import Leases, Slice
from answerable.ledger._ports import Projection, RulingProjection, Signer, Store, Writer
from answerable.ledger._reader import Reader
from answerable.ledger._receipt import SYSTEM, Appended, Draft
from answerable.ledger._record import Recorder, Transaction
from answerable.ledger._said import action_digest
from answerable.ledger._sql import Prepared, insert
from answerable.ledger._standstill import Standstill, check_may_go_on, stand_still
from answerable.ledger._stores import store_of, use_store
from answerable.ledger._tables import NOW, keys, workers
from answerable.ledger._vault import Keyset, Vault, commitment

if TYPE_CHECKING:
    from answerable.ledger._membership import Membership

__all__ = ["DirectoryInUse", "Ledger", "lock_directory"]

_SAVE_KEY = Prepared(insert(keys).on_conflict_do_nothing())
_KEY_ROWS = Prepared(sa.select(keys.c.key_id, keys.c.id, keys.c.role).order_by(keys.c.id))
_LIVING = Prepared(sa.select(workers.c.worker).where(workers.c.until > NOW))
_REMEMBERED = 4096
_SCRUB_PAUSES_S = (0, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)
T = TypeVar("T")


@dataclass(eq=False, kw_only=True)
class DirectoryInUse(ConfigError):
    """Another process owns the data directory."""

    code = "config.directory_in_use"
    what = "the data directory `{directory}` is in use by process {pid}"
    why = "two writers could fork the record, so one process owns a data directory"
    fix = "stop that process, or let it do the work: the command line reaches it through `gate.sock`"

    directory: str
    pid: int


class Ledger:
    """Appends receipts and answers what is on the record. See `docs/concepts/evidence.md`."""

    def __init__(
        self,
        directory: Path,
        lock: int,
        store: Store,
        projections: Sequence[Projection],
        recorder: Recorder,
        *,
        lease: timedelta,
    ) -> None:
        self.directory = directory
        self.projections = tuple(projections)
        self.ruling = tuple(each for each in projections if isinstance(each, RulingProjection))
        self.reader = Reader(store.connect(writable=False), recorder.vault, directory)
        self.glance = _Glance(self.reader, recorder)
        self.writer: Writer[Transaction]
        self.leases: Leases
        self._lock = lock
        self._store = store
        self._lease = lease
        self._recorder = recorder
        self._membership: Membership | None = None
        self._inputs: dict[tuple[str, str], tuple[Action, str, Keyset, str]] = {}

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        projections: Sequence[Projection] = (),
        clock: Clock | None = None,
        isolation: str = "same-process",
        gate: Signer | None = None,
        log: Signer | None = None,
        continues: bool = False,
        store: str = "",
        lease: timedelta = timedelta(seconds=10),
    ) -> "Ledger":
        """Own a data directory; what is missing in it is made.

        Args:
            continues: open it although it stands still, to write down how it goes on.
            store: where its record is kept, `postgresql://…`; by default where it is already, or else in a file in it.
            lease: how long the other workers of a shared store wait for this one before they take its runs.

        Raises:
            DirectoryInUse: another process owns it.
            StoreRestored, StoreMoved, LogBehind: it may be an old copy, and nobody has said yet how it goes on.
            KeyFileUnsafe: a key file can be read by others.
            KeyRetired, KeyRoleTaken: a key was retired, or has another role.
            SignerUnavailable: who keeps a key elsewhere does not sign.
            StoreDamaged: the database file cannot be read.
            StoreElsewhere: its record is in another store.
            StoreUnreachable: the database server does not answer.
            KeysElsewhere: the record in a shared store was begun with other keys.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _lock(directory)
        try:
            if not continues:
                check_may_go_on(directory)
            use_store(directory, store)
            kept_in = store_of(directory)
            kept_in.upgrade()
            if not continues:
                check_goes_on(directory, kept_in)
            begun = _join if kept_in.is_shared else _own
            recorder = begun(
                directory,
                kept_in,
                projections=projections,
                clock=clock or SystemClock(),
                isolation=isolation,
                gate=gate,
                log=log,
            )
            return cls(directory, lock, kept_in, projections, recorder, lease=lease)
        except BaseException:
            os.close(lock)
            raise

    async def start(self) -> None:
        """Begin to write: ends earlier leases of this directory, and puts the keys on the record at first."""
        if self._store.is_shared:
            self._membership = _membership(self.directory, self._store, self._recorder, self._lease)
            self.writer, self.leases = self._membership.start(self.reader)
        else:
            assert isinstance(self._recorder.connection, SqliteConnection)
            self.writer = SqliteWriter(self._recorder.connection, self._recorder.transaction)
            self.leases = Leases(self.writer, self.reader, self._recorder.clock, self._recorder.lately)
        self._recorder.woken = self.leases.told
        await self.leases.end_earlier()
        for role, signer in self.signers.items():
            await self.append(key_draft(SYSTEM, role, signer))
        if len(self.reader.log_keys()) > 1:
            # Each log says itself who signs it from now on, and has a checkpoint by that key at once.
            for tenant in self.reader.tenants():
                await self.append(key_draft(tenant, "log", self._recorder.log))

    async def close(self) -> None:
        """Finish writing and let the directory go."""
        if hasattr(self, "writer"):
            await self.writer.close()
        if self._membership is not None:
            await self._membership.close()
        self.reader.close()
        self._recorder.close()
        self._recorder.connection.close()
        os.close(self._lock)

    @property
    def signers(self) -> dict[str, Signer]:
        """Whose keys sign, by role."""
        return {"gate": self._recorder.gate, "log": self._recorder.log}

    @property
    def clock(self) -> Clock:
        """Where the record takes its times from."""
        return self._recorder.clock

    def halt(self, reason: Standstill) -> None:
        """Write nothing any more, in this process or any later one, until it is said how the record goes on."""
        stand_still(self.directory, reason)
        self._recorder.halted = reason.error(self.directory)

    @property
    def others(self) -> int:
        """How many other gates write the record now. Asked before this one does."""
        return len(self.reader.rows(_LIVING)) if self._store.is_shared else 0

    @property
    def enters_log(self) -> bool:
        """Whether this process has the log's key; of gates that share a record, not all need it."""
        return not self._store.is_shared or key_path(self.directory, "log").exists()

    def begin_line(self) -> None:
        """Have every log bear a new origin: entries of the old one are lost."""
        self._recorder.line += 1

    def settle(self, tx: Transaction) -> None:
        """In a transaction: the record goes on where it is, and its logs under the origins of this line of history."""
        move_in(tx, self._store)
        tx.rename_logs()

    async def enter(self) -> None:
        """Have everything that is on the record in its logs, under their present origins."""
        if self._store.is_shared:
            with closing(self._store.connect(writable=True)) as connection:
                await asyncio.to_thread(integrate, connection, self._recorder.log)

    def append(self, draft: Draft) -> Awaitable[Appended]:
        """Put one receipt on the record; what became of it comes when it is on disk."""
        return self.writer.submit(lambda tx: tx.append(draft))

    async def settled(self) -> None:
        """Return once all that was submitted so far is on disk: an agent may have an outcome a moment earlier."""
        await self.writer.submit(lambda tx: None)

    async def open_run(self, draft: Draft) -> Appended:
        """Put a `run.open` on the record; the run is advanced from then on."""
        appended = await self.append(draft)
        reach(FaultPoint.RUN_OPENED)
        return appended

    async def store_object(self, tenant: TenantId, text: bytes) -> str:
        """Keep a text that names nobody (a policy, a specification), once; its commitment comes back."""
        return await self.writer.submit(lambda tx: tx.store(tenant, text))

    async def journal(self, slice_: Slice) -> RunJournal:
        """The journal of the run that a slice may advance."""
        head = self._recorder.heads.get(slice_.run)
        opened = self._recorder.lately.history(slice_.run) if head is not None and not head[0] else None
        return RunJournal(self, slice_, opened or self.reader.history(slice_.run))

    def is_open(self, run: RunId) -> bool:
        """Whether the run is known not to be over without a look at the record; never, where others may end it."""
        recorder = self._recorder
        return not self._store.is_shared and (run in recorder.names or run in recorder.fences)

    def ending(self, run: RunId) -> tuple[str, bytes] | None:
        """How a run ended that this process ended lately: its state, and its result or error as JSON."""
        return self._recorder.lately.ending(run)

    async def write_off(self, action: Action, intent: ReceiptId, why: str, *, by: str = "") -> Appended:
        """Record that an attempt in doubt did not happen: the step may be tried again."""
        control = {"do": "write-off", "intent": intent, "why": why}
        if by:
            control["by"] = self.pseudonym(action.tenant, by)
        return await self.append(
            Draft(
                tenant=action.tenant,
                run=action.run,
                phase="control",
                agent=action.agent,
                step=action.step,
                branch=action.branch,
                once=f"w:{intent}",
                members={"control": control},
                wake=True,
            )
        )

    def refresh(self, history: History) -> None:
        """Take in what was appended to a run since its history was read."""
        self.reader.refresh(history)

    @property
    def key_changes(self) -> int | None:
        """Moves with every receipt about keys, once it is on disk; None where other gates write them, too."""
        return None if self._store.is_shared else self._recorder.key_changes

    def run_key(self, tenant: TenantId, run: RunId) -> bytes:
        """The key that names a run's steps, 32 bytes."""
        return self._recorder.vault.run_key(tenant, run)

    def pseudonym(self, tenant: TenantId, name: str) -> str:
        """What the record calls a person or system."""
        return self._recorder.vault.pseudonym(tenant, name)

    def called(self, tenant: TenantId, subjects: Iterable[str]) -> tuple[str, ...]:
        """What the record calls the people that a text concerns, sorted."""
        return self._recorder.vault.called(tenant, tuple(sorted(subjects))) if subjects else ()

    def party(self, action: Action) -> str:
        """What the record calls whoever the action is done for."""
        return action.on_behalf_of and self.pseudonym(action.tenant, action.on_behalf_of)

    def keyset(self, tenant: TenantId, subjects: tuple[str, ...], run: RunId) -> Keyset:
        """Keys for texts concerning these people."""
        return self._recorder.keyset(tenant, subjects, run)

    def committed_input(self, action: Action) -> tuple[str, Keyset, str]:
        """Commitment to the action's arguments, the keys behind it, and the action digest."""
        name = (action.run, action.step)
        known = self._inputs.get(name)
        # SECURITY: all of the action counts: the same arguments may mean another amount by a new declaration.
        if known is not None and (known[0] is action or known[0] == action):
            return known[1:]
        keyset = self.keyset(action.tenant, action.subjects, action.run)
        input_ = commitment(keyset.salt(action.run, action.step, "input"), action.arguments)
        digest = action_digest(action, input_)
        if len(self._inputs) >= _REMEMBERED:
            self._inputs.pop(next(iter(self._inputs)))
        self._inputs[name] = (action, input_, keyset, digest)
        return input_, keyset, digest

    async def drop(self, work: Callable[[Transaction, Vault], T]) -> tuple[T, bool]:
        """Drop texts in a transaction; whether their last traces are out of the store's files, too.

        Where others read an old moment of the store, traces stay in its write-ahead log until they have done so.
        """
        result = await self.writer.submit(lambda tx: work(tx, self._recorder.vault))
        self._inputs.clear()
        self._recorder.lately.forget_texts()
        for pause_s in _SCRUB_PAUSES_S:
            await asyncio.sleep(pause_s)
            if await asyncio.to_thread(self._store.scrub):
                return result, True
            if self._store.is_shared:
                break
        return result, False

    def forget_input(self, action: Action) -> None:
        """The step is over: its arguments need not stay in memory."""
        self._inputs.pop((action.run, action.step), None)


def _own(
    directory: Path,
    store: Store,
    *,
    projections: Sequence[Projection],
    clock: Clock,
    isolation: str,
    gate: Signer | None,
    log: Signer | None,
) -> Recorder:
    """What the only writer of a data directory knows of its record."""
    vault = Vault(directory / "keys" / "master.key")
    connection = store.connect(writable=True)
    with closing(Reader.open(directory, vault=vault)) as reader:
        signers = open_signers(reader, {"gate": gate, "log": log})
    gate, log = signers["gate"], signers["log"]
    for role, signer in signers.items():
        connection.run(_SAVE_KEY, id=None, key_id=signer.key_id, public=signer.public_key, role=role)
    # A backup of a record that gates shared may hold receipts that none of them had entered yet. Which leaves they are
    # is settled, so this head says nothing that the one of their sequencer will not say.
    integrate(connection, log)
    rows = connection.rows(_KEY_ROWS)
    return Recorder(
        connection,
        lookups=store.connect(writable=False),
        gate=gate,
        log=log,
        vault=vault,
        clock=clock,
        boundary={"id": f"gate_{gate.key_id[:16]}", "boot": new_boot_id(), "isolation": isolation},
        log_name=next(row[0] for row in rows if row[2] == "log"),
        key_rows={row[0]: row[1] for row in rows},
        projections=projections,
    )


def _join(directory: Path, store: Store, **how: Any) -> Recorder:
    """The same for one of several writers."""
    from answerable.ledger._drivers._postgres import PostgresStore  # it loads a driver that few need
    from answerable.ledger._membership import join

    assert isinstance(store, PostgresStore)
    store.stay()
    return join(directory, store, **how)


def _membership(directory: Path, store: Store, recorder: Recorder, lease: timedelta) -> "Membership":
    from answerable.ledger._drivers._postgres import PostgresStore
    from answerable.ledger._many import SharedRecorder
    from answerable.ledger._membership import Membership

    assert isinstance(store, PostgresStore)
    assert isinstance(recorder, SharedRecorder)
    return Membership(store, recorder, directory=directory, lease=lease)


class _Glance:
    """A transaction that only looks: for reads, which are admitted without waiting for the disk."""

    def __init__(self, reader: Reader, recorder: Recorder) -> None:
        self.rows = reader.rows
        self.last_seq = reader.last_seq
        self._recorder = recorder

    @property
    def now(self) -> str:
        return self._recorder.last_at

    def run(self, statement: Prepared, /, **params: Any) -> int:
        raise RuntimeError("a check may not write")

    def wake(self, run: str) -> None:
        raise RuntimeError("a check may not write")


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Own a data directory for the length of a block, without a gate."""
    handle = _lock(directory)
    try:
        yield
    finally:
        os.close(handle)


def _lock(directory: Path) -> int:
    handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 20, 0).decode(errors="replace").strip()
        os.close(handle)
        raise DirectoryInUse(directory=str(directory), pid=int(holder) if holder.isdigit() else 0) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle
