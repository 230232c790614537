"""The files of the project, as git sees them: tracked, or new and not ignored."""

import functools
import subprocess
from pathlib import Path

__all__ = ["ROOT", "texts"]

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def texts(*endings: str) -> dict[str, str]:
    """By path, the text of every file whose name ends in one of `endings` (all text files where none is given)."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=30,
    )
    found = {}
    for name in sorted(set(listing.stdout.decode().split("\0")) - {""}):
        path = ROOT / name
        if path.is_file() and (not endings or name.endswith(endings)):
            body = path.read_bytes()
            if b"\0" not in body:
                found[name] = body.decode()
    return found
