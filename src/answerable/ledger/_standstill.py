"""Why a record may not be gone on with: it was restored, or somebody outside has seen more of it.

Two histories of one log would both be signed by its key. So what may be an old copy is read as before
and never written, until a person has said how it goes on (`answerable log continue`). The reason lies
in the data directory as `standstill.json`, for whichever process comes next.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from answerable.core import AnswerableError, EvidenceError, Refused

__all__ = [
    "LogBehind",
    "Standstill",
    "StoreMoved",
    "StoreRestored",
    "check_may_go_on",
    "lift_standstill",
    "put_durably",
    "read_standstill",
    "stand_still",
]

_NAME = "standstill.json"


@dataclass(eq=False, kw_only=True)
class StoreRestored(Refused):
    """The record came from a backup, and nobody has said yet how it goes on."""

    code = "refused.store_restored"
    what = "nothing is written to `{directory}`: it was restored from a backup made at {made}"
    why = "what was written after the backup may be known to others, and its log must not be given a second history"
    fix = "say with `answerable log continue` how it goes on: `--nothing-lost` or `--after-gap`"

    directory: str
    made: str


@dataclass(eq=False, kw_only=True)
class StoreMoved(Refused):
    """The database is a copy of the one that the record was written in, and nobody has said yet how it goes on."""

    code = "refused.store_moved"
    what = "nothing is written to `{directory}`: {store} is a copy of the database that its record was written in"
    why = "what was written after the copy was made may be known to others, and the log must not get a second history"
    fix = "say with `answerable log continue` how it goes on: `--nothing-lost` or `--after-gap`; or name the original"

    directory: str
    store: str


@dataclass(eq=False, kw_only=True)
class LogBehind(EvidenceError):
    """Somebody outside has seen more of a log than the record holds, or another history of it."""

    code = "evidence.log_behind"
    what = (
        "nothing is written to `{directory}`: of the log `{origin}` {who} has seen {seen}, and it holds {size} entries"
    )
    why = "the record is an older copy, or was changed; whatever it added now would contradict what was seen"
    fix = "restore the newest backup, or say with `answerable log continue --after-gap` that entries are lost"

    directory: str
    origin: str
    size: int
    who: str
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standstill:
    """A reason not to go on.

    Args:
        id: names the occasion: a backup's id, or when it was noticed.
        at: when it was restored or noticed, RFC 3339 UTC.
        made: when the backup was made.
        seen: entries of a log that are known to have existed, by origin.
        who: who has seen them; of a record that moved, the database it is in.
    """

    kind: Literal["restored", "behind", "moved"]
    id: str
    at: str
    made: str = ""
    seen: Mapping[str, int] = field(default_factory=dict)
    who: str = ""
    origin: str = ""
    size: int = 0
    said: str = ""

    @classmethod
    def behind(cls, who: str, origin: str, size: int, *, seen: int, at: str) -> "Standstill":
        """Somebody has seen a log of `size` entries with more; or, where `seen` is no more, with others."""
        said = f"{seen} entries" if seen > size else "another history"
        return cls(kind="behind", id=at, at=at, who=who, origin=origin, size=size, said=said, seen={origin: seen})

    def error(self, directory: Path) -> AnswerableError:
        """As it is told to whoever wants to write."""
        if self.kind == "restored":
            return StoreRestored(directory=str(directory), made=self.made)
        if self.kind == "moved":
            return StoreMoved(directory=str(directory), store=self.who)
        return LogBehind(directory=str(directory), origin=self.origin, size=self.size, who=self.who, seen=self.said)


def check_may_go_on(directory: Path) -> None:
    """Raise the reason why nothing may be written, where there is one."""
    reason = read_standstill(directory)
    if reason is not None:
        raise reason.error(directory)


def read_standstill(directory: Path) -> Standstill | None:
    """Why the record may not be gone on with, if there is a reason."""
    path = directory / _NAME
    if not path.exists():
        return None
    try:
        return Standstill(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        # SECURITY: a reason that cannot be read is a reason all the same.
        return Standstill(kind="restored", id="unreadable", at="", made=f"a time that `{_NAME}` does not tell")


def stand_still(directory: Path, reason: Standstill) -> None:
    """Note the reason, durably; one that is there already stays."""
    if not (directory / _NAME).exists():
        put_durably(directory / _NAME, json.dumps(asdict(reason), indent=1, sort_keys=True).encode() + b"\n")


def lift_standstill(directory: Path) -> None:
    """It was said how the record goes on."""
    (directory / _NAME).unlink(missing_ok=True)
    sync_folder(directory)


def put_durably(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write one file so that a crash leaves the old one or the new one."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
