"""A gate's part in a shared store: its writer, its leases, its presence among the workers, the log's sequencer."""

import asyncio
import functools
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from answerable.core import Clock, new_boot_id
from answerable.ledger._drivers._postgres import PostgresConnection, PostgresStore
from answerable.ledger._drivers._postgres_writer import PostgresWriter
from answerable.ledger._former_self import former_self, remember_self
from answerable.ledger._key_files import KeyRetired, key_path, open_signers
from answerable.ledger._many import SharedRecorder, SharedTransaction
from answerable.ledger._ports import Projection, Signer, Writer
from answerable.ledger._presence import Presence
from answerable.ledger._reader import Reader
from answerable.ledger._receipt import SYSTEM
from answerable.ledger._record import Transaction
from answerable.ledger._sequencer import Sequencer
from answerable.ledger._shared_leases import SharedLeases
from answerable.ledger._sql import Prepared
from answerable.ledger._stores import KeysElsewhere
from answerable.ledger._tables import keys
from answerable.ledger._vault import Vault

__all__ = ["Membership", "join"]

_PATIENCE_S = 15.0  # for a server that restarts, whatever the lease: as long as a read waits for it
_KEYS = Prepared(sa.select(keys.c.key_id, keys.c.public, keys.c.role, keys.c.id).order_by(keys.c.id))
_SAVE_KEY = Prepared(sa.insert(keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class _KnownLog:
    """The log's public key, where another worker has the private one."""

    key_id: str
    public_key: bytes

    def sign(self, message: bytes) -> bytes:
        raise RuntimeError("this worker does not hold the log's key")


def join(
    directory: Path,
    store: PostgresStore,
    *,
    projections: Sequence[Projection],
    clock: Clock,
    isolation: str,
    gate: Signer | None,
    log: Signer | None,
) -> SharedRecorder:
    """What this worker knows of the record, with its keys on it.

    Raises:
        KeysElsewhere: it has not the record's master key, or no gate key of its own.
    """
    connection = store.connect(writable=True)
    wrong = functools.partial(KeysElsewhere, directory=str(directory), address=store.address)
    known = {row[2] for row in connection.rows(_KEYS)}
    if known and not (directory / "keys" / "master.key").exists():
        raise wrong(key="master key")
    if known and gate is None and not key_path(directory, "gate").exists():
        raise wrong(key="gate key of its own")
    vault = Vault(directory / "keys" / "master.key")
    given = {"gate": gate}
    if log is not None or not known or key_path(directory, "log").exists():
        given["log"] = log  # SECURITY: whoever has it may sign the log's heads; a worker need not
    with closing(Reader(store.connect(writable=False), vault, directory)) as reader:
        logs_in_use = {life.id for life in reader.keys_of(SYSTEM) if life.role == "log" and life.is_in_use}
        try:
            signers = open_signers(reader, given)
        except KeyRetired as error:
            if error.role != "log" or not logs_in_use:
                raise
            raise wrong(key="present log key") from None  # another gate has replaced it
    gate = signers["gate"]
    with connection.transaction():
        rows = connection.rows(_KEYS)
        if any(row[2] == "vault" and row[0] != vault.mark for row in rows):
            raise wrong(key="master key")
        logs_known = [row for row in rows if row[2] == "log"]
        if (
            logs_known
            and "log" in signers
            and signers["log"].key_id not in {row[0] for row in logs_known} | logs_in_use
        ):
            raise wrong(key="log key")
        ours = [(signer.key_id, signer.public_key, role) for role, signer in signers.items()]
        number = max((row[3] for row in rows), default=0)
        for key_id, public, role in [*ours, (vault.mark, b"", "vault")]:
            if key_id not in {row[0] for row in rows}:
                number += 1
                connection.run(_SAVE_KEY, id=number, key_id=key_id, public=public, role=role)
    rows = connection.rows(_KEYS)
    of_log = [row for row in rows if row[2] == "log"]
    return SharedRecorder(
        connection,
        lookups=store.connect(writable=True),
        gate=gate,
        log=signers.get("log") or _KnownLog(key_id=of_log[-1][0], public_key=of_log[-1][1]),
        vault=vault,
        clock=clock,
        boundary={"id": f"gate_{gate.key_id[:16]}", "boot": new_boot_id(), "isolation": isolation},
        log_name=of_log[0][0],
        key_rows={row[0]: row[3] for row in rows},
        projections=projections,
        address=store.address,
    )


class Membership:
    """Starts and ends what a worker of a shared store needs beside its connections."""

    def __init__(self, store: PostgresStore, recorder: SharedRecorder, *, directory: Path, lease: timedelta) -> None:
        self._directory = directory
        self._store = store
        self._recorder = recorder
        self._lease = lease
        self._loop: asyncio.AbstractEventLoop
        self._leases: SharedLeases
        self._presence: Presence
        self._sequencer: Sequencer | None = None

    def start(self, reader: Reader) -> tuple[Writer[Transaction], SharedLeases]:
        """Sign in as a worker; call it on the loop that will write."""
        recorder, self._loop = self._recorder, asyncio.get_running_loop()
        former = former_self(self._directory)
        remember_self(self._directory, recorder.boundary["boot"])
        self._presence = Presence(
            self._store.connect(writable=True),
            boot=recorder.boundary["boot"],
            lease=self._lease,
            former=former,
            heard=functools.partial(self._tell, self._heard),
            missed=functools.partial(self._tell, self._missed),
            freed=functools.partial(self._tell, self._freed),
        )
        recorder.worker, recorder.lost = self._presence.worker, self._lost
        connection = recorder.connection
        assert isinstance(connection, PostgresConnection)
        writer: PostgresWriter[SharedTransaction] = PostgresWriter(
            connection, recorder, patience_s=max(self._lease.total_seconds(), _PATIENCE_S)
        )
        lookups = recorder.lookups
        assert isinstance(lookups, PostgresConnection)
        self._leases = SharedLeases(
            writer, reader, recorder.clock, recorder=recorder, presence=self._presence, lookups=lookups
        )
        if not isinstance(recorder.log, _KnownLog):
            self._sequencer = Sequencer(self._store.connect(writable=True), recorder.log)
        recorder.appended = self._sequencer.poke if self._sequencer is not None else recorder.appended
        return writer, self._leases

    async def close(self) -> None:
        """Sign off: what was this worker's is free at once. The writer is closed already."""
        await asyncio.to_thread(self._presence.close)
        if self._sequencer is not None:
            await asyncio.to_thread(self._sequencer.close)

    # -- on the loop --------------------------------------------------------------------------------------------------

    def _heard(self, payloads: list[str]) -> None:
        for payload in payloads:
            boot, is_serving, is_told, *runs = payload.split(" ")
            if self._sequencer is not None:
                self._sequencer.poke()
            if boot == self._recorder.boundary["boot"]:
                continue
            if is_told == "1":
                self._recorder.doubt_projections()
            if runs:
                self._leases.heard(runs, is_serving == "1")

    def _missed(self) -> None:
        self._recorder.doubt_projections()
        if self._recorder.worker != self._presence.worker:
            self._recorder.drop_fences()
            self._leases.forget()
            self._recorder.worker = self._presence.worker
        self._leases.heard([], is_serving=False)

    def _freed(self, runs: list[str]) -> None:
        self._leases.heard(runs, is_serving=False)

    def _lost(self) -> None:
        self._leases.forget()

    def _tell(self, listener: Any, *said: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(listener, *said)
