"""One cell of ours: `python -m benchmarks._ledger CELL --dir DIR --count N`; its figures are one line of JSON."""

import argparse
import asyncio
import base64
import contextlib
import dataclasses
import gc
import hashlib
import itertools
import json
import os
import resource
import sqlite3
import statistics
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from answerable.core import RunId, StepKey, TenantId, new_run_id
from answerable.ledger import (
    Draft,
    Ledger,
    Reader,
    Tree,
    envelope_json,
    export_bundle,
    inclusion_proof,
    leaf_hash,
    pae,
    root_hash,
    write_trust,
)
from answerable_verify import _json, verify
from benchmarks._ledger.event import event

TENANT = TenantId("default")
AGENTS = 100
TURNS = 10
_VERIFYING_TURNS = 3
_AT_ONCE = 50  # rows that one statement of the floor inserts
STORE = "answerable.sqlite3"
Figures = dict[str, Any]
T = TypeVar("T")


def cpu_s() -> float:
    """What this process and the helpers it has waited for used."""
    own, helpers = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + helpers.ru_utime + helpers.ru_stime


def helpers_s() -> float:
    """What processes that this one started have used so far, while they live."""
    used = 0.0
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            fields = Path("/proc", child, "stat").read_text().rpartition(")")[2].split()
            used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


def own_s() -> float:
    """What this process and its living helpers used."""
    return time.process_time() + helpers_s()


@dataclasses.dataclass(frozen=True)
class Appended:
    """Runs that were written, and what that took: on the clock, and of processors."""

    runs: list[RunId]
    wall_s: float
    cpu_s: float


async def _append(ledger: Ledger, count: int, agents: int) -> Appended:
    """So many receipts by so many agents at a time, each durable before its agent goes on."""
    runs = [new_run_id() for _ in range(agents)]
    opened = {"control": {"agent": "clerk", "environment": "development", "resources": []}}

    go = asyncio.get_running_loop().create_future()

    async def agent(drafts: Sequence[Draft]) -> None:
        await go
        for draft in drafts:
            await ledger.append(draft)

    for run in runs:
        await ledger.open_run(Draft(tenant=TENANT, run=run, phase="run.open", agent="clerk", members=opened))
    # They are there already, and what they have to say, as what is signed beside it is.
    drafts = [[_draft(run, number) for number in range(count // agents)] for run in runs]
    done = asyncio.gather(*map(agent, drafts))
    await asyncio.sleep(0)
    wall, cpu = time.perf_counter(), own_s()
    go.set_result(None)
    await done
    wall, cpu = time.perf_counter() - wall, own_s() - cpu
    for run in runs:
        closed = {"control": {"state": "done"}}
        await ledger.append(Draft(tenant=TENANT, run=run, phase="run.close", agent="clerk", members=closed))
    return Appended(runs, wall, cpu)


def _draft(run: RunId, number: int) -> Draft:
    said = {"effect": {"status": "ok", "observedBy": "gate"}, "control": event(number)}
    return Draft(
        tenant=TENANT,
        run=run,
        phase="observation",
        agent="clerk",
        step=StepKey(f"{number:032x}"),
        attempt=1,
        members=said,
    )


def record(directory: Path, count: int, agents: int) -> Appended:
    """A record with so many receipts, by a ledger that has warmed up, on the loop that a gate at an address runs on."""

    async def main() -> Appended:
        gc.set_threshold(20_000)  # as while a gate is open
        ledger = Ledger.open(directory, projections=())
        await ledger.start()
        try:
            await _append(ledger, agents * 2, agents)
            return await _append(ledger, count, agents)
        finally:
            await ledger.close()

    return _on(uvloop.new_event_loop, main())


def _on(loop: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)


def append(directory: Path, count: int, agents: int) -> Figures:
    """Receipts a second; and on one core their CPU beside that of signing the same bytes and nothing else."""
    took = record(directory / "data", count, agents)
    with contextlib.closing(sqlite3.connect(directory / "data" / STORE)) as store:
        kept = store.execute("SELECT count(*) FROM receipts").fetchone()[0]
        mode = store.execute("PRAGMA journal_mode").fetchone()[0]
    with on_one_core():
        beside = _on(uvloop.new_event_loop, _append_beside_bare(directory / "uvloop", count, agents))
        embedded = _on(asyncio.new_event_loop, _append_beside_bare(directory / "asyncio", count, agents))
    return {
        "per_s": count / took.wall_s,
        **{name: statistics.median(figures[name] for figures in beside) for name in beside[0]},
        "asyncio_vs_bare": statistics.median(figures["vs_bare"] for figures in embedded),
        "kept": kept - 6 * agents,  # opened, warmed up and closed
        "is_full": mode == "wal",
    }


async def _append_beside_bare(directory: Path, count: int, agents: int) -> list[dict[str, float]]:
    """The same in turns, so that whatever else the machine does meets all alike: appended, signed, and the floor."""
    found = []
    _, secret = crypto_sign_seed_keypair(bytes(32))
    gc.set_threshold(20_000)  # as while a gate is open
    ledger = Ledger.open(directory / "turns", projections=())
    await ledger.start()
    try:
        await _append(ledger, agents * 2, agents)
        with contextlib.closing(_Floor(directory / "turns" / STORE, directory / "floor.sqlite3", secret)) as floor:
            for _ in range(TURNS):
                took = await _append(ledger, count // TURNS, agents)
                bodies = floor.take_in()
                bare_us = _signing_s(bodies, secret) / len(bodies) * 1e6
                cpu_us = took.cpu_s / (count // TURNS) * 1e6
                floor_us = floor.cpu_s(agents) / len(bodies) * 1e6
                ratios = {"vs_bare": cpu_us / bare_us, "floor_vs_bare": floor_us / bare_us}
                found.append({"cpu_us": cpu_us, "bare_us": bare_us, **ratios})
    finally:
        await ledger.close()
    return found


def _signing_s(bodies: Sequence[bytes], secret: bytes) -> float:
    """CPU of signing and nothing else."""
    start = time.process_time()
    for body in bodies:
        crypto_sign(body, secret)
    return time.process_time() - start


class _Floor:
    """The least that such a record could take: a table of the same rows, and nothing that makes them a record."""

    def __init__(self, record: Path, beside: Path, secret: bytes) -> None:
        self._secret = secret
        self._last = 0
        self._rows: list[tuple[Any, ...]] = []
        self._record = sqlite3.connect(record)
        self._store = sqlite3.connect(beside, isolation_level=None)
        for name, value in (("journal_mode", "WAL"), ("synchronous", "FULL"), ("wal_autocheckpoint", "4000")):
            self._store.execute(f"PRAGMA {name}={value}")
        self._store.execute(self._record.execute("SELECT sql FROM sqlite_master WHERE name = 'receipts'").fetchone()[0])
        columns = [row[1] for row in self._record.execute("PRAGMA table_info(receipts)")]
        self._body, self._place = columns.index("body"), columns.index("position")
        row = f"({', '.join('?' * len(columns))})"
        self._insert = f"INSERT OR ROLLBACK INTO receipts VALUES {row}"
        self._insert_many = f"INSERT OR ROLLBACK INTO receipts VALUES {', '.join([row] * _AT_ONCE)}"

    def take_in(self) -> list[bytes]:
        """What the record has had since the last time, as it was signed."""
        query = "SELECT * FROM receipts WHERE position > ? ORDER BY position"
        self._rows = self._record.execute(query, (self._last,)).fetchall()
        self._last = self._rows[-1][self._place]
        return [pae(row[self._body]) for row in self._rows]

    def cpu_s(self, together: int) -> float:
        """CPU of signing that, hashing the envelopes and inserting the rows, so many to a commit."""
        start = time.process_time()
        for at in range(0, len(self._rows), together):
            batch = self._rows[at : at + together]
            for row in batch:
                signature = crypto_sign(pae(row[self._body]), self._secret)[:64]
                hashlib.sha256(envelope_json(row[self._body], signature, "0" * 64)).digest()
            self._store.execute("BEGIN IMMEDIATE")
            whole = len(batch) - len(batch) % _AT_ONCE
            for first in range(0, whole, _AT_ONCE):
                values = itertools.chain.from_iterable(batch[first : first + _AT_ONCE])
                self._store.execute(self._insert_many, tuple(values))
            self._store.executemany(self._insert, batch[whole:])
            self._store.execute("COMMIT")
        return time.process_time() - start

    def close(self) -> None:
        self._record.close()
        self._store.close()


@contextlib.contextmanager
def on_one_core() -> Iterator[None]:
    """CPU is compared on one core: two that share one processor's units slow each other down."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _verify_plainly(bundle: Path, trust: Path) -> None:
    """Verification as where nothing but `cryptography` is installed."""
    quick = _json._orjson, _json._pybase64
    _json._orjson = _json._pybase64 = None
    try:
        verify(bundle, trust)
    finally:
        _json._orjson, _json._pybase64 = quick


def _cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def bare_verify(bundle: Path, key: bytes) -> int:
    """What checking the same signatures takes at the least: read the ZIP, parse, decode, PAE, Ed25519. The count."""
    public, signed = Ed25519PublicKey.from_public_bytes(key), _signed(bundle)
    for signature, said in signed:
        public.verify(signature, said)
    return len(signed)


def verification(directory: Path, count: int) -> Figures:
    """CPU, wall time and memory of verifying a bundle, beside its bare signatures; export and verification by size."""
    found: Figures = {}
    for name, size in (("large", count), ("small", count // 10)):
        runs = record(directory / name, size, agents=size // 100).runs
        reader = Reader.open(directory / name)
        start = cpu_s()
        bundle = export_bundle(reader, runs, directory / f"{name}.zip", disclose=False)
        found[f"{name}_export_s"] = cpu_s() - start
        trust = write_trust(reader, directory / f"{name}.toml")
        gate = next(iter(reader.gate_keys().values()))
        reader.close()
        start_wall = time.perf_counter()
        report = verify(bundle, trust)
        found[f"{name}_verify_wall_s"] = time.perf_counter() - start_wall
        found[f"{name}_count"] = bare_verify(bundle, gate)
        assert report.verdict == "verified", report.first
        assert report.receipts == found[f"{name}_count"]
        with on_one_core():
            found |= {f"{name}_{what}": took for what, took in _verification_beside_bare(bundle, trust, gate).items()}
    assert _json._orjson is not None
    assert _json._pybase64 is not None
    return {**found, "versions": {"orjson": _json._orjson.__version__, "pybase64": _json._pybase64.__version__}}


def _verification_beside_bare(bundle: Path, trust: Path, key: bytes) -> dict[str, float]:
    """CPU of verifying a bundle and of its signatures alone, in turns; once, of verifying without what is quick."""
    public, signed = Ed25519PublicKey.from_public_bytes(key), _signed(bundle)

    def check_signatures() -> None:
        for signature, said in signed:
            public.verify(signature, said)

    turns = [(_cpu_s(lambda: verify(bundle, trust)), _cpu_s(check_signatures)) for _ in range(_VERIFYING_TURNS)]
    plain_s = _cpu_s(lambda: _verify_plainly(bundle, trust))
    ed25519_s = statistics.median(alone_s for _, alone_s in turns)
    return {
        "verify_s": statistics.median(whole_s for whole_s, _ in turns),
        "ed25519_s": ed25519_s,
        "bare_s": _cpu_s(lambda: bare_verify(bundle, key)),
        "vs_ed25519": statistics.median(whole_s / alone_s for whole_s, alone_s in turns),
        "plain_vs_ed25519": plain_s / ed25519_s,
    }


def _signed(bundle: Path) -> list[tuple[bytes, bytes]]:
    """Each receipt's signature, and what it covers."""
    found = []
    with zipfile.ZipFile(bundle) as archive:
        for name in archive.namelist():
            if name.startswith("receipts/"):
                envelope = json.loads(archive.read(name))
                said = base64.b64decode(envelope["payload"])
                found.append((base64.b64decode(envelope["signatures"][0]["sig"]), pae(said)))
    return found


def memory(directory: Path, count: int) -> Figures:
    """By how much the memory that Python holds at most while it verifies grows with each receipt, and what it is."""
    peaks = []
    for size in (count // 10, count):
        runs = record(directory / f"{size}", size, agents=size // 100).runs
        reader = Reader.open(directory / f"{size}")
        bundle = export_bundle(reader, runs, directory / f"{size}.zip", disclose=False)
        trust = write_trust(reader, directory / f"{size}.toml")
        reader.close()
        tracemalloc.start()
        report = verify(bundle, trust)
        peaks.append((report.receipts, tracemalloc.get_traced_memory()[1]))
        tracemalloc.stop()
        assert report.verdict == "verified", report.first
    (few, small_bytes), (many, large_bytes) = peaks
    return {"bytes_each": (large_bytes - small_bytes) / (many - few), "peak_mib": large_bytes / 1024**2}


class Tiles:
    """A log's tiles as files, made from entries that are numbers."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder, level, hashes = folder, 0, [leaf_hash(hashlib.sha256(b"%d" % n).digest()) for n in range(size)]
        self.leaves = hashes
        while hashes:
            for index in range(0, len(hashes), 256):
                path = folder / str(level) / str(index // 256)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"".join(hashes[index : index + 256]))
            hashes = [root_hash(hashes[index : index + 256]) for index in range(0, len(hashes) - 255, 256)]
            level += 1

    def tile(self, level: int, index: int, width: int) -> bytes:
        return (self.folder / str(level) / str(index)).read_bytes()[: width * 32]


def proofs(directory: Path, count: int) -> Figures:
    """CPU that an inclusion proof takes in a log of so many entries; each from a tree that knows no tile yet."""
    tiles = Tiles(directory / "tiles", count)
    seen = []
    for number in range(1_000):
        index = number * 7919 % count
        start = time.thread_time()
        path = inclusion_proof(Tree(tiles, count), index)
        seen.append(time.thread_time() - start)
        assert len(path) <= count.bit_length()
    return {"p50_ms": statistics.median(seen) * 1e3, "p99_ms": statistics.quantiles(seen, n=100)[98] * 1e3}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cell", choices=["append", "verification", "memory", "proofs"])
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--agents", type=int, default=AGENTS)
    asked = parser.parse_args(words)
    cells: dict[str, Callable[[], Figures]] = {
        "append": lambda: append(asked.dir, asked.count, asked.agents),
        "verification": lambda: verification(asked.dir, asked.count),
        "memory": lambda: memory(asked.dir, asked.count),
        "proofs": lambda: proofs(asked.dir, asked.count),
    }
    print(json.dumps(cells[asked.cell]()))


if __name__ == "__main__":
    main()
