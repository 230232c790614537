"""Which commit and blob a file's exact bytes are, as git knows them."""

import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["GitIds", "committed"]

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class GitIds:
    """The commit that last changed a file, and the blob that its bytes are."""

    commit: str
    blob: str


def committed(path: Path, text: bytes) -> GitIds | None:
    """Where exactly these bytes stand in git; None if they are not what the current commit holds.

    The bytes are hashed here and not by git, so filters and line-end conversion never make two
    different files pass for one.
    """
    tree = _git(path.parent, "ls-tree", "-z", "HEAD", "--", path.name)
    # <mode> SP blob SP <id> TAB <name> NUL; a symbolic link (mode 120000) is not the file it leads to.
    mode, _, rest = tree.partition(" ")
    blob = rest.removeprefix("blob ").partition("\t")[0]
    if not blob or not mode.startswith("100") or blob != _blob_id(text, len(blob)):
        return None
    commit = _git(path.parent, "log", "-1", "--format=%H", "HEAD", "--", path.name).strip()
    return GitIds(commit=commit, blob=blob) if commit else None


def _blob_id(text: bytes, digits: int) -> str:
    """Source: git's object format; 40 digits are SHA-1, 64 are SHA-256."""
    body = b"blob %d\0%b" % (len(text), text)
    return hashlib.sha256(body).hexdigest() if digits == 64 else hashlib.sha1(body, usedforsecurity=False).hexdigest()


def _git(directory: Path, *arguments: str) -> str:
    # SECURITY: fsmonitor and a pager are commands that a repository's own configuration may name.
    command = ["git", "-C", str(directory), "--no-pager", "-c", "core.fsmonitor=false", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
