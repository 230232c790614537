"""The callers, on kept connections: orders come as JSON on standard input, what was measured goes to standard output.

Two kinds: `httpx` is what an agent has, the HTTP library within the SDKs of OpenAI, Anthropic and MCP, from the
question as a dict to the answer as one. `bytes` is as little client as a call can have: whatever a client costs is in
every figure alike, and makes what lies between look cheaper than it is.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

__all__ = ["main"]

_LONGEST_CALL_S = 120  # a proxy that opens a connection for each of 64 calls takes its time
_FSYNC_BYTES = 8192
_FSYNCS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom to ask what. `@N@` in body and `expects` is the call's number, `@C@` in headers the caller's.

    Args:
        share: of the calls, for those who would need minutes for all of them.
        streams: whether the answer comes in parts.
    """

    name: str
    url: str
    headers: dict[str, str]
    body: str
    expects: str
    share: float = 1.0
    streams: bool = False


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


Ask = Callable[[str], Awaitable[tuple[bytes, float, float]]]
"""A call with this body: the answer, and when its first byte and its last came, in seconds from the question."""


@contextlib.asynccontextmanager
async def by_httpx(target: Target, caller: str) -> AsyncIterator[Ask]:
    """An agent's own client."""
    headers = {name: said.replace("@C@", caller) for name, said in target.headers.items()}
    async with httpx.AsyncClient(headers=headers, timeout=_LONGEST_CALL_S, trust_env=False, verify=False) as client:

        async def ask(body: str) -> tuple[bytes, float, float]:
            question, first_at, parts = json.loads(body), 0.0, []
            began = time.perf_counter()
            if target.streams:
                async with client.stream("POST", target.url, json=question) as answer:
                    async for part in answer.aiter_bytes():
                        first_at = first_at or time.perf_counter()
                        parts.append(part)
            else:
                answer = await client.post(target.url, json=question)
                answer.json()
                parts.append(answer.content)
            ended = time.perf_counter()
            answer.raise_for_status()
            return b"".join(parts), (first_at or ended) - began, ended - began

        yield ask


@contextlib.asynccontextmanager
async def by_bytes(target: Target, caller: str) -> AsyncIterator[Ask]:
    """No client to speak of."""
    place = urlsplit(target.url)
    head = _head(target, place.path, place.netloc, caller)
    transport, connection = await asyncio.get_running_loop().create_connection(Caller, place.hostname, place.port)

    async def ask(text: str) -> tuple[bytes, float, float]:
        body = text.encode()
        request = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
        async with asyncio.timeout(_LONGEST_CALL_S):
            answer, first_s, whole_s = await connection.call(request)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{target.name} answered {answer[:2000]!r}")
        return answer, first_s, whole_s

    yield ask
    transport.close()


CALLERS = {"httpx": by_httpx, "bytes": by_bytes}


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
            warm_up = max(int(orders["warm_up"] * target.share), most)
            await _round("bytes", target, most, warm_up, numbers, Seen())
    repeats = []
    for repeat in range(orders["repeats"]):
        cells: dict[str, Any] = {}
        for load, targets in loads.items():
            for concurrency, calls in concurrencies.items():
                for how in CALLERS:
                    # Those beside the gate are asked by agents' clients only.
                    asked = targets if how == "httpx" else [each for each in targets if each.share == 1.0]
                    seen = {target.name: Seen() for target in asked}
                    fsyncs: list[float] = []
                    # In slices, so that whatever else happens on the machine meets all alike.
                    for part in range(orders["slices"]):
                        turn = (repeat + part) % len(asked)
                        for target in asked[turn:] + asked[:turn]:
                            share = max(int(calls * target.share) // orders["slices"], int(concurrency), 3)
                            await _round(how, target, int(concurrency), share, numbers, seen[target.name])
                        fsyncs += _fsyncs_s(directory)
                    cell: dict[str, Any] = {name: each.to_json() for name, each in seen.items()}
                    cells[f"{load} {concurrency} {how}"] = {**cell, "fsync_ms": _rank(fsyncs, 0.5)}
        repeats.append(cells)
    return {"repeats": repeats}


async def _round(how: str, target: Target, concurrency: int, calls: int, numbers: Any, seen: Seen) -> None:
    left = iter(range(calls))

    async def caller(ask: Ask) -> None:
        for _ in left:
            n = str(next(numbers))
            answer, first_s, whole_s = await ask(target.body.replace("@N@", n))
            if target.expects.replace("@N@", n).encode() not in answer:
                raise SystemExit(f"{target.name} answered {n} with {answer[:2000]!r}")
            seen.whole_s.append(whole_s)
            seen.first_s.append(first_s)

    async with contextlib.AsyncExitStack() as stack:
        made = (CALLERS[how](target, str(number)) for number in range(min(concurrency, calls)))
        asks = [await stack.enter_async_context(each) for each in made]  # all, before the first call
        await asyncio.gather(*map(caller, asks))


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
