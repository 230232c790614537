"""An MCP server, over connections that are kept: JSON as it goes over the wire, in and out.

A server may speak the handshake era, 2026-07-28, or both. It is asked in the era of the client that a call came from,
if it has it, so that what it can say to that client meanwhile is the same as without the gate.
A connection that ended is replaced before the next call, never during one.

Source: Model Context Protocol, "Lifecycle", "Transports" and "Tools".
"""

import asyncio
import contextlib
import contextvars
import importlib
import logging
import tempfile
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar

import orjson

from answerable.core import AnswerableError, stable_json
from answerable.tools._drivers._kept import Kept
from answerable.tools._drivers._wires import NotSent, Wire, WireLost
from answerable.tools._errors import (
    ToolChanged,
    ToolFailed,
    ToolLeftWaiting,
    ToolResultInvalid,
    ToolServerLost,
    ToolServerUnavailable,
    ToolTimedOut,
)
from answerable.tools._ports import Answer, ListedTool, Peer, ServerFace

if TYPE_CHECKING:
    from answerable.tools._drivers._link import Link

__all__ = ["McpServer", "Transport"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_LAST_WORDS_BYTES = 2_000
_HAS = {
    "resources": ("resources/list", "resources/templates/list", "resources/read"),
    "prompts": ("prompts/list", "prompts/get"),
    "completions": ("completion/complete",),
}
_TOOLS_CHANGED = "notifications/tools/list_changed"
_HANDSHAKE, _MODERN = "handshake", "modern"


class Transport(Protocol):
    """How a server is reached."""

    @property
    def address(self) -> str:
        """What the operator wrote down for it."""

    def wire(self) -> Wire:
        """A way to it."""


class McpServer:
    """One MCP server, reached on first use and again when it has died.

    Args:
        transport: how it is reached.
    """

    def __init__(self, name: str, *, transport: Transport, startup_timeout: timedelta, call_timeout: timedelta) -> None:
        self.name = name
        self._transport = transport
        self._startup_s = startup_timeout.total_seconds()
        self._call_s = call_timeout.total_seconds()
        self._main: Kept | None = None
        self._other: Kept | None = None
        self._has_both = False
        self._connecting = asyncio.Lock()
        self._pinned: dict[str, str] = {}
        self._listeners: list[Callable[[str, dict[str, Any]], None]] = []
        self._followed: dict[str, int] = {}
        self._following: dict[str, asyncio.Task[None]] = {}

    @property
    def is_connected(self) -> bool:
        return self._main is not None and not self._main.link.is_over

    @property
    def offers(self) -> frozenset[str]:
        """Which further methods it answers, as far as known, such as `resources/read`."""
        has = self._main.link.capabilities if self._main else {}
        return frozenset(method for kind, methods in _HAS.items() if kind in has for method in methods)

    async def connect(self) -> tuple[ListedTool, ...]:
        """Its tools, listed anew over a connection that is kept; only a tool as it was listed here is called."""
        is_first = self._main is None
        main = await self._kept(None)
        for kept in () if is_first else (main, self._other):
            if kept is not None and not kept.link.is_over:
                listing = asyncio.wait_for(kept.list(), self._startup_s)
                try:
                    await self._within(listing, self.name, self._startup_s)
                except NotSent as error:
                    raise ToolServerUnavailable(server=self.name, reason=error.reason) from None
                self._pin(kept)
        self._pinned = dict(main.schemas)  # whoever asks has seen them
        return main.tools

    async def face(self, *, is_modern: bool) -> ServerFace:
        """How it presents itself to clients of that kind."""
        link = (await self._kept(is_modern)).link
        return ServerFace(
            info=link.info,
            capabilities=link.capabilities,
            instructions=link.instructions,
            streams=link.streams,
            retry_ms=link.retry_ms,
        )

    async def call(
        self, tool: str, arguments: dict[str, Any], *, timeout: timedelta | None, peer: Peer | None = None
    ) -> Answer:
        """Its answer; reconnects first if the server has died since."""
        full_name = f"{self.name}.{tool}"
        params = {"name": tool, "arguments": arguments}

        def check(kept: Kept) -> dict[str, str]:
            if self._pinned.get(tool) != kept.schemas.get(tool):
                raise ToolChanged(tool=full_name)
            return kept.headers(tool, arguments)

        try:
            return _answer(full_name, await self._request("tools/call", params, full_name, timeout, peer, check))
        except ToolFailed as error:
            whole = orjson.loads(error.result)
            return Answer(error=error.error, texts=(error.said,), whole=whole)

    async def ask(
        self, method: str, params: dict[str, Any], *, timeout: timedelta | None = None, peer: Peer | None = None
    ) -> dict[str, Any]:
        """What it answers to a method that is not a tool call, as on the wire; reconnects first if need be."""
        return await self._request(method, params, f"{self.name}.{method}", timeout, peer)

    async def follow(self, uri: str, *, is_wanted: bool) -> None:
        """Ask for news of a resource, or no more; several may want the same."""
        count = self._followed.get(uri, 0) + (1 if is_wanted else -1)
        if count > 0:
            self._followed[uri] = count
        else:
            self._followed.pop(uri, None)
        if count == (1 if is_wanted else 0):
            await self._follow(await self._kept(None), uri, is_wanted=is_wanted)

    async def log(self, level: str) -> None:
        """Have a server of the handshake era write its log from this level on."""
        for kept in (self._main, self._other):
            if kept is not None and not kept.link.is_modern and "logging" in kept.link.capabilities:
                await kept.link.request("logging/setLevel", {"level": level}, seconds=self._call_s)

    def listen(self, heard: Callable[[str, dict[str, Any]], None]) -> None:
        """Tell of what the server says by itself."""
        self._listeners.append(heard)

    async def close(self) -> None:
        async with self._connecting:
            for kept in (self._main, self._other):
                if kept is not None:
                    await kept.link.close()
            self._main = self._other = None

    # -- asking -------------------------------------------------------------------------------------------------------

    async def _request(
        self,
        method: str,
        params: dict[str, Any],
        full_name: str,
        timeout: timedelta | None,
        peer: Peer | None,
        check: "Callable[[Kept], dict[str, str]] | None" = None,
    ) -> dict[str, Any]:
        seconds = timeout.total_seconds() if timeout else self._call_s
        for is_last in (False, True):
            kept = await self._kept(None if peer is None else peer.said.is_modern)
            headers = check(kept) if check is not None else None
            try:
                asked = kept.link.request(method, params, seconds=seconds, peer=peer, headers=headers)
                return await self._within(asked, full_name, seconds)
            except NotSent as error:
                # It surely did nothing with it, and may only have forgotten its session.
                if is_last or not kept.link.is_over:
                    raise ToolServerUnavailable(server=self.name, reason=error.reason) from None
        raise AssertionError("the last try returns or raises")

    async def _within(self, work: Coroutine[Any, Any, _T], full_name: str, seconds: float) -> _T:
        from answerable.tools._drivers._link import LeftWaiting, RpcError

        try:
            return await work
        except TimeoutError:
            raise ToolTimedOut(tool=full_name, after_ms=round(seconds * 1000)) from None
        except WireLost:
            raise ToolServerLost(tool=full_name) from None
        except LeftWaiting as error:
            raise ToolLeftWaiting(tool=full_name, reason=str(error)) from None
        except RpcError as error:
            whole = {"code": error.code, "message": error.message}
            result = stable_json(whole if error.data is None else {**whole, "data": error.data}).decode()
            raise ToolFailed(
                tool=full_name, error=f"JSON-RPC {error.code}", said=error.message, result=result
            ) from None

    # -- connections --------------------------------------------------------------------------------------------------

    def _usable(self, is_modern: bool | None) -> "Kept | None":
        main = self._main
        if main is None or main.link.is_over:
            return None
        if is_modern is None or main.link.is_modern == is_modern or not self._has_both:
            return main
        return self._other if self._other is not None and not self._other.link.is_over else None

    async def _kept(self, is_modern: bool | None) -> Kept:
        if (kept := self._usable(is_modern)) is not None:
            return kept
        async with self._connecting:
            if (kept := self._usable(is_modern)) is not None:
                return kept  # whoever held the lock before us connected
            if self._main is None or self._main.link.is_over:
                if self._main is not None:
                    _log.warning("tool server %s has died and is started again", self.name)
                    await self._main.link.close()
                self._main = await self._open("")
                # Only a server at a URL can be met in two ways at once; a process is one conversation.
                self._has_both = self._main.link.is_modern and self._main.wire.keeps_sessions
                for uri in self._followed:
                    with contextlib.suppress(ToolFailed, ToolServerLost):
                        await self._follow(self._main, uri, is_wanted=True)
            if (kept := self._usable(is_modern)) is not None:
                return kept
            try:
                self._other = await self._open(_MODERN if is_modern else _HANDSHAKE)
            except ToolServerUnavailable:
                self._has_both = False
                return self._main
            return self._other

    async def _open(self, era: str) -> Kept:
        # The protocol's package takes a second of CPU to import: off the loop, and only where a server is used.
        module = await asyncio.to_thread(importlib.import_module, "answerable.tools._drivers._link")
        wire = self._transport.wire()
        link: Link = module.Link(wire, news=self._news)
        kept = Kept(link, wire)
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryFile() as stderr:
            # In an empty context: the link outlives the run whose call happened to need it.
            opening = loop.create_task(kept.open(stderr, era), context=contextvars.Context())
            try:
                async with asyncio.timeout(self._startup_s):
                    await opening
            except (asyncio.CancelledError, AnswerableError):
                await link.close()
                raise
            except (TimeoutError, NotSent, WireLost, module.RpcError) as error:
                reason = self._why_not(link, error)
                await link.close()
                if words := _last_words(stderr):
                    _log.warning("tool server %s wrote before it failed to start: %s", self.name, words)
                raise ToolServerUnavailable(server=self.name, reason=reason) from None
        if self._pinned and not era and kept.schemas != self._pinned:
            # In an empty context: what comes of it is no part of the call that happened to need the connection.
            contextvars.Context().run(self._news, _TOOLS_CHANGED, {})
        self._pin(kept)
        return kept

    def _pin(self, kept: Kept) -> None:
        for name, schema in kept.schemas.items():
            self._pinned.setdefault(name, schema)

    def _why_not(self, link: "Link", error: Exception) -> str:
        lines = "1 line that is" if link.unreadable == 1 else f"{link.unreadable} lines that are"
        garbage = f", and wrote {lines} not JSON-RPC" if link.unreadable else ""
        if isinstance(error, TimeoutError):
            return f"it said nothing understandable within {self._startup_s:g} s{garbage}"
        if isinstance(error, NotSent):
            return error.reason
        if isinstance(error, WireLost):
            return f"it ended before it was ready{garbage}"
        return f"it refused: {error}"

    async def _follow(self, kept: Kept, uri: str, *, is_wanted: bool) -> None:
        if not kept.link.is_modern:
            method = "resources/subscribe" if is_wanted else "resources/unsubscribe"
            asked = kept.link.request(method, {"uri": uri}, seconds=self._call_s)
            await self._within(asked, f"{self.name}.{method}", self._call_s)
            return
        if (following := self._following.pop(uri, None)) is not None:
            following.cancel()
        if is_wanted:
            self._following[uri] = kept.link.begin(kept.link.watch({"resourceSubscriptions": [uri]}))

    def _news(self, method: str, params: dict[str, Any]) -> None:
        for heard in self._listeners:
            heard(method, params)


def _answer(full_name: str, result: dict[str, Any]) -> Answer:
    content, structured = result.get("content", []), result.get("structuredContent")
    is_result = isinstance(content, list) and all(isinstance(block, dict) and "type" in block for block in content)
    if not is_result or not ("content" in result or structured is not None):
        raise ToolResultInvalid(tool=full_name, problem="not a tool result as the protocol has it")
    return Answer(
        error="isError" if result.get("isError") else "",
        structured=structured if isinstance(structured, dict) else None,
        texts=tuple(str(block.get("text", "")) for block in content if block["type"] == "text"),
        blocks=tuple(block for block in content if block["type"] != "text"),
        content=tuple(content),
        whole=result,
    )


def _last_words(stderr: IO[bytes]) -> str:
    end = stderr.seek(0, 2)
    stderr.seek(max(0, end - _LAST_WORDS_BYTES))
    return stderr.read().decode("utf-8", "replace").strip()
