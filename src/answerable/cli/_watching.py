"""A monitor's folder: which logs it follows, and what it signs for them.

For each log, under the hash of its origin: `log.json`, `trust.toml`, `secret`, `mirror.sqlite3`, and `checkpoint`, the
last one under which every receipt was looked at and nothing was ever found, with the monitor's own signature.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from answerable.cli._errors import FileUnusable
from answerable.ledger import FileSigner, LogFolder
from answerable.witness import (
    Unreachable,
    VerifierKey,
    WitnessUnnamed,
    cosign,
    fetching,
    make_signer,
    parse_head,
    parse_note,
    vkey_of,
)
from answerable_verify import Alert, BadTrust, Mirror, Monitor, Round, Trust, read_trust

__all__ = ["Followed", "Watching"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A log that is followed.

    Args:
        url: its prefix.
        witnesses: where witnesses show what they cosigned for it.
        silence_s: how long it may stay without growing; None for as long as it likes.
    """

    origin: str
    url: str
    witnesses: tuple[str, ...] = ()
    silence_s: float | None = None

    @property
    def place(self) -> str:
        """The name of its folder."""
        return hashlib.sha256(self.origin.encode()).hexdigest()


class Watching:
    """One monitor and its logs."""

    def __init__(self, folder: Path) -> None:
        try:
            self.name = (folder / "name").read_text("ascii").strip()
        except OSError:
            raise WitnessUnnamed(folder=str(folder), problem="it has no name") from None
        self.folder = folder
        self._files = LogFolder(folder)
        self._signer = FileSigner.open(folder / "monitor.key")

    @classmethod
    def make(cls, folder: Path, name: str) -> "Watching":
        """Name a new monitor, and make its key."""
        make_signer(folder, name, "monitor.key")
        return cls(folder)

    @property
    def vkey(self) -> VerifierKey:
        """What others write down of it."""
        return vkey_of(self._signer, self.name, role="witness")

    def add(self, url: str, trust: Path, *, secret: str, witnesses: Sequence[str], silence_s: float | None) -> Followed:
        """Follow a log from now on.

        Raises:
            FileUnusable: the trust file cannot be used.
        """
        try:
            origin = read_trust(trust).origin
        except BadTrust as error:
            raise FileUnusable(file=str(trust), reason=str(error)) from None
        followed = Followed(origin=origin, url=url.rstrip("/"), witnesses=tuple(witnesses), silence_s=silence_s)
        self._files.put(f"{followed.place}/trust.toml", trust.read_bytes())
        self._files.put(f"{followed.place}/log.json", json.dumps(asdict(followed)).encode())
        path = self.folder / followed.place / "secret"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secret)
        return followed

    def logs(self) -> list[Followed]:
        """The logs that are followed, those of keys first: the others are held against them."""
        found = []
        for path in sorted(self.folder.glob("*/log.json")):
            said: dict[str, Any] = json.loads(path.read_text("utf-8"))
            found.append(Followed(**{**said, "witnesses": tuple(said["witnesses"])}))
        return sorted(found, key=lambda each: not each.origin.endswith("/_system"))

    def look(self, followed: Followed) -> Round:
        """Look at one log, and sign its checkpoint if nothing was ever found. Who cannot be reached is an alert."""
        place = self.folder / followed.place
        try:
            trust = read_trust(place / "trust.toml")
        except BadTrust as error:
            raise FileUnusable(file=str(place / "trust.toml"), reason=str(error)) from None
        secret = (place / "secret").read_text().strip()
        with contextlib.ExitStack() as stack:
            mirror = stack.enter_context(contextlib.closing(Mirror(place / "mirror.sqlite3")))
            monitor = Monitor(
                trust=trust,
                mirror=mirror,
                fetch=stack.enter_context(fetching(followed.url, secret=secret)),
                retired=self._retired(trust),
                silence=None if followed.silence_s is None else timedelta(seconds=followed.silence_s),
            )
            seen = [(url, stack.enter_context(fetching(url))) for url in followed.witnesses]
            try:
                found = monitor.look(witnesses=seen)
            except Unreachable as error:
                at = datetime.now(UTC).isoformat(timespec="seconds")[:19] + "Z"
                silent = Alert(kind="silence", what=error.message, at=at)
                return Round(size=mirror.head[0], is_caught_up=False, new=(silent,), standing=monitor.standing())
            if found.is_clean and found.shown:
                self._sign(followed, mirror.head[2])
            return found

    def show(self, followed: Followed) -> dict[str, Any]:
        """How a log stands, without looking at it."""
        place = self.folder / followed.place
        signed = place / "checkpoint"
        with contextlib.closing(Mirror(place / "mirror.sqlite3")) as mirror:
            alerts = [Alert(kind=k, what=w, receipt=r, at=at, evidence=e) for k, w, r, at, e in mirror.alerts()]
            size = mirror.head[0]
        vouched = parse_head(parse_note(signed.read_bytes())).size if signed.exists() else 0
        return {**asdict(followed), "seen": size, "signed": vouched, "alerts": [alert.to_json() for alert in alerts]}

    def _sign(self, followed: Followed, raw: bytes) -> None:
        note = parse_note(raw)
        line = cosign(self._signer, self.name, note.text, int(datetime.now(UTC).timestamp()))
        self._files.put(f"{followed.place}/checkpoint", str(replace(note, lines=(*note.lines, line))).encode())

    def _retired(self, trust: Trust) -> dict[str, str]:
        """When gate and log keys went out of use, as the log of keys of the same gate says, if it is followed."""
        system = Followed(origin=f"{trust.origin.rpartition('/')[0]}/_system", url="")
        path = self.folder / system.place / "mirror.sqlite3"
        if not path.exists():
            return {}
        with contextlib.closing(Mirror(path)) as mirror:
            return dict(_ends(mirror))


def _ends(mirror: Mirror) -> Iterator[tuple[str, str]]:
    for receipt in mirror.key_receipts():
        control = receipt.section("control")
        if control.get("role") in ("gate", "log") and control.get("state") == "retired":
            yield str(control.get("id")), receipt.at
