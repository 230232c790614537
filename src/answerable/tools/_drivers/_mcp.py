"""An MCP server, through the official client, over one connection that is kept.

The client's connection belongs to the task that opened it, so each link has a task of its own;
calls come from any task. A link that ended is replaced before the next call, never during one.

Source: Model Context Protocol, "Lifecycle", "Transports" and "Tools".
"""

import asyncio
import contextvars
import importlib
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any

from answerable.core import AnswerableError, sha256_name, stable_json
from answerable.tools._drivers._transports import Transport
from answerable.tools._errors import (
    ToolChanged,
    ToolFailed,
    ToolResultInvalid,
    ToolServerLost,
    ToolServerUnavailable,
    ToolTimedOut,
)
from answerable.tools._ports import Answer, ListedTool

if TYPE_CHECKING:
    from mcp import ClientSession
    from mcp.types import CallToolResult

__all__ = ["McpServer"]

_log = logging.getLogger(__name__)
_UNWRITTEN_GRACE_S = 1.0  # the client's own clock starts once the request is written, which may never be
_LAST_WORDS_BYTES = 2_000
_MOST_PAGES = 100
_OURS = {"name", "description", "input_schema"}


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
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()
        self._pinned: dict[str, str] = {}

    @property
    def is_connected(self) -> bool:
        return self._link is not None and not self._link.is_over

    async def connect(self) -> tuple[ListedTool, ...]:
        """Its tools, over a connection that is kept; their schemas are pinned from the first time on."""
        return (await self._linked()).tools

    async def call(self, tool: str, arguments: dict[str, Any], *, timeout: timedelta | None) -> Answer:
        """Its answer; reconnects first if the server has died since."""
        link = await self._linked()
        full_name = f"{self.name}.{tool}"
        if self._pinned.get(tool) != link.schemas.get(tool):
            raise ToolChanged(tool=full_name)
        seconds = timeout.total_seconds() if timeout else self._call_s
        return await link.call(tool, arguments, full_name=full_name, seconds=seconds)

    @property
    def offers(self) -> frozenset[str]:
        """Which further methods it answers, as far as known, such as `resources/read`."""
        return self._link.offers if self._link else frozenset()

    async def ask(self, method: str, params: dict[str, Any], *, timeout: timedelta | None = None) -> dict[str, Any]:
        """What it answers to a method that is not a tool call, as on the wire; reconnects first if need be."""
        link = await self._linked()
        seconds = timeout.total_seconds() if timeout else self._call_s
        return await link.ask(method, params, full_name=f"{self.name}.{method}", seconds=seconds)

    async def close(self) -> None:
        async with self._connecting:
            if self._link:
                await self._link.close()
                self._link = None

    async def _linked(self) -> "_Link":
        if (link := self._link) and not link.is_over:
            return link  # without the lock: the usual way
        async with self._connecting:
            if (link := self._link) and not link.is_over:
                return link  # whoever held the lock before us connected
            if self._link:
                _log.warning("tool server %s has died and is started again", self.name)
                await self._link.close()
            # The client takes over a second of CPU to import: off the loop, and only where a server is used.
            await asyncio.to_thread(importlib.import_module, "mcp")
            logging.getLogger("mcp").addHandler(logging.NullHandler())
            link = _Link(self.name, self._transport)
            await link.open(self._startup_s)
            for name, schema in link.schemas.items():
                self._pinned.setdefault(name, schema)
            self._link = link
            return link


class _Link:
    """One connection: a task that holds the client's context open until it is told to stop or loses it."""

    def __init__(self, server: str, transport: Transport) -> None:
        self.tools: tuple[ListedTool, ...] = ()
        self.schemas: dict[str, str] = {}
        self.offers: frozenset[str] = frozenset()
        self._server = server
        self._transport = transport
        self._over = asyncio.Event()
        self._unreadable = 0
        self._session: ClientSession | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        return self._over.is_set() or self._task is None or self._task.done()

    async def open(self, startup_s: float) -> None:
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with tempfile.TemporaryFile() as stderr:
            # In an empty context: the link outlives the run whose call happened to need it.
            self._task = asyncio.get_running_loop().create_task(
                self._hold(ready, stderr), name=f"mcp:{self._server}", context=contextvars.Context()
            )
            try:
                await asyncio.wait({ready, self._task}, timeout=startup_s, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                await self.close()
                raise
            if ready.done() and not ready.cancelled() and ready.exception() is None:
                return
            reason = self._why_not(ready, startup_s)
            await self.close()
            if words := _last_words(stderr):
                _log.warning("tool server %s wrote before it failed to start: %s", self._server, words)
        raise ToolServerUnavailable(server=self._server, reason=reason)

    async def call(self, tool: str, arguments: dict[str, Any], *, full_name: str, seconds: float) -> Answer:
        from mcp import MCPError

        assert self._session is not None
        asked = self._session.call_tool(tool, arguments, read_timeout_seconds=seconds)
        try:
            return _answer(await self._answered(asked, full_name, seconds))
        except MCPError as error:
            return Answer(error=f"JSON-RPC {error.code}", texts=(error.message,))

    async def ask(self, method: str, params: dict[str, Any], *, full_name: str, seconds: float) -> dict[str, Any]:
        from mcp import MCPError

        assert self._session is not None
        try:
            result = await self._answered(_asked(self._session, method, params), full_name, seconds)
        except MCPError as error:
            raise ToolFailed(tool=full_name, error=f"JSON-RPC {error.code}", said=error.message) from None
        said: dict[str, Any] = result.model_dump(mode="json", by_alias=True, exclude_none=True)
        return said

    async def _answered(self, asked: Awaitable[Any], full_name: str, seconds: float) -> Any:
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT
        from pydantic import ValidationError

        late = ToolTimedOut(tool=full_name, after_ms=round(seconds * 1000))
        try:
            async with asyncio.timeout(seconds + _UNWRITTEN_GRACE_S):
                return await asked
        except TimeoutError:
            raise late from None
        except MCPError as error:
            if error.code == REQUEST_TIMEOUT:
                raise late from None
            if error.code == CONNECTION_CLOSED:
                raise ToolServerLost(tool=full_name) from None
            raise
        except (ValidationError, RuntimeError) as error:
            problem = f"not a tool result as the server declares it ({type(error).__name__})"
            raise ToolResultInvalid(tool=full_name, problem=problem) from None

    async def close(self) -> None:
        self._over.set()
        if self._task:
            if self._session is None:
                self._task.cancel()
            await asyncio.wait({self._task})
            if not self._task.cancelled() and (error := self._task.exception()):
                _log.debug("tool server %s ended badly: %r", self._server, error)

    async def _hold(self, ready: "asyncio.Future[None]", stderr: IO[bytes]) -> None:
        from mcp import Client

        try:
            async with Client(self._watched(stderr)) as client:
                self.tools = await _listed(client.session)
                self.offers = _offers(client.session)
                self.schemas = {tool.name: sha256_name(stable_json(tool.schema)) for tool in self.tools}
                self._session = client.session
                ready.set_result(None)
                await self._over.wait()
        except Exception as error:  # the server's doing: told to whoever waits for it
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            self._over.set()
            ready.cancel()

    @asynccontextmanager
    async def _watched(self, stderr: IO[bytes]) -> AsyncIterator[Any]:
        async with self._transport.open(stderr) as (read, write):
            yield _Watched(read, self), write

    def _why_not(self, ready: "asyncio.Future[None]", startup_s: float) -> str:
        lines = "1 line that is" if self._unreadable == 1 else f"{self._unreadable} lines that are"
        garbage = f", and wrote {lines} not JSON-RPC" if self._unreadable else ""
        if not ready.done():
            return f"it said nothing understandable within {startup_s:g} s{garbage}"
        error = None if ready.cancelled() else ready.exception()
        if isinstance(error, OSError):
            return f"`{self._transport.address}` cannot be started ({error.strerror or type(error).__name__})"
        if isinstance(error, AnswerableError):
            return error.message
        return f"it ended before it was ready{garbage}"

    def noticed(self, item: Any) -> None:
        """Something arrived from the server."""
        if isinstance(item, Exception):
            self._unreadable += 1

    def ended(self) -> None:
        """The server closed its side: no call may be sent any more."""
        self._over.set()


class _Watched:
    """The client's read stream, watched: the client itself tells nobody that the server has gone."""

    def __init__(self, stream: Any, link: _Link) -> None:
        self._stream = stream
        self._link = link

    async def receive(self) -> Any:
        try:
            item = await self._stream.receive()
        except Exception:
            self._link.ended()
            raise
        self._link.noticed(item)
        return item

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __aiter__(self) -> "_Watched":
        return self

    async def __anext__(self) -> Any:
        from anyio import ClosedResourceError, EndOfStream

        try:
            return await self.receive()
        except (EndOfStream, ClosedResourceError):
            raise StopAsyncIteration from None

    async def __aenter__(self) -> "_Watched":
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> Any:
        return await self._stream.__aexit__(*exc)


async def _listed(session: "ClientSession") -> tuple[ListedTool, ...]:
    from mcp.types import PaginatedRequestParams

    listed: list[ListedTool] = []
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor) if cursor else None)
        listed += [
            ListedTool(
                name=tool.name,
                description=tool.description or "",
                schema=tool.input_schema,
                more=tool.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=_OURS),
            )
            for tool in page.tools
        ]
        cursor = page.next_cursor
        if not cursor:
            break
    return tuple(listed)


def _offers(session: "ClientSession") -> frozenset[str]:
    has = session.server_capabilities
    offers: set[str] = set()
    if has is not None and has.resources:
        offers |= {"resources/list", "resources/templates/list", "resources/read"}
    if has is not None and has.prompts:
        offers |= {"prompts/list", "prompts/get"}
    if has is not None and has.completions:
        offers.add("completion/complete")
    return frozenset(offers)


async def _asked(session: "ClientSession", method: str, params: dict[str, Any]) -> Any:
    from mcp import types

    page = types.PaginatedRequestParams.model_validate(params)
    if method == "resources/list":
        return await session.list_resources(params=page)
    if method == "resources/templates/list":
        return await session.list_resource_templates(params=page)
    if method == "resources/read":
        return await session.read_resource(params["uri"])
    if method == "prompts/list":
        return await session.list_prompts(params=page)
    if method == "prompts/get":
        return await session.get_prompt(params["name"], params.get("arguments"))
    asked = types.CompleteRequestParams.model_validate(params)
    context = (asked.context and asked.context.arguments) or None
    argument = {"name": asked.argument.name, "value": asked.argument.value}
    return await session.complete(asked.ref, argument, context)


def _answer(result: "CallToolResult") -> Answer:
    content = tuple(block.model_dump(mode="json", by_alias=True, exclude_none=True) for block in result.content)
    return Answer(
        error="isError" if result.is_error else "",
        structured=result.structured_content,
        texts=tuple(block["text"] for block in content if block["type"] == "text"),
        blocks=tuple(block for block in content if block["type"] != "text"),
        content=content,
    )


def _last_words(stderr: IO[bytes]) -> str:
    end = stderr.seek(0, 2)
    stderr.seek(max(0, end - _LAST_WORDS_BYTES))
    return stderr.read().decode("utf-8", "replace").strip()
