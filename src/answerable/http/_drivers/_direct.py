"""One connection to a server, one request at a time; httptools (llhttp) reads what comes back, strictly.

Source: RFC 9112 (HTTP/1.1), sections 6.3 (where a message ends), 9.3 (persistence), 9.6 (tear-down).
"""

import asyncio
import functools
import re
import socket
import ssl
import zlib
from collections.abc import Mapping
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from answerable.http._errors import AnswerBroken, NotConnected

__all__ = ["Connection", "Place", "dial", "head_of", "place_of"]

_CONNECT_S = 10.0
_NEXT_ADDRESS_S = 0.25
# Of what came without any body: heads, interim answers, trailers, the sizes of chunks.
_MOST_BARREN_BYTES = 64 << 10
_MOST_UNREAD_BYTES = 1 << 20
_MOST_INFLATED_BYTES = 16 << 20  # of one piece as it came
_JOINED_BYTES = 64 << 10
_HOST = re.compile(r"[A-Za-z0-9.:_-]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PORTS = {"http": 80, "https": 443}


class Place(NamedTuple):
    """Where connections go: those to the same place are interchangeable."""

    host: str
    port: int
    is_tls: bool


@functools.lru_cache(maxsize=256)
def place_of(url: str) -> tuple[Place, str, str] | None:
    """Where a URL leads, what is asked for there, and the `Host` to name; None for one out of the ordinary."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    is_plain = url.isascii() and url.isprintable() and " " not in url and "@" not in parts.netloc
    if parts.scheme not in _PORTS or not is_plain or not _HOST.fullmatch(host) or port == 0:
        return None
    usual = _PORTS[parts.scheme]
    called = f"[{host}]" if ":" in host else host
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    named = called if port in (None, usual) else f"{called}:{port}"
    return Place(host, port or usual, parts.scheme == "https"), target, named


def head_of(headers: Mapping[str, str]) -> str:
    """Header lines.

    Raises:
        NotConnected: they would not be these lines only.
    """
    lines = "".join([f"{name}: {said}\r\n" for name, said in headers.items()])
    count = len(headers)
    # SECURITY: a line end within a value would be another header, or another request.
    if lines.count("\n") != count or lines.count("\r") != count or "\0" in lines or not all(map(_is_token, headers)):
        raise NotConnected("a header cannot be sent")
    return lines


@functools.lru_cache(maxsize=256)
def _is_token(name: str) -> bool:
    return _TOKEN.fullmatch(name) is not None


async def dial(place: Place, trust: ssl.SSLContext | None) -> "Connection":
    """A new connection.

    Raises:
        NotConnected: there is none.
    """
    import aiohappyeyeballs

    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_CONNECT_S):
            found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
            bare = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS_S, loop=loop)
            try:
                name = place.host if trust else None
                _, made = await loop.create_connection(Connection, sock=bare, ssl=trust, server_hostname=name)
            except BaseException:
                bare.close()
                raise
    except (OSError, TimeoutError) as error:
        raise NotConnected(type(error).__name__) from None
    return made


class Connection(asyncio.Protocol):
    """A kept connection, and the answer to the request that was last sent on it.

    Iterated over, it gives the answer's body as it comes.

    Attributes:
        status: of the answer, once `answered` has returned.
        headers: by name in lower case.
        idle_since: when it was last put by, on the loop's clock.
    """

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[None] | None = None
        self._is_asked = False
        self._is_lasting = False
        self._error = ""
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        self.headers = {}
        self._chunks: list[bytes] = []
        self._unread_bytes = 0
        self._barren_bytes = 0
        self._has_head = False
        self._is_whole = False
        self._inflating: zlib._Decompress | None = None

    # -- whoever asks -------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent on it, as far as is known."""
        return self._transport is not None and not self._transport.is_closing() and not self._error

    @property
    def is_reusable(self) -> bool:
        """Whether the request and its answer are over, and both sides keep the connection."""
        is_over = self._is_whole and self._is_lasting and not self._chunks
        return is_over and self.is_open and self._transport is not None and not self._transport.get_write_buffer_size()

    def send(self, head: bytes, body: bytes) -> None:
        """Send a request."""
        assert self._transport is not None
        self._begin()
        self._is_asked, self._is_lasting = True, False
        if len(body) > _JOINED_BYTES:
            self._transport.write(head)
            self._transport.write(body)
        else:
            self._transport.write(head + body)

    async def answered(self) -> None:
        """Return once the answer's head is there.

        Raises:
            AnswerBroken: it does not come.
        """
        while not self._has_head:
            if self._error:
                raise AnswerBroken(self._error)
            await self._news()

    def __aiter__(self) -> "Connection":
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._is_whole:
                raise StopAsyncIteration
            if self._error:
                raise AnswerBroken(self._error)
            await self._news()
        chunks, self._chunks = self._chunks, []
        if self._unread_bytes > _MOST_UNREAD_BYTES and self._transport is not None:
            self._transport.resume_reading()
        self._unread_bytes = 0
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def put_by(self, now_s: float) -> None:
        """Nothing is asked on it for now."""
        self._is_asked = False
        self.idle_since = now_s

    def abort(self) -> None:
        """Hang up, at once."""
        if self._transport is not None:
            self._transport.abort()

    async def ended(self) -> None:
        """Return once the connection is over."""
        while self._transport is not None:
            await self._news()

    async def _news(self) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    # -- the loop -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by type

    def data_received(self, data: bytes) -> None:
        if not self._is_asked or self._is_whole:
            # SECURITY: what nobody asked for would be taken for the next request's answer.
            self._fail("it said more than it was asked")
            return
        self._barren_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._is_whole:
                self._is_lasting = False  # the answer is whole; what follows it is nothing
            else:
                self._fail("what it said is no answer")
        if self._barren_bytes > _MOST_BARREN_BYTES and not self._is_whole:
            self._fail("its answer is all head")
        if self._unread_bytes > _MOST_UNREAD_BYTES and self._transport is not None:
            self._transport.pause_reading()
        self._tell()

    def eof_received(self) -> bool:
        return False  # a server that sends no more answers no more

    def connection_lost(self, error: Exception | None) -> None:
        ends_here = self._has_head and self.headers.keys().isdisjoint(("content-length", "transfer-encoding"))
        if error is None and ends_here and not self._error:
            self._is_whole = True
        elif not self._is_whole:
            self._error = self._error or "it hung up before its end"
        self._transport = None
        self._tell()

    def _fail(self, why: str) -> None:
        self._error = self._error or why
        self.abort()

    def _tell(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # -- the parser ---------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._is_whole:
            self._is_lasting = False
            raise AnswerBroken  # ends the parsing of what follows a whole answer

    def on_header(self, name: bytes, said: bytes) -> None:
        if self._has_head:
            return  # a trailer
        key, value = name.decode("latin-1").lower(), said.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {value}" if key in self.headers else value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status == 101:
            raise AnswerBroken  # nobody asked for another protocol
        if status < 200:
            self.headers = {}  # an interim answer
            return
        encoding = self.headers.get("content-encoding", "identity").lower()
        if encoding in ("gzip", "x-gzip", "deflate"):
            self._inflating = zlib.decompressobj(47)  # it was asked not to
        elif encoding != "identity" or self.headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise AnswerBroken
        self.status = status
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        self._barren_bytes = 0
        if self._inflating is not None:
            try:
                body = self._inflating.decompress(body, _MOST_INFLATED_BYTES)
            except zlib.error:
                raise AnswerBroken from None
            if self._inflating.unconsumed_tail:
                raise AnswerBroken  # hardly an answer
        if body:
            self._chunks.append(body)
            self._unread_bytes += len(body)

    def on_message_complete(self) -> None:
        if self._has_head:
            self._is_whole = True
            self._is_lasting = self._parser.should_keep_alive()
