"""The work every engine does, and what is measured of it."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Durability", "Measured", "Stopwatch", "Work", "durability_of", "threads_drive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A fixed amount of work: `runs` runs of `steps` trivial steps, so many of them at a time.

    Args:
        variant: for engines that are measured in more than one way.
        url: of a fresh database, for engines on Postgres.
        result_bytes: size of what each step returns.
    """

    concurrency: int
    runs: int
    directory: Path
    variant: str = ""
    url: str = ""
    steps: int = 10
    result_bytes: int = 400

    @property
    def database(self) -> Path:
        return self.directory / "engine.sqlite3"

    def result(self) -> str:
        """What a step returns: text, so that no engine's serialiser has an easy day."""
        return ("the quick brown fox jumps over the lazy dog; " * 10)[: self.result_bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """How an engine's own connection writes. `synchronous=2` (FULL) in WAL mode is one fsync a commit.

    Source: SQLite, "PRAGMA synchronous"; NORMAL would lose the last commits when the power goes.
    """

    journal_mode: str
    synchronous: int

    @property
    def is_full(self) -> bool:
        return self.journal_mode.lower() == "wal" and self.synchronous >= 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one engine did.

    Args:
        runs: how many were done: those of the work, as often as it was done (`Stopwatch.rounds`).
        records: step results found in its database afterwards, by a connection of our own.
        latencies_s: of single steps, from the call to its durable result.
    """

    elapsed_s: float
    runs: int
    latencies_s: list[float]
    records: int
    durability: Durability
    versions: dict[str, str]


@dataclass(slots=True)
class Stopwatch:
    """Collects step latencies; the warm-up's are dropped by `start`.

    Args:
        least_s: the work is done again and again until it has taken so long.
    """

    least_s: float = 1.0
    latencies_s: list[float] = field(default_factory=list)
    runs: int = 0
    stopped_s: float = 0.0
    _started: float = 0.0

    def start(self) -> None:
        self.latencies_s.clear()
        self._started = time.perf_counter()

    def stop(self) -> None:
        self.stopped_s = self.elapsed_s()

    def rounds(self, work: Work) -> Iterator[range]:
        """Starts; gives the numbers of the work's runs, and of as many others while the least time is not over; stops.

        A second, because an engine that is done in a third of one is measured by what else the machine did just then.
        """
        self.start()
        while True:
            yield range(self.runs, self.runs + work.runs)
            self.runs += work.runs
            if self.elapsed_s() >= self.least_s:
                break
        self.stop()

    def elapsed_s(self) -> float:
        return time.perf_counter() - self._started

    def since(self, began: float) -> None:
        """A step that began then has its durable result now."""
        self.latencies_s.append(time.perf_counter() - began)


def durability_of(connection: sqlite3.Connection) -> Durability:
    """How this very connection commits."""
    return Durability(
        journal_mode=connection.execute("PRAGMA journal_mode").fetchone()[0],
        synchronous=connection.execute("PRAGMA synchronous").fetchone()[0],
    )


def threads_drive(work: Work, numbers: Sequence[int], one: Callable[[int], object]) -> None:
    """Every one of these runs once, `concurrency` at a time, each on a thread."""
    if work.concurrency == 1:
        for run in numbers:
            one(run)
        return
    threading.stack_size(512 * 1024)  # a thousand default stacks would be counted as the engine's memory
    with ThreadPoolExecutor(work.concurrency) as pool:
        list(pool.map(one, numbers))
