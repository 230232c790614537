"""A monitor: follows a log, keeps a copy of its own, and looks at every receipt that enters it.

It believes the trust file and its own copy, and nobody else. Whatever it finds once stays found: a log
that showed a fault is not vouched for again.

Source: C2SP tlog-tiles, "Log entries"; `docs/formats/log.md`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from answerable_verify._checkpoint import BadCheckpoint, Checkpoint, read_checkpoint
from answerable_verify._erasures import check_erasures
from answerable_verify._history import check_chain
from answerable_verify._keys import is_signed, key_id
from answerable_verify._mirror import Mirror, boot_of
from answerable_verify._people import check_people
from answerable_verify._receipt import BadReceipt, Receipt, pae, read_envelope, read_statement
from answerable_verify._steps import check_steps
from answerable_verify._trust import Trust
from answerable_verify._watchers import cosigned

__all__ = ["Alert", "Fetch", "Monitor", "Round"]

Fetch = Callable[[str], bytes | None]
"""Fetches a file below the log's prefix; None where there is none. What it raises ends the round."""

_WIDTH = 256
_LONGEST_LINE = 1 << 20
PASSING = frozenset({"silence"})
"""Alerts that end by themselves; all others are about what the log holds, and stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One thing that is wrong.

    Args:
        kind: `split-view`, `rewritten`, `gap`, `silence`, `key`, `signature`, or the check of `docs/formats/bundle.md`
            that a receipt fails.
        receipt: the receipt at fault, where there is one.
        evidence: signed notes that show it to others, where there are such.
    """

    kind: str
    what: str
    receipt: str = ""
    at: str = ""
    evidence: bytes = b""

    def to_json(self) -> dict[str, Any]:
        """The alert as JSON values."""
        said = {"kind": self.kind, "what": self.what, "receipt": self.receipt, "at": self.at}
        return {**said, "evidence": self.evidence.decode("utf-8", "replace")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one look at a log gave.

    Args:
        size: how far the log was checked.
        is_caught_up: nothing more is there to be checked.
        new: alerts that were not known before; `standing`: those that stay.
        shown: the checkpoint that the log shows, where it continues what was seen.
    """

    size: int
    is_caught_up: bool
    new: tuple[Alert, ...] = ()
    standing: tuple[Alert, ...] = ()
    shown: Checkpoint | None = None

    @property
    def is_clean(self) -> bool:
        """Whether all of the log was looked at and nothing was ever found."""
        return self.is_caught_up and not self.standing and not self.new


@dataclass(slots=True)
class Monitor:
    """Watches one log.

    Args:
        trust: whose log and gate it is.
        retired: when gate and log keys went out of use, by key id, as the log of keys says.
        silence: how long the log may stay without a new checkpoint; None for as long as it likes.
    """

    trust: Trust
    mirror: Mirror
    fetch: Fetch
    retired: Mapping[str, str] = field(default_factory=dict)
    silence: timedelta | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _new: list[Alert] = field(default_factory=list)
    _newest: str = ""

    def look(self, *, witnesses: Sequence[tuple[str, Fetch]] = ()) -> Round:
        """Take in what is new, check it, and compare with what witnesses were shown."""
        self._new = []
        shown = self._follow()
        self._newest = ""
        is_whole = self._look_at_receipts()
        if shown is not None:
            self._check_signer(shown)
        for name, fetch in witnesses:
            self._compare(name, fetch(f"{hashlib.sha256(self.trust.origin.encode()).hexdigest()}/checkpoint"))
        return Round(
            size=self.mirror.head[0],
            is_caught_up=is_whole and shown is not None,
            new=tuple(self._new),
            standing=self.standing(),
            shown=shown,
        )

    def standing(self) -> tuple[Alert, ...]:
        """What was found and stays."""
        return tuple(
            Alert(kind=kind, what=what, receipt=receipt, at=at, evidence=evidence)
            for kind, what, receipt, at, evidence in self.mirror.alerts()
        )

    def _follow(self) -> Checkpoint | None:
        """Take in the log's checkpoint and the entries under it; None where they cannot be."""
        raw = self.fetch("checkpoint")
        if raw is None:
            self._alert("silence", "the log shows no checkpoint")
            return None
        checkpoint = self._read(raw, "the log")
        if checkpoint is None:
            return None
        size, root, note, seen = self.mirror.head
        if checkpoint.size < size:
            self._alert("rewritten", f"the log shrank from {size} entries to {checkpoint.size}", evidence=note + raw)
            return None
        if checkpoint.size > size:
            return checkpoint if self._take(checkpoint, raw) else None
        if checkpoint.root != root:
            self._alert("split-view", f"two root hashes for {size} entries", evidence=note + raw)
            return None
        if self.silence is not None and seen and self.now() - datetime.fromisoformat(seen) > self.silence:
            self._alert("silence", f"no new checkpoint since {seen}")
        return checkpoint

    def _take(self, checkpoint: Checkpoint, raw: bytes) -> bool:
        """Take in the entries that the checkpoint adds, if they continue those that were seen."""
        size, _, known, _ = self.mirror.head
        entries: list[bytes] = []
        while size + len(entries) < checkpoint.size:
            index, skip = divmod(size + len(entries), _WIDTH)
            bundle = self._bundle(index, min(_WIDTH, checkpoint.size - index * _WIDTH))
            if bundle is None:
                self._alert("silence", f"the entries from {index * _WIDTH} on are not served")
                return False
            entries += bundle[skip:]
        peaks, root = self.mirror.grown(entries)
        if root != checkpoint.root:
            what = (
                f"the {checkpoint.size} entries served do not continue the {size} seen before, or are not those signed"
            )
            self._alert("rewritten", what, evidence=known + raw)
            return False
        self.mirror.keep(entries, peaks=peaks, root=root, note=raw, seen=self._time())
        return True

    def _look_at_receipts(self) -> bool:
        """Judge the receipts that were not looked at yet; whether all of them were."""
        while waiting := self.mirror.to_judge(_WIDTH):
            index, skip = divmod(waiting[0][0], _WIDTH)
            width = min(_WIDTH, self.mirror.head[0] - index * _WIDTH)
            lines = self._receipts(index, width)
            if lines is None:
                self._alert("silence", f"the receipts from entry {waiting[0][0]} on are not served")
                return False
            pairs = list(zip(waiting, lines[skip:], strict=False))
            found = [(leaf, self._judge(leaf, entry, line), line) for (leaf, entry), line in pairs]
            receipts = [receipt for _, receipt, _ in found if receipt]
            self._check_order(receipts)
            self.mirror.judged(found)
            for run in sorted({receipt.run for receipt in receipts}):
                if not run.startswith("control:"):
                    known = self.mirror.run(run)
                    check_steps(known, say=self._say)
                    check_erasures(known, say=self._say)
        return True

    def _judge(self, leaf: int, entry: bytes, envelope: bytes) -> Receipt | None:
        """The receipt behind an entry, if it is one that a trusted key signed in its time."""
        if hashlib.sha256(envelope).digest() != entry:
            if envelope:
                self._alert("gap", f"what is served for entry {leaf} is not what was logged")
            else:
                self._alert("gap", f"the receipt of entry {leaf} is withheld")
            return None
        try:
            signed = read_envelope(envelope)
            receipt = read_statement(signed, entry, f"entry {leaf}")
        except BadReceipt as error:
            self._alert(error.check, f"entry {leaf}: {error}", error.receipt)
            return None
        if receipt.tenant != self.trust.origin.rpartition("/")[2]:
            self._alert("checkpoint", "of another tenant than the log's", receipt.id)
        public = self.trust.gate_keys.get(receipt.key_id)
        if public is None:
            self._alert("key", f"signed by {receipt.key_id[:16]}…, a key that the trust file does not name", receipt.id)
        elif not is_signed(pae(signed.body), signed.signature, public):
            self._alert("signature", "the signature does not hold", receipt.id)
        at = receipt.at
        if not self._was_in_use(receipt.key_id, at):
            self._alert("key", f"written at {at}, when its key was not in use", receipt.id)
        self._newest = max(self._newest, at)
        if check_people([receipt], pinned=self.trust.people_keys, say=self._say):
            signature = receipt.section("control")["signature"]
            person = signature.get("key") if isinstance(signature, dict) else None
            if isinstance(person, str) and not self._was_in_use(person, at):
                self._alert("key", f"answered at {at}, when the person's key was not in use", receipt.id)
        return receipt

    def _was_in_use(self, key: str, at: str) -> bool:
        """Whether a key, named by its id, was in use then, by the trust file and by the log of keys."""
        start, until = self.trust.periods.get(key, ("", ""))
        return not (start and at < start) and not any(time and at > time for time in (until, self.retired.get(key)))

    def _check_signer(self, shown: Checkpoint) -> None:
        """Check that the log key that signed the newest checkpoint was in use when what it added was written.

        SECURITY: a retired key that fell into other hands could sign a longer log than it ever did.
        """
        signers = [key for key in self.trust.log_keys if shown.is_signed_by(key)]
        if self._newest and not any(self._was_in_use(key_id(key), self._newest) for key in signers):
            self._alert("key", f"a log key out of use signed for {shown.size} entries, the newest of {self._newest}")

    def _check_order(self, receipts: Sequence[Receipt]) -> None:
        """Check chains and counters over the edge of what is known already."""
        runs: dict[str, list[Receipt]] = {}
        boots: dict[str, list[Receipt]] = {}
        for receipt in receipts:
            runs.setdefault(receipt.run, []).append(receipt)
            boots.setdefault(boot_of(receipt), []).append(receipt)
        for run, new in runs.items():
            before = self.mirror.last_of_run(run)
            known = [before, *new] if before else new
            check_chain(
                known,
                damaged=set(),
                say=self._say,
                may_begin_late=before is not None,
                is_closed=not run.startswith("control:")
                and any(each.phase == "run.close" for each in self.mirror.run(run)),
            )
        for boot, new in boots.items():
            before = self.mirror.last_of_boot(boot)
            wanted = before.n + 1 if before else 0
            for receipt in new:
                if (n := receipt.n) != wanted:
                    self._alert("gap", f"boundary.n is {n} where {wanted} comes next: a receipt is missing", receipt.id)
                wanted = n + 1

    def _compare(self, name: str, raw: bytes | None) -> None:
        """Compare with what a witness was shown: both heads are signed by the log, so a difference is proof."""
        theirs = self._read(raw, f"the witness {name}") if raw else None
        if raw is None or theirs is None:
            return
        size, _, note, _ = self.mirror.head
        if theirs.size <= size and self.mirror.root_at(theirs.size) != theirs.root:
            what = f"the witness {name} was shown another history of {theirs.size} entries"
            self._alert("split-view", what, evidence=note + raw)
        elif theirs.size > size:
            fresh = self.fetch("checkpoint")
            again = self._read(fresh, "the log") if fresh else None
            if again and again.size < theirs.size:
                what = f"the witness {name} was shown {theirs.size} entries, and this monitor {again.size}"
                self._alert("split-view", what, evidence=(fresh or b"") + raw)

    def _read(self, raw: bytes, who: str) -> Checkpoint | None:
        try:
            checkpoint = read_checkpoint(raw)
        except BadCheckpoint as error:
            self._alert("signature", f"{who} shows no checkpoint: {error}")
            return None
        if checkpoint.origin != self.trust.origin or not any(
            checkpoint.is_signed_by(key) for key in self.trust.log_keys
        ):
            self._alert("signature", f"{who} shows a checkpoint that is not signed by the log's key")
            return None
        _, false = cosigned(checkpoint, self.trust.witnesses)
        for witness in false:
            self._alert("signature", f"{who} shows a cosignature of `{witness.name}` that does not hold", evidence=raw)
        return checkpoint

    def _bundle(self, index: int, width: int) -> list[bytes] | None:
        raw = self._part("tile/entries", index, width)
        if raw is None:
            return None
        entries, at = [], 0
        while at < len(raw):
            length = int.from_bytes(raw[at : at + 2], "big")
            entries.append(raw[at + 2 : at + 2 + length])
            at += 2 + length
        return entries[:width] if at == len(raw) and len(entries) >= width and all(entries) else None

    def _receipts(self, index: int, width: int) -> list[bytes] | None:
        raw = self._part("receipts", index, width)
        if raw is None:
            return None
        lines = raw.split(b"\n")[:-1]
        return lines[:width] if len(lines) >= width and all(len(line) < _LONGEST_LINE for line in lines) else None

    def _part(self, kind: str, index: int, width: int) -> bytes | None:
        """A bundle; where the partial one is gone, the full one that replaced it."""
        parts = [f"{index % 1000:03d}"]
        while index := index // 1000:
            parts.insert(0, f"x{index % 1000:03d}")
        path = f"{kind}/{'/'.join(parts)}"
        found = self.fetch(f"{path}.p/{width}") if width < _WIDTH else None
        return found if found is not None else self.fetch(path)

    def _say(self, check: str, what: str, receipt: Receipt | None) -> None:
        self._alert(check, what, receipt.id if receipt else "")

    def _alert(self, kind: str, what: str, receipt: str = "", *, evidence: bytes = b"") -> None:
        alert = Alert(kind=kind, what=what, receipt=receipt, at=self._time(), evidence=evidence)
        is_new = kind in PASSING or self.mirror.alert(kind, what, receipt, alert.at, evidence)
        if is_new:
            self._new.append(alert)

    def _time(self) -> str:
        return self.now().astimezone(UTC).isoformat(timespec="seconds")[:19] + "Z"
