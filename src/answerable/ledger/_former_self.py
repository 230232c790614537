"""A gate of a shared record that is started again where it died: its runs need not wait for the end of its lease.

Whoever owns the lock of a data directory knows that the process that owned it before is gone, as in a store of one's
own (`docs/decisions/0007`). But a directory may have been copied, and then the copy's lock says nothing of the
original's owner: so it counts only on the same file, and since the machine was started.
"""

import json
from pathlib import Path

from answerable.ledger._standstill import put_durably

__all__ = ["FORMER", "former_self", "remember_self"]

FORMER = "worker.json"
_MACHINE = Path("/proc/sys/kernel/random/boot_id")


def former_self(directory: Path) -> str:
    """The boot of the process that owned this directory before, if it is known to be gone; empty where it is not.

    The caller owns the directory's lock.
    """
    try:
        said = json.loads((directory / FORMER).read_text("utf-8"))
        return str(said["boot"]) if said["place"] == _place(directory) else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def remember_self(directory: Path, boot: str) -> None:
    """Note for the next owner who this one was."""
    put_durably(directory / FORMER, json.dumps({"boot": boot, "place": _place(directory)}).encode() + b"\n")


def _place(directory: Path) -> list[str | int]:
    """This machine, since it was started, and the file that is locked."""
    lock = (directory / "lock").stat()
    return [_MACHINE.read_text("ascii").strip(), lock.st_dev, lock.st_ino]
