"""The list of erasures: a file that outlives the record it belongs to.

A backup made before an erasure still holds what was erased. So each erasure is entered in a list, durably and before
anything is dropped: in the data directory, and beside the backups at every place that one was made to. Whoever restores
an old backup drops what the lists name before anybody can read it. The list names people by pseudonym only.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from answerable.core import EvidenceError, TenantId
from answerable.ledger._standstill import put_durably

__all__ = ["Erasure", "ErasureListDamaged", "ErasureLists", "merge_erasures", "put_erasures", "read_erasures"]

LIST = "erasures.jsonl"
_PLACES = "erasures.places"


@dataclass(eq=False, kw_only=True)
class ErasureListDamaged(EvidenceError):
    """A list of erasures cannot be read."""

    code = "evidence.erasure_list_damaged"
    what = "the list of erasures `{path}` cannot be read: {problem}"
    why = "what it named might come back with an old backup"
    fix = "restore the list from another place that backups are kept at"

    path: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What was erased: every text about a person, or every text of a run.

    Args:
        id: `era_` and 24 hexadecimal digits; its receipts name it.
        at: when it was ordered, RFC 3339 UTC.
        subject: the person's pseudonym; empty for a run.
    """

    id: str
    tenant: TenantId
    at: str
    subject: str = ""
    run: str = ""


class ErasureLists:
    """The list of a data directory, and the places that keep a copy of it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def entries(self) -> list[Erasure]:
        """All erasures that were ordered here, the oldest first.

        Raises:
            ErasureListDamaged: it cannot be read.
        """
        return read_erasures(self._directory / LIST)

    def places(self) -> list[Path]:
        """Where backups were made to."""
        path = self._directory / _PLACES
        return [Path(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    def know_place(self, place: Path) -> None:
        """Keep a copy of the list there from now on; what is listed there already counts here too."""
        places = self.places()
        if place.absolute() not in places:
            lines = [f"{each}\n" for each in [*places, place.absolute()]]
            put_durably(self._directory / _PLACES, "".join(lines).encode())
        self.tell(place)

    def add(self, erasure: Erasure) -> list[Path]:
        """Enter an erasure, on disk when this returns; the places that could not be told come back."""
        put_erasures(self._directory / LIST, [erasure])
        missed = []
        for place in self.places():
            try:
                self.tell(place)
            except OSError:
                missed.append(place)
        return missed

    def tell(self, place: Path) -> None:
        """Bring the copy at a place up to this list."""
        if not place.is_dir():
            raise FileNotFoundError(place)
        put_erasures(place / LIST, self.entries())


def read_erasures(path: Path) -> list[Erasure]:
    """The erasures in a list; none where there is no list.

    Raises:
        ErasureListDamaged: it cannot be read.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_bytes().split(b"\n")
        # What follows the last end of a line was cut off by a crash: its erasure had not begun.
        return [Erasure(**json.loads(line)) for line in lines[:-1]]
    except (OSError, ValueError, TypeError) as error:
        raise ErasureListDamaged(path=str(path), problem=type(error).__name__) from None


def merge_erasures(lists: Iterable[Sequence[Erasure]]) -> list[Erasure]:
    """All that any of the lists names, each once, the oldest first."""
    found = {each.id: each for one in lists for each in one}
    return sorted(found.values(), key=lambda each: (each.at, each.id))


def put_erasures(path: Path, erasures: Sequence[Erasure]) -> None:
    """Append what the list lacks. INVARIANT: a line is whole or was never there."""
    known = {each.id for each in read_erasures(path)}
    lines = "".join(json.dumps(asdict(each), sort_keys=True) + "\n" for each in erasures if each.id not in known)
    if not lines:
        return
    whole = path.read_bytes() if path.exists() else b""
    if whole and not whole.endswith(b"\n"):  # the rest of a line that a crash cut off
        put_durably(path, whole[: whole.rfind(b"\n") + 1] + lines.encode())
        return
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(lines.encode())
        file.flush()
        os.fsync(file.fileno())
