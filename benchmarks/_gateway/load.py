"""The callers: kept connections, bodies encoded beforehand, and as little client as a call can have.

Whatever the client costs is in every figure alike and makes proxies look better than they are, so there is no
HTTP library here. Reads its orders as JSON from standard input, writes what it measured to standard output.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["main"]

_LONGEST_CALL_S = 30
_FSYNC_BYTES = 8192
_FSYNCS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom to ask what. `@N@` in body and `expects` is the call's number, `@C@` in headers the caller's.

    Args:
        share: of the calls, for those who would need minutes for all of them.
    """

    name: str
    url: str
    headers: dict[str, str]
    body: str
    expects: str
    share: float = 1.0


@dataclass(slots=True)
class Seen:
    """Latencies of one target at one concurrency, in one repeat."""

    whole_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, float]:
        return {
            "p50_ms": _rank(self.whole_s, 0.5),
            "p99_ms": _rank(self.whole_s, 0.99),
            "first_p50_ms": _rank(self.first_s, 0.5),
            "calls": len(self.whole_s),
        }


class Caller(asyncio.Protocol):
    """One kept connection, one call at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._body_at = 0
        self._length: int | None = None
        self._first_at = 0.0
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def call(self, request: bytes) -> tuple[bytes, float, float]:
        """The answer, and when its first byte and its last came, in seconds from the request."""
        assert self._transport is not None
        self._data.clear()
        self._body_at, self._first_at = 0, 0.0
        self._done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self._transport.write(request)
        await self._done
        ended = time.perf_counter()
        return bytes(self._data), self._first_at - began, ended - began

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._body_at:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            self._body_at = end + 4
            self._length = _length(bytes(self._data[:end]).lower())
        if not self._first_at and len(self._data) > self._body_at:
            self._first_at = time.perf_counter()
        if self._is_whole():
            assert self._done is not None
            self._done.set_result(None)

    def _is_whole(self) -> bool:
        if self._length is None:
            return self._data.endswith(b"0\r\n\r\n")
        return len(self._data) - self._body_at >= self._length

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc or ConnectionResetError("hung up in the middle of an answer"))


def main() -> None:
    """Do what standard input says."""
    orders = json.load(sys.stdin)
    measured = asyncio.run(_measure(orders))
    sys.stdout.write(json.dumps(measured) + "\n")


async def _measure(orders: dict[str, Any]) -> dict[str, Any]:
    loads = {load: [Target(**each) for each in targets] for load, targets in orders["loads"].items()}
    concurrencies: dict[str, int] = orders["calls"]
    directory = Path(orders["dir"])
    numbers = iter(range(1, 1 << 31))
    for targets in loads.values():
        for target in targets:
            most = max(int(each) for each in concurrencies)
            await _round(target, most, max(int(orders["warm_up"] * target.share), most), numbers, Seen())
    repeats = []
    for repeat in range(orders["repeats"]):
        cells: dict[str, Any] = {}
        for load, targets in loads.items():
            for concurrency, calls in concurrencies.items():
                seen = {target.name: Seen() for target in targets}
                fsyncs: list[float] = []
                # In slices, so that whatever else happens on the machine meets all alike.
                for part in range(orders["slices"]):
                    turn = (repeat + part) % len(targets)
                    for target in targets[turn:] + targets[:turn]:
                        share = max(int(calls * target.share) // orders["slices"], 1)
                        await _round(target, int(concurrency), share, numbers, seen[target.name])
                    fsyncs += _fsyncs_s(directory)
                cell: dict[str, Any] = {name: each.to_json() for name, each in seen.items()}
                cells[f"{load} {concurrency}"] = {**cell, "fsync_ms": _rank(fsyncs, 0.5)}
        repeats.append(cells)
    return {"repeats": repeats}


async def _round(target: Target, concurrency: int, calls: int, numbers: Any, seen: Seen) -> None:
    place = urlsplit(target.url)
    loop = asyncio.get_running_loop()
    left = iter(range(calls))

    async def caller(number: int) -> None:
        transport, connection = await loop.create_connection(Caller, place.hostname, place.port)
        head = _head(target, place.path, place.netloc, str(number))
        for _ in left:
            n = str(next(numbers))
            body = target.body.replace("@N@", n).encode()
            request = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
            async with asyncio.timeout(_LONGEST_CALL_S):
                answer, first_s, whole_s = await connection.call(request)
            if not answer.startswith(b"HTTP/1.1 200") or target.expects.replace("@N@", n).encode() not in answer:
                raise SystemExit(f"{target.name} answered {n} with {answer[:2000]!r}")
            seen.whole_s.append(whole_s)
            seen.first_s.append(first_s)
        transport.close()

    await asyncio.gather(*(caller(number) for number in range(min(concurrency, calls))))


def _head(target: Target, path: str, host: str, caller: str) -> bytes:
    headers = {"host": host, "content-type": "application/json", **target.headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {said.replace('@C@', caller)}" for name, said in headers.items())]
    return ("\r\n".join(lines) + "\r\n").encode()


def _length(head: bytes) -> int | None:
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return None


def _fsyncs_s(directory: Path) -> list[float]:
    """What the disk takes for one append that is on it: 8 KiB, about what a commit writes."""
    path = directory / "fsync"
    seen = []
    with path.open("ab", buffering=0) as file:
        for _ in range(_FSYNCS):
            began = time.perf_counter()
            file.write(b"\0" * _FSYNC_BYTES)
            os.fsync(file.fileno())
            seen.append(time.perf_counter() - began)
    return seen


def _rank(seconds: list[float], share: float) -> float:
    ranked = sorted(seconds)
    return ranked[int((len(ranked) - 1) * share)] * 1e3
