"""From a backup to a data directory: checked, and without what was erased since.

It stands still until somebody says how its log goes on.
"""

import base64
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from answerable.core import AnswerableError, Clock, ConfigError, SystemClock, TenantId, format_time
from answerable.ledger._backup import SEALED_KEYS, Backup, BackupUnusable, check_members, keys_in, read_backup
from answerable.ledger._dropping import drop_texts
from answerable.ledger._erasures import LIST, merge_erasures, put_erasures, read_erasures
from answerable.ledger._ledger import lock_directory
from answerable.ledger._merkle import Frontier
from answerable.ledger._reader import Reader
from answerable.ledger._receipt import pae
from answerable.ledger._standstill import Standstill, put_durably, stand_still, sync_folder
from answerable.ledger._stores import store_of
from answerable.ledger._vault import Vault

__all__ = ["DirectoryNotEmpty", "Restored", "restore"]

_PAGE = 1000


@dataclass(eq=False, kw_only=True)
class DirectoryNotEmpty(ConfigError):
    """There is something where a backup is to be restored to."""

    code = "config.directory_not_empty"
    what = "nothing is restored to `{directory}`: there is something already"
    why = "a restored record must not be mixed with another, nor silently take its place"
    fix = "name another directory, or say `--replace`: what is there is kept beside it"

    directory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was restored.

    Args:
        erased: erasures that the backup did not know of yet.
        texts: how many texts were dropped for them.
        replaced: where the record is now that was there before.
        lost: entries of logs that are known to be missing, by tenant.
    """

    backup: Backup
    directory: Path
    erased: int
    texts: int
    replaced: Path | None
    lost: dict[str, int]


def restore(
    path: Path,
    directory: Path,
    *,
    keys: Path | None = None,
    passphrase: bytes = b"",
    erasures: Sequence[Path] = (),
    replace: bool = False,
    clock: Clock | None = None,
) -> Restored:
    """Make a data directory of a backup. It appears when it is whole; what went wrong leaves nothing.

    What the lists of erasures name is dropped first: the list beside the backup, that of the record that is
    replaced, and `erasures`. The record may be read then; it is written once it is said how its log goes on.

    Args:
        path: the backup's folder.
        keys: the folder that the keys are kept in, where they are not in the backup.
        replace: put it in the place of what is at `directory`, which is kept beside it.

    Raises:
        BackupUnusable: it was changed, or its receipts are not those of its logs.
        BackupKeysUnusable: the keys are missing or others.
        ErasureListDamaged: what was erased cannot be told.
        DirectoryNotEmpty, DirectoryInUse: there is a record, or a gate that runs.
    """
    backup = read_backup(path)
    check_members(backup)
    directory = directory.absolute()
    is_there = directory.exists() and any(directory.iterdir())
    if is_there and not replace:
        raise DirectoryNotEmpty(directory=str(directory))
    found = keys_in(backup, passphrase=passphrase, folder=keys)
    listed = [path.absolute().parent / LIST, *erasures]
    now = format_time((clock or SystemClock()).now())
    with ExitStack() as stack:
        seen: dict[str, tuple[str, int]] = {}
        if is_there:
            stack.enter_context(lock_directory(directory))
            listed.append(directory / LIST)
            seen = _seen(directory)
        fresh = directory.with_name(f".{directory.name}.restoring")
        shutil.rmtree(fresh, ignore_errors=True)
        stack.callback(shutil.rmtree, fresh, ignore_errors=True)
        _copy(backup, found, fresh)
        _check_logs(backup, fresh)
        erased, texts = _drop(backup, fresh, listed)
        lost = {tenant: size - backup.logs.get(tenant, {}).get("size", 0) for tenant, (_, size) in seen.items()}
        reason = Standstill(
            kind="restored",
            id=f"{backup.id}@{now}",
            at=now,
            made=backup.at,
            seen=dict(seen.values()),
            who="the record that it replaced" if seen else "",
        )
        stand_still(fresh, reason)
        replaced = None
        if is_there:
            replaced = directory.with_name(f"{directory.name}.before-{now[:19].replace(':', '')}Z")
            directory.rename(replaced)
        elif directory.exists():
            directory.rmdir()
        fresh.rename(directory)
        sync_folder(directory.parent)
    return Restored(
        backup=backup,
        directory=directory,
        erased=erased,
        texts=texts,
        replaced=replaced,
        lost={tenant: count for tenant, count in lost.items() if count > 0},
    )


def _copy(backup: Backup, keys: dict[str, bytes], into: Path) -> None:
    into.mkdir(mode=0o700, parents=True)
    for name in backup.members:
        if name == SEALED_KEYS or name.startswith("keys/"):
            continue
        target = into / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(backup.path / name, target)
        os.chmod(target, 0o600)
        with target.open("rb") as file:
            os.fsync(file.fileno())
            # SECURITY: what was copied is what counts; the backup may lie where others write.
            if hashlib.file_digest(file, "sha256").hexdigest() != backup.members[name]["sha256"]:
                raise BackupUnusable(backup=str(backup.path), problem=f"`{name}` changed while it was read")
    (into / "keys").mkdir(mode=0o700)
    for name, content in keys.items():
        put_durably(into / "keys" / name, content)


def _check_logs(backup: Backup, directory: Path) -> None:
    """Hold the receipts against the logs: entries give the root that the log's key signed; the rest is signed too."""

    def fail(problem: str) -> BackupUnusable:
        return BackupUnusable(backup=str(backup.path), problem=problem)

    with closing(Reader.open(directory)) as reader:
        if {str(tenant) for tenant in reader.tenants()} != set(backup.logs):
            raise fail("it has other logs than its manifest tells")
        for receipt in reader.all():
            # A body that is no bytes any more has no envelope either.
            envelope = receipt.envelope if isinstance(receipt.body, bytes) else b""
            if hashlib.sha256(envelope).hexdigest() != receipt.digest[7:]:
                raise fail(f"the receipt at position {receipt.position} is not what was logged")
        for tenant in reader.tenants():
            origin, _ = reader.log_key(tenant)
            note, told = reader.checkpoint(tenant), backup.logs[tenant]
            head, frontier = reader.head(tenant), Frontier()
            for entry in reader.entries(tenant):
                frontier.append(entry)
            if (frontier.size, frontier.root()) != (head.size, head.root):
                raise fail(f"the entries of log `{origin}` are not those that its checkpoint states")
            if (head.origin, head.size, head.root.hex()) != (told["origin"], told["size"], told["root"]):
                raise fail(f"the checkpoint of log `{origin}` is not that of its manifest")
            if head.size and not any(_is_signed(note, public) for public in reader.log_keys()):
                raise fail(f"the checkpoint of log `{origin}` is not signed by a key of the log")
            _check_tail(reader, tenant, head.size, fail)


def _check_tail(reader: Reader, tenant: TenantId, start: int, fail: Callable[[str], BackupUnusable]) -> None:
    """What is in no log yet, because gates share the record, was signed by one of them, and none of it is missing."""
    keys = reader.gate_keys()
    while page := reader.receipts_at(tenant, start, _PAGE):
        start += len(page)
        if reader.leaf(page[-1]) != start - 1:
            raise fail(f"receipts of tenant `{tenant}` are missing that its log had still to take")
        for receipt in page:
            try:
                VerifyKey(keys[receipt.key_id]).verify(pae(receipt.body), receipt.signature)
            except (BadSignatureError, KeyError, ValueError):
                raise fail(f"the receipt at position {receipt.position} is by no gate of the record") from None


def _is_signed(note: str, public: bytes) -> bool:
    text, _, lines = note.partition("\n\n")
    try:
        signature = base64.b64decode(lines.split("\n")[0].rpartition(" ")[2])[4:]
        VerifyKey(public).verify(text.encode() + b"\n", signature)
    except (BadSignatureError, ValueError):
        return False
    return True


def _seen(directory: Path) -> dict[str, tuple[str, int]]:
    """Origin and size of each log of the record that is replaced, by tenant, as far as it can be read."""
    try:
        with closing(Reader.open(directory)) as reader:
            heads = {str(tenant): reader.head(tenant) for tenant in reader.tenants()}
    except (AnswerableError, ValueError):
        return {}
    return {tenant: (head.origin, head.size) for tenant, head in heads.items()}


def _drop(backup: Backup, directory: Path, lists: Sequence[Path]) -> tuple[int, int]:
    """Drop what was erased since the backup, and enter it in the list; how many erasures, and texts of them."""
    known = read_erasures(directory / LIST)
    everything = merge_erasures([known, *(read_erasures(path) for path in lists)])
    missing = [each for each in everything if each.at >= backup.at or each not in known]
    texts = 0
    if missing:
        store, vault = store_of(directory), Vault(directory / "keys" / "master.key")
        with closing(store.connect(writable=True)) as connection, connection.transaction():
            for each in missing:
                texts += sum(one.is_there for one in drop_texts(connection, vault, each))
        store.scrub()
    put_erasures(directory / LIST, everything)
    return len(missing), texts
