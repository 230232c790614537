"""Backups: one folder each, complete or not there, every file of it named by digest.

Made while a gate runs: the database is copied as it stands at one moment. Format: `docs/formats/backup.md`.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from answerable.core import Clock, ConfigError, EvidenceError, SystemClock, format_time
from answerable.ledger._copy import dump_store
from answerable.ledger._drivers._snapshot import snapshot
from answerable.ledger._erasures import ErasureLists
from answerable.ledger._former_self import FORMER
from answerable.ledger._going_on import why_it_stands_still
from answerable.ledger._keys import read_or_make_secret
from answerable.ledger._reader import NoStore, Reader
from answerable.ledger._schema import HEAD
from answerable.ledger._sql import Prepared
from answerable.ledger._standstill import put_durably, sync_folder
from answerable.ledger._stores import ADDRESS, DATABASE, store_of
from answerable.ledger._tables import receipts
from answerable.ledger._vault import Vault

__all__ = [
    "Backup",
    "BackupKeysUnusable",
    "BackupUnusable",
    "back_up",
    "check_members",
    "keys_in",
    "list_backups",
    "read_backup",
]

MANIFEST = "manifest.json"
SEALED_KEYS = "keys.sealed"
_FORMAT = "answerable-backup/1"
_PARTIAL = ".partial-"
_CHUNK_BYTES = 1 << 20
_COUNT = Prepared(sa.select(sa.func.count()).select_from(receipts))
_SCRYPT = {"n": 1 << 15, "r": 8, "p": 1}
# What says who works here now, or is made again from the record.
_LEFT_OUT = frozenset(
    {
        "lock",
        "gate.sock",
        ADDRESS,
        FORMER,
        DATABASE,
        f"{DATABASE}-wal",
        f"{DATABASE}-shm",
        "standstill.json",
        "keys",
        "log",
    }
)


@dataclass(eq=False, kw_only=True)
class BackupUnusable(EvidenceError):
    """A backup is not what was written."""

    code = "evidence.backup_unusable"
    what = "the backup `{backup}` cannot be used: {problem}"
    why = "a damaged or changed backup would become the record"
    fix = "name another backup; `answerable backup PLACE --list` tells which there are"

    backup: str
    problem: str


@dataclass(eq=False, kw_only=True)
class BackupKeysUnusable(ConfigError):
    """The keys for a backup are missing, locked or others."""

    code = "config.backup_keys_unusable"
    what = "the keys for the backup `{backup}` cannot be used: {problem}"
    why = "without the keys of its gate a record can neither be read nor gone on with"
    fix = "name the folder they are kept in (`--keys`), or the passphrase they are sealed under (`--passphrase-file`)"

    backup: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """One backup, as its manifest tells.

    Args:
        at: the moment that it is of, RFC 3339 UTC.
        schema: of the store.
        receipts: how many there are.
        logs: origin, size and root hash (hexadecimal) of every log, by tenant.
        keys: `none`, `clear` or `sealed`: whether and how the keys are in it.
        prints: of each key file that belongs to it, a fingerprint that tells nothing of the key.
        members: SHA-256 (hexadecimal) and length of every file.
    """

    path: Path
    id: str
    at: str
    schema: str
    receipts: int
    logs: Mapping[str, Mapping[str, Any]]
    keys: str
    prints: Mapping[str, str]
    members: Mapping[str, Mapping[str, Any]] = field(repr=False)


def back_up(
    directory: Path, place: Path, *, with_keys: bool = False, passphrase: bytes = b"", clock: Clock | None = None
) -> Backup:
    """Make a backup of a record below `place`, in a folder of its own; a gate may run meanwhile.

    The folder appears when it is complete and on disk. The place is told of erasures from then on.

    Args:
        with_keys: put the gate's keys in: whoever has them reads every text and signs as the gate.
        passphrase: seals the keys in it; in clear where it is empty.

    Raises:
        NoStore: there is no record.
        OtherSchema: it is in a database of another version's schema.
        StoreRestored, StoreMoved, LogBehind: what would be backed up may itself be an old copy.
    """
    store = store_of(directory)
    if not store.exists():
        raise NoStore(directory=str(directory))
    if (reason := why_it_stands_still(directory)) is not None:
        raise reason.error(directory)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in place.glob(f"{_PARTIAL}*"):  # by a process that is no more
        if not _is_alive(left.name.removeprefix(_PARTIAL)):
            shutil.rmtree(left)
    partial = place / f"{_PARTIAL}{os.getpid()}"
    partial.mkdir(mode=0o700)
    try:
        at = format_time((clock or SystemClock()).now())
        manifest = _fill(partial, directory, at, with_keys=with_keys, passphrase=passphrase)
        put_durably(partial / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n")
        _sync_all(partial)
        ErasureLists(directory).know_place(place)  # first, so that no erasure falls between
        final = place / manifest["id"]
        partial.rename(final)
        sync_folder(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return read_backup(final)


def read_backup(path: Path) -> Backup:
    """What a backup's manifest tells.

    Raises:
        BackupUnusable: there is none, or it is of another format.
    """
    try:
        said = json.loads((path / MANIFEST).read_text("utf-8"))
        if said.pop("format") != _FORMAT:
            raise BackupUnusable(backup=str(path), problem="it is of a format that this version does not know")
        return Backup(path=path, **said)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BackupUnusable(backup=str(path), problem="it has no manifest that can be read") from None


def list_backups(place: Path) -> list[Backup]:
    """The backups at a place, the oldest first; folders that are none are left out."""
    return [read_backup(each.parent) for each in sorted(place.glob(f"[!.]*/{MANIFEST}"))]


def check_members(backup: Backup) -> None:
    """Hold every file against the digest in the manifest.

    Raises:
        BackupUnusable: a file is missing, changed or not listed.
    """
    found = {str(each.relative_to(backup.path)) for each in backup.path.rglob("*") if not each.is_dir()}
    for name in sorted(found ^ {MANIFEST, *backup.members}):
        problem = "is not listed" if name in found else "is missing"
        raise BackupUnusable(backup=str(backup.path), problem=f"`{name}` {problem}")
    for name, listed in backup.members.items():
        path = backup.path / name
        # SECURITY: a link would take a file from elsewhere into the record.
        if path.is_symlink() or _listed(path) != listed:
            raise BackupUnusable(backup=str(backup.path), problem=f"`{name}` was changed")


def keys_in(backup: Backup, *, passphrase: bytes = b"", folder: Path | None = None) -> dict[str, bytes]:
    """The key files that belong to a backup, by name: from a folder, or from the backup itself.

    Raises:
        BackupKeysUnusable: they are not there, are sealed under another passphrase, or are others.
    """
    if folder is not None:
        found = _key_files(folder)
    elif backup.keys == "clear":
        found = _key_files(backup.path / "keys")
    elif backup.keys == "sealed":
        found = _opened(backup, passphrase)
    else:
        raise BackupKeysUnusable(backup=str(backup.path), problem="they are not in it")
    for name, wanted in backup.prints.items():
        if name not in found:
            raise BackupKeysUnusable(backup=str(backup.path), problem=f"`{name}` is missing")
        if not hmac.compare_digest(_print(found[name]), wanted):
            raise BackupKeysUnusable(backup=str(backup.path), problem=f"`{name}` is another key than the record's")
    return found


def _fill(into: Path, directory: Path, at: str, *, with_keys: bool, passphrase: bytes) -> dict[str, Any]:
    """Write every file but the manifest; what that says comes back."""
    store = store_of(directory)
    if store.is_shared:
        dump_store(store, into / DATABASE)
    else:
        snapshot(directory / DATABASE, into / DATABASE)
    os.chmod(into / DATABASE, 0o600)
    logs, receipts = _logs(directory, into / DATABASE)
    for path in _others(directory, {tenant: said["size"] for tenant, said in logs.items()}):
        target = into / path.relative_to(directory)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        os.chmod(target, 0o600)
    keys = _key_files(directory / "keys")
    if with_keys:
        _put_keys(into, keys, passphrase)
    files = sorted(each for each in into.rglob("*") if each.is_file())
    return {
        "format": _FORMAT,
        "id": f"{at[:19].replace(':', '')}Z-{secrets.token_hex(4)}",
        "at": at,
        "schema": HEAD,
        "receipts": receipts,
        "logs": logs,
        "keys": "none" if not with_keys else "sealed" if passphrase else "clear",
        "prints": {name: _print(content) for name, content in keys.items() if name != "monitor.secret"},
        "members": {str(each.relative_to(into)): _listed(each) for each in files},
    }


def _logs(directory: Path, copy: Path) -> tuple[dict[str, dict[str, Any]], int]:
    with closing(Reader.open(copy.parent, vault=Vault(directory / "keys" / "master.key"))) as reader:
        heads = {tenant: reader.head(tenant) for tenant in reader.tenants()}
        logs = {
            str(tenant): {"origin": head.origin, "size": head.size, "root": head.root.hex()}
            for tenant, head in heads.items()
        }
        return logs, reader.rows(_COUNT)[0][0]


def _others(directory: Path, sizes: Mapping[str, int]) -> Iterator[Path]:
    """What belongs to the record and cannot be made again from it: configuration, and what others signed."""
    for path in sorted(directory.rglob("*")):
        inside = path.relative_to(directory).parts
        if path.is_file() and inside[0] not in _LEFT_OUT and not path.name.startswith("."):
            yield path
    for tenant, size in sizes.items():
        for path in sorted((directory / "log" / tenant / "checkpoints").glob("[0-9]*")):
            if int(path.name.partition(".")[0]) <= size:  # signed since: not of this moment
                yield path


def _key_files(folder: Path) -> dict[str, bytes]:
    if not folder.is_dir():
        return {}
    return {path.name: read_or_make_secret(path, bytes) for path in sorted(folder.iterdir()) if path.is_file()}


def _put_keys(into: Path, keys: Mapping[str, bytes], passphrase: bytes) -> None:
    if not passphrase:
        (into / "keys").mkdir(mode=0o700)
        for name, content in keys.items():
            put_durably(into / "keys" / name, content)
        return
    salt, nonce = os.urandom(16), os.urandom(12)
    text = json.dumps({name: base64.b64encode(content).decode() for name, content in keys.items()}).encode()
    sealed = AESGCM(_stretched(passphrase, salt)).encrypt(nonce, text, _FORMAT.encode())
    put_durably(into / SEALED_KEYS, salt + nonce + sealed)


def _opened(backup: Backup, passphrase: bytes) -> dict[str, bytes]:
    if not passphrase:
        raise BackupKeysUnusable(backup=str(backup.path), problem="they are sealed under a passphrase")
    raw = (backup.path / SEALED_KEYS).read_bytes()
    try:
        text = AESGCM(_stretched(passphrase, raw[:16])).decrypt(raw[16:28], raw[28:], _FORMAT.encode())
    except InvalidTag:
        raise BackupKeysUnusable(backup=str(backup.path), problem="they are sealed under another passphrase") from None
    return {name: base64.b64decode(content) for name, content in json.loads(text).items()}


def _stretched(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, **_SCRYPT).derive(passphrase)


def _print(key: bytes) -> str:
    """Tells whether it is the same key, and nothing of the key: its bytes are random, or a signing key's."""
    return hashlib.sha256(b"answerable backup key\n" + key).hexdigest()[:32]


def _listed(path: Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return {"sha256": digest.hexdigest(), "bytes": size}


def _sync_all(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _is_alive(pid: str) -> bool:
    return pid.isdigit() and Path(f"/proc/{pid}").exists()
