"""Keys of gate and log come and go: each change is a receipt, by the key that goes where it still can.

Needs the data directory to itself: a gate signs with one key from its start to its end. Other gates of a shared record
go on meanwhile; one that still has the log's old key enters nothing into the log until it is given the new one.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from answerable.core import Clock, ConfigError
from answerable.ledger._key_files import KeyLost, KeyRetired, KeyRoleTaken, check_fit, key_draft, key_path, open_signer
from answerable.ledger._key_lives import KeyLife
from answerable.ledger._ledger import Ledger
from answerable.ledger._ports import Projection, Signer
from answerable.ledger._receipt import SYSTEM, Draft, control_run
from answerable.ledger._record import Transaction
from answerable.ledger._stores import store_of

__all__ = ["KeyShared", "retire_key", "rotate_key"]


@dataclass(eq=False, kw_only=True)
class KeyShared(ConfigError):
    """The log's key of a record that several gates share is to change, where it is not."""

    code = "config.key_shared"
    what = "the log key of the record behind `{directory}` cannot be changed from there: it is not in that directory"
    why = "several gates share the record and its log, and only one that has the log's key may replace it"
    fix = (
        "do it in a data directory that has `keys/log.key`, and copy the new one to the other gates that enter the log"
    )

    directory: str


async def rotate_key(
    directory: Path,
    role: str,
    *,
    by: str,
    reason: str,
    write: Callable[[Path], None] | None = None,
    projections: Sequence[Projection] = (),
    clock: Clock | None = None,
) -> KeyLife:
    """A new key signs from now on, and the one before never again; the new one's life comes back.

    The old key signs that the new one follows it, then that it is retired itself. Broken off anywhere, either
    the old key is in use as before, or the next start goes on with the new one.

    Args:
        role: `gate` or `log`.
        by: who asks for it; the record has a pseudonym.
        write: puts the key file at a path, for a key kept elsewhere; else one is made in a file.

    Raises:
        DirectoryInUse: a gate runs.
        KeyShared: it is the log's key of a record that several gates share, and not in this directory.
        KeyRoleTaken: the new key had a role before.
        SignerUnavailable, PluginError: who keeps the new key does not sign.
    """
    _check_holder(directory, role)
    waiting = key_path(directory, role, is_next=True)
    try:
        ledger = Ledger.open(directory, projections=projections, clock=clock)
    except (KeyRetired, KeyLost) as error:
        if error.role != role:
            raise
        # Nobody is left to vouch for the new key, so it speaks for itself, as the first one did.
        new = _made(waiting, write)
        gate, log = (new, None) if role == "gate" else (None, new)
        async with _started(directory, projections, clock, gate=gate, log=log) as ledger:
            said = {"by": ledger.pseudonym(SYSTEM, _typed(by)), "reason": reason, "replacedBy": new.key_id}
            lost = [life for life in ledger.reader.keys_of(SYSTEM) if life.role == role and life.is_in_use]
            drafts = tuple(_retired(role, life.id, life.public, **said) for life in lost if life.id != new.key_id)
            await ledger.writer.submit(lambda tx: _append(tx, drafts))
    else:
        async with _begun(ledger):
            # What waits is unknown to the record until it is announced: after a failure the next start clears it away.
            old, new = ledger.signers[role], _made(waiting, write)
            if (other := ledger.reader.key_roles().get(new.key_id)) is not None:
                raise KeyRoleTaken(key=new.key_id[:16], role=f"new {role}", other=other)
            check_fit(role, new, {}, {})
            said = {"by": ledger.pseudonym(SYSTEM, _typed(by)), "reason": reason, "replacedBy": new.key_id}
            announced = key_draft(SYSTEM, role, new, replaces=old.key_id)
            drafts = (announced, _retired(role, old.key_id, old.public_key.hex(), **said))
            await ledger.writer.submit(lambda tx: _append(tx, drafts))
    # Started with the keys that are in place now, each log has its first checkpoint by them.
    async with _started(directory, projections, clock) as ledger:
        return next(life for life in ledger.reader.keys_of(SYSTEM) if life.id == new.key_id)


async def retire_key(
    directory: Path,
    role: str,
    *,
    by: str,
    reason: str,
    projections: Sequence[Projection] = (),
    clock: Clock | None = None,
) -> KeyLife:
    """The key in use never signs again, and nothing follows it: no gate starts here until one is made.

    For a key that may be in other hands. What it signed before stands. A private key in a file is removed.

    Raises:
        DirectoryInUse: a gate runs.
        KeyShared: it is the log's key of a record that several gates share, and not in this directory.
    """
    _check_holder(directory, role)
    async with _started(directory, projections, clock) as ledger:
        old = ledger.signers[role]
        said = {"by": ledger.pseudonym(SYSTEM, _typed(by)), "reason": reason}
        draft = _retired(role, old.key_id, old.public_key.hex(), **said)
        await ledger.writer.submit(lambda tx: _append(tx, (draft,)))
        found = next(life for life in ledger.reader.keys_of(SYSTEM) if life.id == old.key_id)
    key_path(directory, role).unlink(missing_ok=True)
    return found


def _check_holder(directory: Path, role: str) -> None:
    """Where gates share a log, only one that has its key replaces it. The store takes no head by the old one then."""
    if role == "log" and store_of(directory).is_shared and not key_path(directory, role).exists():
        raise KeyShared(directory=str(directory))


def _made(waiting: Path, write: Callable[[Path], None] | None) -> Signer:
    waiting.unlink(missing_ok=True)
    if write is not None:
        write(waiting)
    return open_signer(waiting)


@asynccontextmanager
async def _started(
    directory: Path,
    projections: Sequence[Projection],
    clock: Clock | None,
    *,
    gate: Signer | None = None,
    log: Signer | None = None,
) -> AsyncIterator[Ledger]:
    ledger = Ledger.open(directory, projections=projections, clock=clock, gate=gate, log=log)
    async with _begun(ledger):
        yield ledger


@asynccontextmanager
async def _begun(ledger: Ledger) -> AsyncIterator[None]:
    try:
        await ledger.start()
        yield
    finally:
        await ledger.close()


def _retired(role: str, key_id: str, public: str, **more: str) -> Draft:
    control = {"role": role, "key": public, "id": key_id, "state": "retired", **more}
    return Draft(
        tenant=SYSTEM,
        run=control_run(SYSTEM),
        phase="key",
        agent="gate",
        once=f"key:{key_id}:retired",
        members={"control": control},
    )


def _append(tx: Transaction, drafts: Sequence[Draft]) -> None:
    for draft in drafts:
        tx.append(draft)


def _typed(name: str) -> str:
    return f"person:{name.rpartition(':')[2]}"
