"""A gate that only agents of other users reach: its isolation is a fact of the kernel, not a promise.

Whoever connects is asked of the kernel (`SO_PEERCRED`). One of the gate's own user could read its keys and
memory, and root everything: both are refused, so that receipts may say `separate-user`.
"""

import json
import os
import pwd
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from answerable.core import ConfigError
from answerable.server._drivers._unix import PeerSocket
from answerable.server._errors import PeerRefused

if TYPE_CHECKING:
    from answerable.app import Answerable

__all__ = ["NotSeparate", "isolation_of", "separate_socket"]

Isolation = Literal["same-process", "same-user", "separate-user"]


@dataclass(eq=False, kw_only=True)
class NotSeparate(ConfigError):
    """The gate cannot be kept from its agents by users of the operating system."""

    code = "config.not_separate"
    what = "the gate cannot say that its agents are other users: {problem}"
    why = "whoever verifies the record relies on it: an agent of the gate's own user could read its keys"
    fix = "`docs/guides/separate-users.md` shows how to set it up; or serve without `--socket`"

    problem: str


def isolation_of(app: "Answerable", *, is_separate: bool) -> Isolation:
    """What receipts may say of how far agents are kept from this gate.

    Raises:
        NotSeparate: it is to be by users, and an agent's code runs in the gate's own process.
    """
    inside = app.runnable()
    if is_separate and inside:
        raise NotSeparate(problem=f"the code of agent `{inside[0]}` runs in the gate's own process")
    if inside:
        return "same-process"
    return "separate-user" if is_separate else "same-user"


def separate_socket(path: Path, data: Path, users: Sequence[str] = ()) -> PeerSocket:
    """A socket that takes connections of other users only.

    Args:
        data: the data directory, which no other user may look into.
        users: those who may connect, by name or number; all but the gate's own and root where there are none.

    Raises:
        NotSeparate: a user is unknown or the gate's own, others can read the data, or the socket cannot be made.
    """
    wanted = frozenset(_uid(user) for user in users)
    own = {os.geteuid(), 0}
    if refused := sorted(wanted & own):
        raise NotSeparate(problem=f"user {refused[0]} is the gate's own, or root")
    for folder in (data, data / "keys"):
        if folder.exists() and stat.S_IMODE(folder.stat().st_mode) & 0o077:
            raise NotSeparate(problem=f"other users can look into `{folder}`: `chmod go= {folder}`")
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.resolve().is_relative_to(data.resolve()):
        raise NotSeparate(problem="the socket is in the data directory, where other users cannot reach it")
    try:
        return PeerSocket(path, lambda uid: _admits(uid, own, wanted), _refusal)
    except OSError as error:
        raise NotSeparate(problem=f"no socket can be made at `{path}`: {error.strerror or error}") from None


def _admits(uid: int, own: Collection[int], wanted: Collection[int]) -> bool:
    return uid not in own and (not wanted or uid in wanted)


def _uid(user: str) -> int:
    try:
        return int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError:
        raise NotSeparate(problem=f"there is no user `{user}`") from None


def _refusal(uid: int) -> bytes:
    body = json.dumps({"error": PeerRefused(uid=uid).to_json()}).encode()
    head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body
