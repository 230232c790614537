"""Publishes a gate's logs behind its commits, and collects what others sign for them."""

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from answerable.core import AnswerableError, Clock, SystemClock, TenantId, format_time
from answerable.ledger import (
    Head,
    LogContradicted,
    LogFolder,
    Reader,
    RecordTiles,
    Standstill,
    Tree,
    consistency_proof,
    log_folder,
)
from answerable.witness._config import NAME, LogConfig, LogConfigInvalid
from answerable.witness._drivers import AsyncHttp
from answerable.witness._errors import Unreachable
from answerable.witness._notes import (
    COSIGNER,
    Note,
    NoteLine,
    NoteMalformed,
    cosigned_at,
    parse_head,
    parse_lines,
    parse_note,
)
from answerable.witness._ports import Http, HttpReply
from answerable.witness._quorum import WitnessAt
from answerable.witness._timestamps import CONTENT_TYPE, TimestampInvalid, ask_for, check_answer

__all__ = ["Publisher", "Watched", "publishing", "seen_elsewhere"]

_log = logging.getLogger(__name__)
_TRIES = 3  # at a witness: it says which size it knows, and another publisher may have been there in between


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """How a log stands with those who watch it; kept as `status.json` in its folder.

    Args:
        size: of the checkpoint that was published last.
        cosigned: names of witnesses and monitors that signed it.
        is_quorate: whether these witnesses are enough.
        stamped: authorities that stamped it.
        troubles: what went wrong, by who was asked.
    """

    origin: str
    size: int
    at: str
    cosigned: tuple[str, ...] = ()
    is_quorate: bool = False
    stamped: tuple[str, ...] = ()
    troubles: dict[str, str] = field(default_factory=dict)


class Publisher:
    """Brings every tenant's folder up to the record, and asks witnesses, authorities and monitors.

    Raises:
        LogConfigInvalid: a watcher has the gate's or the log's own key.
    """

    def __init__(self, directory: Path, config: LogConfig, http: Http, *, clock: Clock | None = None) -> None:
        self._directory = directory
        self._config = config
        self._http = http
        self._clock = clock or SystemClock()
        self._reader = Reader.open(directory)
        _check_apart(directory, config, self._reader)
        self._sizes: dict[tuple[str, str], int] = {}  # what each witness cosigned last, by key and origin
        self._stamped: dict[tuple[str, str], float] = {}
        self._told: dict[str, dict[str, str]] = {}
        self.rounds = 0
        self.behind: Standstill | None = None
        """What somebody has seen that the record does not hold: it must not be added to."""

    def close(self) -> None:
        """Let go of the record."""
        self._reader.close()

    async def run(self, *, on_behind: Callable[[Standstill], None] = lambda reason: None) -> None:
        """Publish until cancelled.

        Args:
            on_behind: called when somebody turns out to have seen more than the record holds.
        """
        while True:
            try:
                for watched in await self.publish():
                    self._tell(watched)
                if self.behind is not None:
                    on_behind(self.behind)
            except Exception as error:  # noqa: BLE001 - a full disk, a record that was changed: the gate goes on
                said = error.message if isinstance(error, AnswerableError) else repr(error)
                self._tell(Watched(origin="", size=0, at="", troubles={"publication": said}))
            self.rounds += 1
            await asyncio.sleep(self._config.publish_every_s)

    async def publish(self) -> list[Watched]:
        """One round over all tenants.

        Where the record contradicts what was published of it, nothing is written over, and that is the trouble told.
        """
        return [found for tenant in self._reader.tenants() if (found := await self._one(tenant))]

    async def _one(self, tenant: TenantId) -> Watched | None:
        folder = log_folder(self._directory, tenant)
        try:
            head = await asyncio.to_thread(folder.publish, self._reader, tenant)
        except LogContradicted as error:
            self._is_behind("the folder of the published log", error.origin, error.size, error.published)
            at, troubles = format_time(self._clock.now()), {"record": error.message}
            stuck = Watched(origin=error.origin, size=error.published, at=at, troubles=troubles)
            return self._state(folder, stuck)
        if head is None:
            return None
        note = parse_note(folder.checkpoint.encode())
        watched = Watched(origin=head.origin, size=head.size, at=format_time(self._clock.now()))
        if self._config.is_watched:
            name = f"checkpoints/{head.size}"
            if not (folder.path / name).exists():
                folder.put(name, str(note).encode())
            watched = await self._ask_all(folder, tenant, head, note, watched)
            folder.thin()
        return self._state(folder, watched)

    def _state(self, folder: LogFolder, watched: Watched) -> Watched:
        folder.put("status.json", json.dumps(asdict(watched), indent=1, sort_keys=True).encode() + b"\n")
        return watched

    async def _ask_all(self, folder: LogFolder, tenant: TenantId, head: Head, note: Note, watched: Watched) -> Watched:
        tree = Tree(RecordTiles(self._reader, tenant, folder), head.size)
        troubles: dict[str, str] = {}
        quorum = self._config.quorum
        asked = {name: at for name, at in (quorum.witnesses if quorum else {}).items() if at.url}
        missing = {name: at for name, at in asked.items() if not _signed(note, at)}
        answers = await asyncio.gather(*(self._ask(at, tree, note) for at in missing.values()))
        lines = []
        for name, answer in zip(missing, answers, strict=True):
            if isinstance(answer, NoteLine):
                lines.append(answer)
            else:
                troubles[name] = answer
        if lines:
            note = note.joined(lines)
            folder.put(f"checkpoints/{head.size}", str(note).encode())
            folder.show(str(note))
        for at in self._config.monitors:
            if problem := await self._take_monitors(folder, at, head.origin):
                troubles[at.key.name] = problem
        stamped = []
        for number, url in enumerate(self._config.timestamps, 1):
            if problem := await self._stamp(folder, url, number, head, note):
                troubles[url] = problem
            elif (folder.path / f"checkpoints/{head.size}.{number}.tsr").exists():
                stamped.append(url)
        cosigned = tuple(name for name, at in (quorum.witnesses if quorum else {}).items() if _signed(note, at))
        return replace(
            watched,
            cosigned=cosigned,
            is_quorate=bool(quorum and quorum.is_met(cosigned)),
            stamped=tuple(stamped),
            troubles=troubles,
        )

    async def _ask(self, at: WitnessAt, tree: Tree, note: Note) -> NoteLine | str:
        """A witness's cosignature, or why there is none.

        Source: C2SP tlog-witness, "add-checkpoint".
        """
        origin = parse_head(note).origin
        place = (str(at.key), origin)
        old = self._sizes.get(place, 0)
        try:
            for _ in range(_TRIES):
                if old > tree.size:
                    # Another publisher may have shown it what the record has by now.
                    held = self._reader.log_size(TenantId(origin.rpartition("/")[2]))
                    if old <= held:
                        return "it has cosigned a later checkpoint meanwhile"
                    self._is_behind(f"the witness `{at.key.name}`", origin, held, old)
                    return f"it cosigned {old} entries: this record is behind it, restored from a backup or rewritten"
                proof = await asyncio.to_thread(consistency_proof, tree, old)
                lines = [f"old {old}", *(base64.b64encode(node).decode() for node in proof)]
                body = "\n".join(lines) + f"\n\n{note}"
                reply = await self._http.post(f"{at.url}/add-checkpoint", body.encode(), content_type="text/plain")
                if reply.status == 409 and (known := _size(reply)) is not None:
                    old = known
                    continue
                return self._answered(at, place, tree.size, note, reply)
        except Unreachable as error:
            return error.message
        return "it names another size each time it is asked"

    def _answered(
        self, at: WitnessAt, place: tuple[str, str], size: int, note: Note, reply: HttpReply
    ) -> NoteLine | str:
        if reply.status == 422:
            self._is_behind(f"the witness `{at.key.name}`", parse_head(note).origin, size, self._sizes.get(place, 0))
            return "it saw another history of this log: the record was rewritten, or the witness was shown a forgery"
        if reply.status != 200:
            return f"it answered {reply.status}: {reply.body[:200].decode(errors='replace').strip()}"
        try:
            lines = parse_lines(reply.body.decode("utf-8"))
        except (NoteMalformed, UnicodeDecodeError) as error:
            return str(error)
        held = [line for line in lines if cosigned_at(at.key, note.text, line) is not None]
        if not held:
            return "it sent no cosignature of its key that holds"
        self._sizes[place] = size
        return held[0]

    async def _take_monitors(self, folder: LogFolder, at: WitnessAt, origin: str) -> str:
        """Add a monitor's signature to the checkpoint it is of; what is wrong, if anything."""
        try:
            reply = await self._http.get(f"{at.url}/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint")
            if reply.status != 200:
                return f"it answered {reply.status}"
            theirs = parse_note(reply.body)
            kept = folder.path / f"checkpoints/{parse_head(theirs).size}"
        except (Unreachable, NoteMalformed) as error:
            return error.message
        lines = [line for line in theirs.by(at.key) if cosigned_at(at.key, theirs.text, line) is not None]
        if not lines:
            return "its checkpoint does not carry a signature of its own that holds"
        if kept.exists():
            mine = parse_note(kept.read_bytes())
            if mine.text != theirs.text:
                return "it was shown another root hash for the same size: a split view"
            if str(joined := mine.joined(lines)) != str(mine):
                folder.put(f"checkpoints/{kept.name}", str(joined).encode())
        return ""

    async def _stamp(self, folder: LogFolder, url: str, number: int, head: Head, note: Note) -> str:
        path = f"checkpoints/{head.size}.{number}.tsr"
        place, now = (head.origin, url), self._clock.monotonic_s()
        if (folder.path / path).exists() or now - self._stamped.get(place, -1e9) < self._config.timestamp_every_s:
            return ""
        text = note.text.encode()
        request, nonce = ask_for(text)
        try:
            reply = await self._http.post(url, request, content_type=CONTENT_TYPE)
            if reply.status != 200:
                return f"it answered {reply.status}"
            check_answer(reply.body, text, nonce=nonce, url=url)
        except (Unreachable, TimestampInvalid) as error:
            return error.message
        folder.put(path, reply.body)
        self._stamped[place] = now
        return ""

    def _is_behind(self, who: str, origin: str, size: int, seen: int) -> None:
        at = format_time(self._clock.now())
        self.behind = Standstill.behind(who, origin, size, seen=seen, at=at)

    def _tell(self, watched: Watched) -> None:
        """Log what is new of what is wrong, and nothing twice."""
        for who, problem in watched.troubles.items():
            if self._told.get(watched.origin, {}).get(who) != problem:
                _log.error("log `%s`: %s: %s", watched.origin, who, problem)
        self._told[watched.origin] = watched.troubles


@contextlib.asynccontextmanager
async def publishing(directory: Path, config: LogConfig) -> AsyncIterator[Publisher]:
    """A publisher with a network of its own."""
    async with AsyncHttp() as http:
        publisher = Publisher(directory, config, http)
        try:
            yield publisher
        finally:
            publisher.close()


async def seen_elsewhere(directory: Path, config: LogConfig) -> Standstill | None:
    """Show everyone who watches where the logs stand; what one of them has seen that the record does not hold."""
    if not config.is_watched:
        return None
    async with publishing(directory, config) as publisher:
        await publisher.publish()
        return publisher.behind


def _check_apart(directory: Path, config: LogConfig, reader: Reader) -> None:
    """SECURITY: whoever signs receipts or checkpoints does not count as one who watches them."""
    own = {*reader.gate_keys().values(), *reader.log_keys()}
    watchers = (*(config.quorum.witnesses.values() if config.quorum else ()), *config.monitors)
    for at in watchers:
        if at.key.public in own:
            problem = f"`{at.key.name}` signs with a key of this gate's own: a watcher has one of its own"
            raise LogConfigInvalid(file=str(directory / NAME), problem=problem)


def _signed(note: Note, at: WitnessAt) -> bool:
    assert at.key.kind == COSIGNER
    return any(cosigned_at(at.key, note.text, line) is not None for line in note.by(at.key))


def _size(reply: HttpReply) -> int | None:
    text = reply.body.decode(errors="replace").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
