"""A witness: cosigns a log's checkpoints, each only if it continues the last one that it cosigned.

Its folder: `witness.key`; `name`; `logs`, the verifier keys of the logs it knows, one a line; for each log, under
the hash of its origin, `checkpoint` as last cosigned; and in `conflicts/` signed heads that contradict it.

Source: C2SP tlog-witness; section names are cited where a rule comes from one.
"""

import base64
import fcntl
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from answerable.core import Clock, ConfigError, SystemClock
from answerable.ledger import FileSigner, Head, LogFolder, Signer, is_consistent
from answerable.witness._notes import (
    Note,
    NoteMalformed,
    VerifierKey,
    cosign,
    parse_head,
    parse_note,
    parse_vkey,
    vkey_of,
)

__all__ = ["Answer", "Witness", "WitnessBusy", "WitnessUnnamed", "kept_checkpoint", "make_signer", "make_witness"]

MOST_BYTES = 128 * 1024
_MOST_HASHES = 63
_MOST_CONFLICTS = 100
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")
_EMPTY = hashlib.sha256(b"").digest()


@dataclass(eq=False, kw_only=True)
class WitnessUnnamed(ConfigError):
    """A folder that is no witness's, a name that is none, or a key that has another role."""

    code = "config.witness_unnamed"
    what = "the witness in `{folder}` cannot be used: {problem}"
    why = "a witness is known by its name and key, which are written down in the trust of others"
    fix = "make one with `answerable witness init NAME`, a name like `witness.example/ada`"

    folder: str
    problem: str


@dataclass(eq=False, kw_only=True)
class WitnessBusy(ConfigError):
    """Another process is this witness."""

    code = "config.witness_busy"
    what = "another process runs the witness in `{folder}`"
    why = "two could cosign two histories of one log"
    fix = "stop that process first"

    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a witness answers, as HTTP says it."""

    status: int
    body: str
    content_type: str = "text/plain; charset=utf-8"


def make_witness(folder: Path, name: str) -> VerifierKey:
    """Name a new witness, and make its key; one that is there already keeps both.

    Raises:
        WitnessUnnamed: the name is none, or the folder's witness has another.
    """
    return make_signer(folder, name, "witness.key")


def make_signer(folder: Path, name: str, key: str) -> VerifierKey:
    """Name whoever signs from a folder, and make the key."""
    if not _NAME.fullmatch(name):
        raise WitnessUnnamed(folder=str(folder), problem=f"`{name}` is no name")
    named = folder / "name"
    if named.exists() and named.read_text("ascii").strip() != name:
        raise WitnessUnnamed(folder=str(folder), problem=f"its name is {named.read_text('ascii').strip()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    signer = FileSigner.open(folder / key)
    LogFolder(folder).put("name", name.encode() + b"\n")
    return vkey_of(signer, name, role="witness")


def kept_checkpoint(folder: Path, origin_hash: str) -> Answer:
    """The checkpoint last signed for a log, in the folder of a witness or monitor ("Monitor Retrieval Mechanism")."""
    path = folder / origin_hash / "checkpoint"
    # SECURITY: the name is matched before the path is looked at, so that it stays below the folder.
    if not re.fullmatch("[0-9a-f]{64}", origin_hash) or not path.exists():
        return Answer(status=404, body="no checkpoint of this log was signed\n")
    return Answer(status=200, body=path.read_text("utf-8"))


class Witness:
    """One witness. One process runs it, and answers one request at a time."""

    def __init__(self, folder: Path, name: str, signer: Signer, clock: Clock) -> None:
        self.folder = folder
        self.key = vkey_of(signer, name, role="witness")
        self._files = LogFolder(folder)
        self._signer = signer
        self._clock = clock
        self._lock = -1

    @classmethod
    def open(cls, folder: Path, *, clock: Clock | None = None) -> "Witness":
        """The witness of a folder.

        Raises:
            WitnessUnnamed: the folder is none's.
            KeyFileUnsafe: others can read its key.
        """
        try:
            name = (folder / "name").read_text("ascii").strip()
        except OSError:
            raise WitnessUnnamed(folder=str(folder), problem="it has no name") from None
        return cls(folder, name, FileSigner.open(folder / "witness.key"), clock or SystemClock())

    def __enter__(self) -> "Witness":
        """Take the folder for this process.

        Raises:
            WitnessBusy: another has it.
        """
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise WitnessBusy(folder=str(self.folder)) from None
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def logs(self) -> dict[str, list[VerifierKey]]:
        """The known logs' keys, by origin. Read each time: one that was added just now counts."""
        path = self.folder / "logs"
        found: dict[str, list[VerifierKey]] = {}
        for line in path.read_text("utf-8").splitlines() if path.exists() else []:
            key = parse_vkey(line, role="log")
            found.setdefault(key.name, []).append(key)
        return found

    def add_log(self, vkey: str) -> VerifierKey:
        """Know a log from now on; a further key of a known origin is taken as well.

        Raises:
            VerifierKeyMalformed: it is no log's key.
            WitnessUnnamed: it is the witness's own key.
        """
        key = parse_vkey(vkey, role="log")
        if key.public == self.key.public:
            raise WitnessUnnamed(folder=str(self.folder), problem="the log signs with the witness's own key")
        known = [each for keys in self.logs().values() for each in keys]
        if key not in known:
            self._files.put("logs", "".join(f"{each}\n" for each in [*known, key]).encode())
        return key

    def checkpoint(self, origin_hash: str) -> Answer:
        """The checkpoint last cosigned for a log."""
        return kept_checkpoint(self.folder, origin_hash)

    def add_checkpoint(self, body: bytes) -> Answer:
        """Cosign a checkpoint, or say why not ("add-checkpoint").

        INVARIANT: what is cosigned is on disk before the answer is given, so that no crash makes the
        witness forget it and cosign another history.
        """
        asked = _parse(body)
        if isinstance(asked, str):
            return Answer(status=400, body=asked + "\n")
        old, proof, note, head = asked
        keys = self.logs().get(head.origin)
        if not keys:
            return Answer(status=404, body="this witness does not know the log\n")
        mine = [key for key in keys if note.by(key)]
        if not mine or not all(note.is_signed_by(key) for key in mine):
            return Answer(status=403, body="the log's signature is missing or does not hold\n")
        if old > head.size:
            return Answer(status=400, body="the old size is larger than the checkpoint's\n")
        kept = self._kept(head.origin)
        if old != kept.size:
            self._note_conflict(note, head, kept)
            return Answer(status=409, body=f"{kept.size}\n", content_type="text/x.tlog.size")
        if (head.size == 0 and head.root != _EMPTY) or not is_consistent(
            old=old, old_root=kept.root, new=head.size, new_root=head.root, proof=proof
        ):
            self._keep_conflict(note, head)
            return Answer(status=422, body="the checkpoint does not continue the one cosigned before\n")
        line = cosign(self._signer, self.key.name, note.text, int(self._clock.now().timestamp()))
        signed = Note(text=note.text, lines=(*(each for key in mine for each in note.by(key)), line))
        self._files.put(f"{_hash(head.origin)}/checkpoint", str(signed).encode())
        return Answer(status=200, body=f"{line}\n")

    def conflicts(self) -> list[str]:
        """Heads that a log's key signed, and that contradict what the witness cosigned."""
        return [path.read_text("utf-8") for path in sorted((self.folder / "conflicts").glob("*"))]

    def _kept(self, origin: str) -> Head:
        path = self.folder / _hash(origin) / "checkpoint"
        return parse_head(parse_note(path.read_bytes())) if path.exists() else Head(origin=origin, size=0, root=_EMPTY)

    def _note_conflict(self, note: Note, head: Head, kept: Head) -> None:
        if head.size == kept.size and head.root != kept.root:
            self._keep_conflict(note, head)  # two roots of one size, both signed: proof of a split view

    def _keep_conflict(self, note: Note, head: Head) -> None:
        folder = self.folder / "conflicts"
        if not folder.exists() or len(list(folder.iterdir())) < _MOST_CONFLICTS:
            name = hashlib.sha256(note.text.encode()).hexdigest()
            self._files.put(f"conflicts/{_hash(head.origin)[:16]}-{head.size}-{name[:16]}", str(note).encode())


def _parse(body: bytes) -> tuple[int, list[bytes], Note, Head] | str:
    """The old size, the proof and the checkpoint of a request; what is wrong with it where something is."""
    head, gap, tail = body.partition(b"\n\n")
    if len(body) > MOST_BYTES or not gap:
        return "the request is too long, or has no empty line before the checkpoint"
    try:
        first, *lines = head.decode("ascii").split("\n")
        note = parse_note(tail)
        stated = parse_head(note)
        proof = [_hash_line(line) for line in lines]
    except (UnicodeDecodeError, NoteMalformed, ValueError) as error:
        return f"the request is malformed: {error}"
    old = _OLD.fullmatch(first)
    if old is None or len(proof) > _MOST_HASHES:
        return "the old size is not stated, or the proof is too long"
    return int(old[1]), proof, note, stated


def _hash_line(line: str) -> bytes:
    raw = base64.b64decode(line, validate=True)
    if len(raw) != 32 or base64.b64encode(raw).decode() != line:
        raise ValueError("a proof line is not a hash")
    return raw


def _hash(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()
