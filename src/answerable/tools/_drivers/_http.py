"""An MCP server at a URL.

A request's answer comes as JSON, or as a stream of events that the server may interrupt and expect to be taken up.

Source: Model Context Protocol, "Transports: Streamable HTTP"; WHATWG HTML, "Server-sent events".
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import IO
from urllib.parse import urlsplit

import orjson

from answerable.core import AnswerableError
from answerable.http import AnswerBroken, HttpAnswer, HttpClient, NotConnected
from answerable.identity import Grants
from answerable.tools._drivers._wires import Heard, NotSent, Outgoing, WireLost
from answerable.tools._ports import CALLER

__all__ = ["Http"]

_MOST_RETURNS = 20
_USUAL_PAUSE_S = 1.0
_MOST_SECRETS, _INSTEAD = 64, b"[credential]"
_BASE = {"accept": "application/json, text/event-stream", "accept-encoding": "identity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """Where it is.

    Args:
        headers: sent with every request; the agent never sees them.
        grants: who has the credentials that the gate sends beside them.
    """

    url: str
    headers: Mapping[str, str]
    grants: Grants | None = None

    @property
    def address(self) -> str:
        """What the operator wrote down for it."""
        return self.url

    def wire(self) -> "HttpWire":
        """A way to it."""
        return HttpWire(self)


@dataclass(slots=True)
class _Piece:
    """One event of a stream, or a part of one."""

    id: str = ""
    data: list[bytes] = field(default_factory=list)
    retry_ms: int | None = None


@dataclass(slots=True)
class _Seen:
    """How far a stream was read, and when its reader is to come back."""

    last_id: str = ""
    pause_s: float = _USUAL_PAUSE_S


class HttpWire:
    """Kept connections to one server."""

    keeps_sessions = True

    def __init__(self, where: Http) -> None:
        self._where = where
        self._session_id = ""
        self._http: HttpClient | None = None
        self._heard: Heard = lambda message, outgoing: None
        self._ended: Callable[[], None] = lambda: None
        self._secrets: dict[bytes, None] = {}

    async def open(self, stderr: IO[bytes], heard: Heard, ended: Callable[[], None]) -> None:
        self._heard, self._ended = heard, ended
        headers = {**_BASE, **self._where.headers}
        try:
            self._http = HttpClient(headers=headers, trust=_trust, proxy=_proxy_for(self._where.url) or "")
        except NotConnected as error:
            raise NotSent(str(error)) from None

    async def send(self, outgoing: Outgoing) -> None:
        body = orjson.dumps(outgoing.message)
        headers = self._headers(outgoing.headers, {"content-type": "application/json"})
        granted, can_renew = await self._granted()
        try:
            async with self._ask("POST", {**headers, **granted}, body) as answer:
                if answer.status != 401 or not can_renew:
                    await self._take(answer, outgoing)
                    return
            # It did nothing with it: the token was revoked, or had run out by its clock.
            granted, _ = await self._granted(is_again=True)
            async with self._ask("POST", {**headers, **granted}, body) as answer:
                await self._take(answer, outgoing)
        except NotConnected as error:
            raise NotSent(f"no connection ({error})") from None
        except AnswerBroken:
            raise WireLost from None

    async def listen(self, headers: Mapping[str, str]) -> None:
        last_id, pause_s = "", _USUAL_PAUSE_S
        while True:
            more = {"last-event-id": last_id} if last_id else {}
            with contextlib.suppress(NotConnected, AnswerBroken, AnswerableError):
                granted, _ = await self._granted()
                async with self._ask("GET", self._headers(headers, more, granted)) as answer:
                    if answer.status != 200 or answer.content_type != "text/event-stream":
                        return  # it has nothing to say by itself
                    async for event in _events(answer):
                        last_id = event.id or last_id
                        pause_s = pause_s if event.retry_ms is None else event.retry_ms / 1000
                        self._hear(event, None)
            await asyncio.sleep(pause_s)

    async def close(self, headers: Mapping[str, str]) -> None:
        if self._http is None:
            return
        if self._session_id:
            # Without a credential the session is left to end by itself.
            with contextlib.suppress(NotConnected, AnswerBroken, TimeoutError, AnswerableError):
                async with asyncio.timeout(_USUAL_PAUSE_S):
                    granted, _ = await self._granted()
                    async with self._ask("DELETE", self._headers(headers, granted)):
                        pass
        await self._http.close()
        self._http = None

    def _ask(
        self, method: str, headers: Mapping[str, str], body: bytes = b""
    ) -> contextlib.AbstractAsyncContextManager[HttpAnswer]:
        assert self._http is not None
        return self._http.ask(method, self._where.url, body, headers=headers)

    async def _granted(self, *, is_again: bool = False) -> tuple[Mapping[str, str], bool]:
        """The headers of the credential for whom the request is, and whether another could be had."""
        if self._where.grants is None:
            return {}, False
        granted = await self._where.grants.grant(CALLER.get(), is_again=is_again)
        for form in (granted.token, orjson.dumps(granted.token).decode()[1:-1]):
            self._secrets[form.encode()] = None
        while len(self._secrets) > _MOST_SECRETS:
            self._secrets.pop(next(iter(self._secrets)))
        return granted.headers, granted.is_minted

    def _without_secrets(self, said: bytes) -> bytes:
        """SECURITY: a server that repeats what it was sent must not hand the agent the gate's credential."""
        for secret in self._secrets:
            said = said.replace(secret, _INSTEAD)
        return said

    def _headers(self, *parts: Mapping[str, str]) -> dict[str, str]:
        session = {"mcp-session-id": self._session_id} if self._session_id else {}
        return {name: said for part in (session, *parts) for name, said in part.items()}

    async def _take(self, answer: HttpAnswer, outgoing: Outgoing) -> None:
        if answer.content_type == "text/event-stream":
            await self._follow(answer, outgoing)
            return
        is_json = answer.content_type == "application/json"
        said = _object(self._without_secrets(await answer.read())) if is_json else None
        if answer.status == 404 and self._session_id:
            self._ended()
            raise NotSent("its session has ended")
        if outgoing.message.get("method") == "initialize" and answer.status == 200:
            self._session_id = answer.headers.get("mcp-session-id", "")
        if said is not None and "jsonrpc" in said and (answer.status < 500 or "error" in said):
            # An error that came before the request was read has no id of its own.
            self._heard({**said, "id": outgoing.number} if said.get("id") is None else said, outgoing)
        elif outgoing.number is not None:
            if 400 <= answer.status < 500:
                raise NotSent(f"HTTP {answer.status}")
            raise WireLost

    async def _follow(self, answer: HttpAnswer, outgoing: Outgoing) -> None:
        """An answer that comes as a stream, to its end; taken up again where the server interrupts it."""
        if outgoing.message.get("method") == "initialize":
            self._session_id = answer.headers.get("mcp-session-id", "")
        seen = _Seen()
        if await self._heard_out(answer, outgoing, seen):
            return
        for _ in range(_MOST_RETURNS):
            if not seen.last_id:
                raise WireLost
            if outgoing.on_pause:
                outgoing.on_pause()
            await asyncio.sleep(seen.pause_s)
            headers = self._headers(
                {name: said for name, said in outgoing.headers.items() if name == "mcp-protocol-version"},
                {"last-event-id": seen.last_id},
            )
            granted, _ = await self._granted()
            try:
                async with self._ask("GET", {**headers, **granted}) as again:
                    if again.status != 200:
                        break
                    if await self._heard_out(again, outgoing, seen):
                        return
            except NotConnected:
                break
        raise WireLost

    async def _heard_out(self, answer: HttpAnswer, outgoing: Outgoing, seen: _Seen) -> bool:
        """Whether the request was answered before the stream broke or ended."""
        with contextlib.suppress(AnswerBroken):
            async for event in _events(answer):
                seen.last_id = event.id or seen.last_id
                if event.retry_ms is not None:
                    seen.pause_s = event.retry_ms / 1000
                if event.id and not event.data and outgoing.on_stream:
                    outgoing.on_stream(event.retry_ms)
                if self._hear(event, outgoing):
                    return True
        return False

    def _hear(self, event: _Piece, outgoing: Outgoing | None) -> bool:
        """Pass an event on; whether it was the answer."""
        if not event.data:
            return False
        said = _object(self._without_secrets(b"\n".join(event.data))) or {}
        self._heard(said, outgoing)
        return outgoing is not None and "method" not in said and said.get("id") == outgoing.number


def _trust() -> ssl.SSLContext:
    """What the machine trusts, its operator's own authorities included."""
    import certifi

    trust = ssl.create_default_context()
    trust.load_verify_locations(certifi.where())
    return trust


def _proxy_for(url: str) -> str | None:
    """The proxy that the operator's environment names for this server.

    MEASURED: left to aiohttp, looking for it and for a password file took a thread and 1 ms in every call.
    """
    from urllib.request import getproxies, proxy_bypass

    place = urlsplit(url)
    proxies = getproxies()
    is_direct = not place.hostname or proxy_bypass(place.hostname)
    return None if is_direct else proxies.get(place.scheme) or proxies.get("all")


def _object(body: bytes) -> dict[str, object] | None:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) else None


async def _events(answer: HttpAnswer) -> AsyncIterator[_Piece]:
    event = _Piece()
    rest = b""
    async for chunk in answer.chunks:
        rest += chunk
        if rest.endswith(b"\r"):
            continue  # half a line end: the other half may follow
        *lines, rest = rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            if not line:
                if event.data or event.id or event.retry_ms is not None:
                    yield event
                event = _Piece()
                continue
            name, _, said = line.partition(b":")
            said = said.removeprefix(b" ")
            if name == b"data" and said:
                event.data.append(said)
            elif name == b"id":
                event.id = said.decode()
            elif name == b"retry" and said.isdigit():
                event.retry_ms = int(said)
