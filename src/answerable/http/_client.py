"""Requests to servers that are asked again and again.

Where nothing lies between, a request goes by connections of our own; through a proxy, a unix socket or to an address
out of the ordinary, by aiohttp, which took MEASURED a fifth of what the gate does for a model call.

Source: `docs/decisions/0034`.
"""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType

from answerable.http._drivers import Around, Connection, Place, dial, head_of, place_of

__all__ = ["HttpAnswer", "HttpClient"]

_KEPT_S = 4.0  # servers hang up after 5: a request sent into that moment would be lost


class HttpAnswer:
    """An answer whose body has yet to come.

    Attributes:
        headers: by name in lower case; of those that came twice, the values with a comma between.
        chunks: the body as it comes; raises `AnswerBroken` where it ends before its end.
    """

    __slots__ = ("chunks", "headers", "status")

    def __init__(self, *, status: int, headers: Mapping[str, str], chunks: AsyncIterator[bytes]) -> None:
        self.status = status
        self.headers = headers
        self.chunks = chunks

    @property
    def content_type(self) -> str:
        """The media type, in lower case, without parameters; empty where none is named."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def read(self) -> bytes:
        """The whole body."""
        return b"".join([chunk async for chunk in self.chunks])


class HttpClient:
    """Kept connections. Retries and times are the caller's business, but for the time to connect.

    Args:
        headers: sent with every request.
        trust: certificates to trust, asked for once, when they are needed.
        proxy: address of the proxy to go through.
        socket: path of the unix socket to go through, whatever host an address names.
    """

    def __init__(
        self, *, headers: Mapping[str, str], trust: Callable[[], ssl.SSLContext], proxy: str = "", socket: str = ""
    ) -> None:
        ours = {"user-agent": "answerable", "accept": "*/*", **headers}
        self._head = head_of(ours)
        self._trust = functools.cache(trust)
        self._is_direct = not proxy and not socket
        self._around = Around(ours, self._trust, proxy=proxy, socket=socket)
        self._kept: dict[Place, list[Connection]] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def ask(
        self, method: str, url: str, body: bytes = b"", *, headers: Mapping[str, str]
    ) -> contextlib.AbstractAsyncContextManager[HttpAnswer]:
        """The answer, within the block; leaving it before the answer's end hangs up.

        Raises:
            NotConnected: nothing was sent.
            AnswerBroken: it may have been.
        """
        found = place_of(url) if self._is_direct else None
        if found is None:
            return self._indirect(method, url, body, headers)
        place, target, host = found
        more = f"content-length: {len(body)}\r\n" if body or method == "POST" else ""
        head = f"{method} {target} HTTP/1.1\r\nhost: {host}\r\n{self._head}{head_of(headers)}{more}\r\n"
        return _Direct(self, place, head.encode(), body)

    async def close(self) -> None:
        """Hang up."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for kept in self._kept.values():
            for connection in kept:
                connection.abort()
                await connection.ended()
        self._kept.clear()
        await self._around.close()

    async def take(self, place: Place) -> Connection:
        """A connection that nobody uses, kept or new."""
        kept = self._kept.get(place)
        while kept:
            connection = kept.pop()
            if connection.is_open and not self._is_stale(connection):
                return connection
            connection.abort()
        return await dial(place, self._trust() if place.is_tls else None)

    def give_back(self, place: Place, connection: Connection) -> None:
        """Keep a connection for the next request, or hang up if that is not to be."""
        if not connection.is_reusable:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.put_by(loop.time())
        self._kept.setdefault(place, []).append(connection)
        if self._sweeping is None:
            self._sweeping = loop.call_later(_KEPT_S, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        for place, kept in list(self._kept.items()):
            for connection in kept:
                if self._is_stale(connection):
                    connection.abort()
            self._kept[place] = [each for each in kept if each.is_open]
            if not self._kept[place]:
                del self._kept[place]
        if self._kept:
            self._sweeping = asyncio.get_running_loop().call_later(_KEPT_S, self._sweep)

    def _is_stale(self, connection: Connection) -> bool:
        return asyncio.get_running_loop().time() - connection.idle_since > _KEPT_S

    @contextlib.asynccontextmanager
    async def _indirect(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[HttpAnswer]:
        head_of(headers)
        async with self._around.ask(method, url, body, headers) as (status, said, chunks):
            yield HttpAnswer(status=status, headers=said, chunks=chunks)


class _Direct(contextlib.AbstractAsyncContextManager[HttpAnswer]):
    """One request on a connection of our own. MEASURED: as a generator it took 20 µs more."""

    __slots__ = ("_body", "_client", "_connection", "_head", "_place")

    def __init__(self, client: HttpClient, place: Place, head: bytes, body: bytes) -> None:
        self._client = client
        self._place = place
        self._head = head
        self._body = body
        self._connection: Connection | None = None

    async def __aenter__(self) -> HttpAnswer:
        connection = await self._client.take(self._place)
        try:
            connection.send(self._head, self._body)
            await connection.answered()
        except BaseException:
            connection.abort()
            raise
        self._connection = connection
        return HttpAnswer(status=connection.status, headers=connection.headers, chunks=connection)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._connection is not None
        self._client.give_back(self._place, self._connection)
