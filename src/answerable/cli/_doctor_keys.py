"""What `answerable doctor` finds of keys, of who can reach them, and of what evidence is worth by that."""

import json
import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from answerable.cli._say import ago
from answerable.core import AnswerableError, parse_time
from answerable.identity import list_access_keys
from answerable.ledger import SYSTEM, KeyLife, Reader, check_key, log_folder

__all__ = ["Finding", "assurance", "keys", "reach"]

_OLD = timedelta(days=365)
Verdict = Literal["ok", "look", "WRONG"]

_KEPT_APART: dict[str, tuple[Verdict, str]] = {
    "same-process": ("look", "agents ran in the gate's own process: their code could use its keys"),
    "same-user": (
        "look",
        "agents may be of the gate's own user: they could read its keys (`serve --socket` parts them)",
    ),
    "separate-user": ("ok", "agents were other users than the gate, as the kernel said of each"),
    "remote": ("ok", "agents were on other machines"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    said: str


def reach(data: Path) -> Iterator[Finding]:
    """Who else on the machine can get at the data directory and the keys in it."""
    folder = data / "keys"
    if not folder.is_dir():
        return
    paths = [data, folder, *sorted(folder.glob("*"))]
    strangers = [
        (path, path.stat().st_uid) for path in paths if path.stat().st_uid not in (os.geteuid(), data.stat().st_uid)
    ]
    for path, uid in strangers:
        yield Finding(
            what="owner", verdict="WRONG", said=f"{path} belongs to {_name(uid)}, who can read and replace it"
        )
    for path in paths[1:]:
        mode = stat.S_IMODE(path.stat().st_mode)
        is_private = not mode & 0o077
        fix = "" if is_private else "; others can read it: `chmod go= ` it, and `answerable keys rotate` the key"
        yield Finding(what="key file", verdict="ok" if is_private else "WRONG", said=f"{path} {mode:o}{fix}")
    mode = stat.S_IMODE(data.stat().st_mode)
    said = f"{data} {mode:o}, of {_name(data.stat().st_uid)}"
    yield Finding(what="data", verdict="look" if mode & 0o077 else "ok", said=said)
    above = data.absolute().parent
    mode = stat.S_IMODE(above.stat().st_mode)
    if mode & 0o022 and not mode & stat.S_ISVTX:
        yield Finding(
            what="data", verdict="WRONG", said=f"others may write in {above}, and put another directory in its place"
        )


def keys(reader: Reader) -> Iterator[Finding]:
    """How old the keys that sign are, and whether each signs."""
    now = datetime.now(UTC)
    lives = reader.keys_of(SYSTEM)
    for role in ("gate", "log"):
        in_use = [life for life in lives if life.role == role and life.is_in_use]
        if not in_use or (len(in_use) > 1 and not (reader.is_shared and role == "gate")):
            said = f"{len(in_use) or 'no'} {role} keys are in use: `answerable keys rotate {role}`"
            yield Finding(what=f"{role} key", verdict="WRONG", said=said)
        for life in in_use:
            yield _aged(f"{role} key", life, now)
        if role == "log" and reader.is_shared and not (reader.directory / "keys" / "log.key").exists():
            yield Finding(what="log key", verdict="ok", said="held by another gate of this record, not here")
            continue
        try:
            check_key(reader, role)
        except AnswerableError as error:
            yield Finding(what=f"{role} key", verdict="WRONG", said=error.message)
    people = [life for tenant in reader.tenants() if tenant != SYSTEM for life in reader.keys_of(tenant)]
    for life in people:
        if life.role == "signer" and life.is_in_use and now - parse_time(life.since) > _OLD:
            yield _aged("person key", life, now)
    for kind in ("agent", "person"):
        found = list_access_keys(kind, reader)
        old = [key for key in found if now - parse_time(key.since) > _OLD]
        said = f"{len(found)} keys with which {kind}s reach the gate" + (
            f", {len(old)} older than a year" if old else ""
        )
        yield Finding(what=f"{kind} keys", verdict="look" if old else "ok", said=said)


def assurance(data: Path, reader: Reader) -> Iterator[Finding]:
    """What a verifier with the right trust file would grant the latest evidence, and what keeps it from more."""
    latest = next(iter(reversed(reader.receipts())), None)
    if latest is None:
        return
    kind = str(latest.predicate["boundary"]["isolation"])
    verdict, said = _KEPT_APART.get(kind, ("WRONG", "unknown"))
    yield Finding(what="isolation", verdict=verdict, said=f"{kind}: {said}")
    path = log_folder(data, latest.predicate["tenant"]).path / "status.json"
    state = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if state.get("is_quorate"):
        grade, verdict = f"witnessed, isolation {kind}", "ok"
    else:
        grade = f"local, isolation {kind}: nobody outside saw the log, so this machine's owner could rewrite it"
        verdict = "look"
    yield Finding(what="assurance", verdict=verdict, said=grade)


def _aged(what: str, life: KeyLife, now: datetime) -> Finding:
    since = parse_time(life.since)
    is_old = now - since > _OLD
    said = f"{life.id[:16]} in use since {life.since[:10]} ({ago(since, now)}), kept in {life.kept or 'a file'}"
    return Finding(what=what, verdict="look" if is_old else "ok", said=said + ("; rotate it" if is_old else ""))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
