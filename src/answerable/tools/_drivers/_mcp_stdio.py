"""An MCP server over stdio, through the official client, over one connection that is kept.

The client's connection belongs to the task that opened it, so each link has a task of its own;
calls come from any task. A link that ended is replaced before the next call, never during one.

Source: Model Context Protocol, "Lifecycle", "Transports: stdio" and "Tools".
"""

import asyncio
import contextvars
import importlib
import logging
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from answerable.core import AnswerableError, sha256_name, stable_json
from answerable.tools._errors import (
    ToolChanged,
    ToolResultInvalid,
    ToolServerLost,
    ToolServerUnavailable,
    ToolTimedOut,
)
from answerable.tools._ports import Answer, ListedTool

if TYPE_CHECKING:
    from mcp import ClientSession
    from mcp.types import CallToolResult

__all__ = ["McpStdio"]

_log = logging.getLogger(__name__)
_UNWRITTEN_GRACE_S = 1.0  # the client's own clock starts once the request is written, which may never be
_LAST_WORDS_BYTES = 2_000
_MOST_PAGES = 100


class McpStdio:
    """One MCP server, started on first use and again when it has died."""

    def __init__(
        self,
        name: str,
        *,
        command: tuple[str, ...],
        environment: dict[str, str],
        directory: Path | None,
        startup_timeout: timedelta,
        call_timeout: timedelta,
    ) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._directory = directory
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
            link = _Link(self.name, self._command, self._environment, self._directory)
            await link.open(self._startup_s)
            for name, schema in link.schemas.items():
                self._pinned.setdefault(name, schema)
            self._link = link
            return link


class _Link:
    """One connection: a task that holds the client's context open until it is told to stop or loses it."""

    def __init__(
        self, server: str, command: tuple[str, ...], environment: dict[str, str], directory: Path | None
    ) -> None:
        self.tools: tuple[ListedTool, ...] = ()
        self.schemas: dict[str, str] = {}
        self._server = server
        self._command = command
        self._environment = environment
        self._directory = directory
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
        from mcp.types import CONNECTION_CLOSED, REQUEST_TIMEOUT
        from pydantic import ValidationError

        assert self._session is not None
        late = ToolTimedOut(tool=full_name, after_ms=round(seconds * 1000))
        try:
            async with asyncio.timeout(seconds + _UNWRITTEN_GRACE_S):
                result = await self._session.call_tool(tool, arguments, read_timeout_seconds=seconds)
        except TimeoutError:
            raise late from None
        except MCPError as error:
            if error.code == REQUEST_TIMEOUT:
                raise late from None
            if error.code == CONNECTION_CLOSED:
                raise ToolServerLost(tool=full_name) from None
            return Answer(error=f"JSON-RPC {error.code}", texts=(error.message,))
        except (ValidationError, RuntimeError) as error:
            problem = f"not a tool result as the server declares it ({type(error).__name__})"
            raise ToolResultInvalid(tool=full_name, problem=problem) from None
        return _answer(result)

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
            async with Client(self._transport(stderr)) as client:
                self.tools = await _listed(client.session)
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
    async def _transport(self, stderr: IO[bytes]) -> AsyncIterator[Any]:
        from mcp import StdioServerParameters, stdio_client

        command, *args = self._command
        server = StdioServerParameters(command=command, args=args, env=self._environment, cwd=self._directory)
        async with stdio_client(server, errlog=stderr) as (read, write):  # type: ignore[arg-type]
            yield _Watched(read, self), write

    def _why_not(self, ready: "asyncio.Future[None]", startup_s: float) -> str:
        lines = "1 line that is" if self._unreadable == 1 else f"{self._unreadable} lines that are"
        garbage = f", and wrote {lines} not JSON-RPC" if self._unreadable else ""
        if not ready.done():
            return f"it said nothing understandable within {startup_s:g} s{garbage}"
        error = None if ready.cancelled() else ready.exception()
        if isinstance(error, OSError):
            return f"`{self._command[0]}` cannot be started ({error.strerror or type(error).__name__})"
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
            ListedTool(name=tool.name, description=tool.description or "", schema=tool.input_schema)
            for tool in page.tools
        ]
        cursor = page.next_cursor
        if not cursor:
            break
    return tuple(listed)


def _answer(result: "CallToolResult") -> Answer:
    texts: list[str] = []
    blocks: list[dict[str, Any]] = []
    for block in result.content:
        if block.type == "text":
            texts.append(block.text)
        else:
            blocks.append(block.model_dump(mode="json", by_alias=True, exclude_none=True))
    return Answer(
        error="isError" if result.is_error else "",
        structured=result.structured_content,
        texts=tuple(texts),
        blocks=tuple(blocks),
    )


def _last_words(stderr: IO[bytes]) -> str:
    end = stderr.seek(0, 2)
    stderr.seek(max(0, end - _LAST_WORDS_BYTES))
    return stderr.read().decode("utf-8", "replace").strip()
