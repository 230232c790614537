"""Which store a data directory's record is in: a file in it, or a Postgres database that others write too.

The directory says so itself (`store.toml`), so whoever is given the directory finds the record.
"""

import json
import os
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from answerable.core import ConfigError
from answerable.ledger._drivers._sqlite import SqliteStore
from answerable.ledger._keys import FileSigner, read_or_make_secret
from answerable.ledger._ports import Store

__all__ = [
    "ADDRESS",
    "DATABASE",
    "DriverMissing",
    "KeysElsewhere",
    "StoreElsewhere",
    "join_store",
    "shared_store",
    "store_of",
    "use_store",
    "write_address",
]

DATABASE = "answerable.sqlite3"
ADDRESS = "store.toml"
_SCHEMES = ("postgresql", "postgres")


@dataclass(eq=False, kw_only=True)
class StoreElsewhere(ConfigError):
    """A data directory was told of another store than the one its record is in."""

    code = "config.store_elsewhere"
    what = "the record of `{directory}` is in {known}, and cannot be begun again in {asked}"
    why = "a record that goes on in two places is two records, and neither is whole"
    fix = "take the store it has; `answerable store copy` brings a record from a directory to a database"

    directory: str
    known: str
    asked: str


@dataclass(eq=False, kw_only=True)
class DriverMissing(ConfigError):
    """The record is in a database whose driver is not installed, or that no driver is for."""

    code = "config.driver_missing"
    what = "there is no driver for the store {address}"
    why = "the store is named by a `postgresql://` address, and its driver comes with an extra"
    fix = "install it with `pip install 'answerable[postgres]'`, or correct the address"

    address: str


@dataclass(eq=False, kw_only=True)
class KeysElsewhere(ConfigError):
    """A worker of a shared store has other keys than the ones the record was begun with."""

    code = "config.keys_elsewhere"
    what = "`{directory}` does not hold the {key} of the record in {address}"
    why = "the gates of one record share the key that opens its texts, and those that enter its log share the log key"
    fix = "prepare the directory with `answerable store join`, or copy the key from another worker's `keys/`"

    directory: str
    key: str
    address: str


def store_of(directory: Path) -> Store:
    """The store that the record of a data directory is in, or would be."""
    path = directory / ADDRESS
    if not path.exists():
        return SqliteStore(directory / DATABASE)
    return shared_store(tomllib.loads(path.read_text(encoding="utf-8"))["url"])


def use_store(directory: Path, url: str) -> None:
    """Keep the record of a data directory in a database from the beginning; an empty `url` asks for nothing.

    Raises:
        StoreElsewhere: there is a record already, and it is somewhere else.
        DriverMissing: the database is none we know, or its driver is not installed.
    """
    if not url:
        return
    asked, known = shared_store(url), store_of(directory)
    if known.address == asked.address:
        return
    if known.exists() or known.is_shared:
        raise StoreElsewhere(directory=str(directory), known=known.address, asked=asked.address)
    write_address(directory, url)


def join_store(worker: Path, directory: Path, *, enters_log: bool = False) -> None:
    """Prepare a data directory for one more worker of a shared store: its address, the master key, a gate key.

    Args:
        directory: of a worker that is one already; its keys are copied from there.
        enters_log: whether the log's key goes too: a worker that has it can take over as the log's sequencer.

    Raises:
        StoreElsewhere: the worker's directory has a record already, or the other one's is in a file.
    """
    store = store_of(directory)
    if not store.is_shared or store_of(worker).exists() or (worker / "keys" / "master.key").exists():
        raise StoreElsewhere(directory=str(worker), known=store_of(worker).address, asked=store.address)
    (worker / "keys").mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("master.key", "log.key") if enters_log else ("master.key",):
        read_or_make_secret(worker / "keys" / name, (directory / "keys" / name).read_bytes)
    FileSigner.open(worker / "keys" / "gate.key")
    shutil.copyfile(directory / ADDRESS, worker / ADDRESS)
    (worker / ADDRESS).chmod(0o600)


def write_address(directory: Path, url: str) -> None:
    """From now on the directory's record is there. The file may hold a password, so only its owner reads it."""
    fresh = directory / f".{ADDRESS}.{os.getpid()}"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(f"# Where the record of this data directory is.\nurl = {json.dumps(url)}\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(directory / ADDRESS)


def shared_store(url: str) -> Store:
    """The database at an address; raises DriverMissing where it is none we know."""
    if url.partition("://")[0] not in _SCHEMES:
        raise DriverMissing(address=url.partition(":")[0])
    try:
        from answerable.ledger._drivers._postgres import PostgresStore
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("answerable"):
            raise
        raise DriverMissing(address="postgresql:") from None
    return PostgresStore(url)
