"""All tools of a gate, under one roof: the tools half of the road's `Effects`."""

import asyncio
import difflib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from answerable.action import Finding, Step
from answerable.core import ActionKind, AnswerableError, ConfigError, Description, Effect, Money, Outcome
from answerable.identity import Grants
from answerable.tools._compensation import undoing_arguments
from answerable.tools._declaration import Arguments, Probe, ToolDeclaration
from answerable.tools._drivers import Http, McpServer, Stdio
from answerable.tools._errors import ToolHeld, ToolNotServed, ToolsNotListed, ToolUnknown, ToolUnusable
from answerable.tools._function import FunctionTool
from answerable.tools._ports import ListedTool, RelayedServer, Tool, ToolServer
from answerable.tools._relayed import ANSWERED, RELAYED, AnswerTool, RelayedTool
from answerable.tools._served import ServedTool

__all__ = ["Toolbox"]

log = logging.getLogger(__name__)

News = Callable[[str, str, Mapping[str, Any]], None]
_TOOLS_CHANGED = "notifications/tools/list_changed"


class Toolbox:
    """Python functions and tool servers, each with what the operator declares of it."""

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}
        self._servers: dict[str, ToolServer] = {}
        self._declared: dict[str, Mapping[str, ToolDeclaration]] = {}
        self._listed: set[str] = set()
        self._relayed: dict[str, RelayedTool | AnswerTool] = {}
        self._listeners: list[News] = []
        self._missing: dict[str, ToolNotServed] = {}
        self._accepted: Mapping[str, str] | None = None
        self._refreshing: set[asyncio.Task[None]] = set()

    def add(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        effect: Effect | str = Effect.WRITE,
        idempotency: str | None = None,
        probe: Probe | None = None,
        compensate: str | None = None,
        amount: Callable[[Arguments], Money | None] | None = None,
        resource: str | Callable[[Arguments], str] | None = None,
        subjects: tuple[str, ...] | Callable[[Arguments], Iterable[str]] = (),
        timeout: timedelta | None = None,
        retries: int | None = None,
        trusted: bool = False,
        specs: tuple[str, ...] = (),
        attributes: Mapping[str, bool | int | str] | None = None,
    ) -> str:
        """Put a Python function behind the gate; `ToolDeclaration` says what each word means.

        Returns:
            The name it is called by.

        Raises:
            ToolUnusable: its signature or declaration does not work, or the name is taken.
        """
        declaration = ToolDeclaration(
            effect=effect,
            idempotency=idempotency,
            probe=probe,
            compensate=compensate,
            amount=amount,
            resource=resource,
            subjects=subjects,
            timeout=timeout,
            retries=retries,
            trusted=trusted,
            specs=specs,
            attributes=attributes or {},
        )
        tool = FunctionTool(function, name=name or function.__name__, declaration=declaration)
        self._keep(tool)
        return tool.name

    def add_mcp(
        self,
        server: str,
        *,
        command: Sequence[str] = (),
        url: str = "",
        headers: Mapping[str, str] | None = None,
        grants: Grants | None = None,
        declare: Mapping[str, ToolDeclaration] | None = None,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        startup_timeout: timedelta = timedelta(seconds=30),
        call_timeout: timedelta = timedelta(seconds=60),
    ) -> None:
        """Put the tools of an MCP server behind the gate, named `server.tool`.

        `start` starts the command, or connects to the URL. A tool without a declaration counts as a
        write with untrusted results, whatever the server says of itself.

        Raises:
            ToolUnusable: it has neither a command nor a URL, or both, or its name is taken.
        """
        if bool(command) == bool(url):
            raise ToolUnusable(tool=server, problem="an MCP server has either a command or a URL")
        if grants is not None and not url:
            raise ToolUnusable(tool=server, problem="a credential is sent to a URL, and it has a command")
        transport = (
            Http(url=url, headers=dict(headers or {}), grants=grants)
            if url
            else Stdio(command=tuple(command), environment=dict(environment or {}), directory=directory)
        )
        driver = McpServer(server, transport=transport, startup_timeout=startup_timeout, call_timeout=call_timeout)
        self.add_server(driver, declare=declare)

    def add_server(self, server: ToolServer, *, declare: Mapping[str, ToolDeclaration] | None = None) -> None:
        """Put the tools of any `ToolServer` behind the gate."""
        if server.name in self._servers:
            raise ToolUnusable(tool=server.name, problem="there is already a server of this name")
        self._servers[server.name] = server
        self._declared[server.name] = declare or {}
        if isinstance(server, RelayedServer):
            server.listen(lambda method, params: self._heard(server, method, params))

    async def start(self, *, checks_declared: bool = True) -> None:
        """Connect to each server and list its tools.

        Args:
            checks_declared: whether a declared tool that is not there is an error at once; else `check_declared`
                says later which may be missing.

        Raises:
            ToolServerUnavailable: a server does not start, stays silent or speaks something else.
            ConfigError: a declaration does not fit what a server has.
            ToolUnknown: a declaration names a tool to undo it that there is not.
        """
        for name, server in self._servers.items():
            if name not in self._listed:
                await self._list(server)
                self._listed.add(name)
        for name, tool in self._tools.items():
            if isinstance(tool, FunctionTool):
                self._undoing(name)
        if checks_declared:
            self.check_declared()

    def check_declared(self, known: Collection[str] = ()) -> None:
        """Nothing, if every declared tool is there, or was once: then its server took it away, and nobody misspelt it.

        Args:
            known: full names of tools that were there once.

        Raises:
            ToolNotServed: one never was.
        """
        for tool, error in self._missing.items():
            if tool not in known:
                raise error

    def served(self) -> dict[str, dict[str, ServedTool]]:
        """What each server lists, by server and by full name."""
        found: dict[str, dict[str, ServedTool]] = {name: {} for name in self._servers}
        for tool in self._tools.values():
            if isinstance(tool, ServedTool):
                found[tool.server][tool.name] = tool
        return found

    def hold_to(self, accepted: Mapping[str, str]) -> None:
        """Refuse every served tool whose digest is not the one accepted under its full name."""
        self._accepted = dict(accepted)

    def is_held(self, name: str) -> bool:
        """Whether a tool waits for a person to accept what its server says of it."""
        if self._accepted is None:
            return False
        tool = self._tools.get(name)
        return isinstance(tool, ServedTool) and self._accepted.get(name) != tool.digest

    async def relist(self, tool: str) -> None:
        """Ask the server of a tool, by the tool's full name, for its tools again."""
        for name in self._listed:
            if tool.startswith(f"{name}."):
                await self._refresh(self._servers[name])

    async def close(self) -> None:
        """End every server that was started."""
        for server in self._servers.values():
            await server.close()

    def connected(self) -> dict[str, bool]:
        """Each server, and whether its connection stands; one that fell is started again on the next call."""
        return {name: server.is_connected for name, server in self._servers.items()}

    def listen(self, heard: News) -> None:
        """Tell of what servers say by themselves: which one, the method, its parameters."""
        self._listeners.append(heard)

    def has(self, name: str) -> bool:
        """Whether there is a tool of that name by now."""
        return name in self._tools

    def names(self) -> tuple[str, ...]:
        """Every tool known by now, sorted."""
        return tuple(sorted(self._tools))

    def declared(self) -> dict[str, ToolDeclaration]:
        """What is declared of tools, by full name, those of servers that nobody has connected to yet among them."""
        of_servers = {
            f"{server}.{name}": each for server, tools in self._declared.items() for name, each in tools.items()
        }
        return of_servers | {name: tool.declaration for name, tool in self._tools.items()}

    def relayed(self) -> tuple[str, ...]:
        """What servers answer beside tool calls, sorted: `files.resources/read`."""
        return tuple(sorted(self._relayed))

    def servers(self) -> tuple[RelayedServer, ...]:
        """The servers that answer more than tool calls, in the order in which they were added."""
        return tuple(server for server in self._servers.values() if isinstance(server, RelayedServer))

    def tool(self, name: str) -> Tool:
        """The tool of that name, with its declaration, description and argument schema.

        Raises:
            ToolUnknown, ToolsNotListed: there is none, or none yet.
        """
        if tool := self._tools.get(name) or self._relayed.get(name):
            return tool
        server = name.partition(".")[0]
        if server in self._servers and server not in self._listed:
            raise ToolsNotListed(tool=name, server=server)
        close = difflib.get_close_matches(name, self._tools, n=3)
        advice = "did you mean " + " or ".join(f"`{match}`" for match in close) + "?" if close else "declare it first"
        raise ToolUnknown(tool=name, advice=advice)

    def compensation(self, name: str, arguments: Mapping[str, Any], result: Any) -> tuple[str, dict[str, Any]] | None:
        """The tool that undoes a call, and what it is called with; None where none is declared.

        Raises:
            ToolUnknown, CompensationUnfit: there is one, and it cannot be called.
        """
        by = self._undoing(name)
        return None if by is None else (by.name, undoing_arguments(name, by, arguments, result))

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        """What the call is, from its declaration.

        Raises:
            Refused: no such tool, it is held, or the arguments do not fit.
        """
        if self.is_held(name):
            raise ToolHeld(tool=name)
        return self.tool(name).describe(arguments)

    async def execute(self, step: Step) -> Outcome:
        """Do it. `failed` means surely not done; `unknown`, that it may have been."""
        return await self.tool(step.action.name).execute(step.action)

    async def probe(self, step: Step) -> Finding:
        """Whether a lost call happened, by its declared probe; a probe that breaks cannot say."""
        try:
            return await self.tool(step.action.name).probe(step.action)
        except Exception:  # noqa: BLE001 - a person is asked instead
            return "cannot say"

    def _undoing(self, name: str) -> Tool | None:
        declared = self.tool(name).declaration.compensate
        if declared is None:
            return None
        server, dot, _ = name.rpartition(".")
        sibling = f"{server}{dot}{declared}"  # a served tool may name another of its server
        return self.tool(sibling if sibling in self._tools else declared)

    def _keep(self, tool: Tool) -> None:
        if tool.name in self._tools:
            raise ToolUnusable(tool=tool.name, problem="there is already a tool of this name")
        self._tools[tool.name] = tool

    def _heard(self, server: RelayedServer, method: str, params: Mapping[str, Any]) -> None:
        async def refresh() -> None:
            if method == _TOOLS_CHANGED and server.name in self._listed:
                try:
                    await self._refresh(self._servers[server.name])
                except AnswerableError as error:
                    log.warning("tools of server %s could not be listed anew: %s", server.name, error)
            for heard in self._listeners:
                heard(server.name, method, params)

        task = asyncio.create_task(refresh())
        self._refreshing.add(task)
        task.add_done_callback(self._refreshing.discard)

    async def _refresh(self, server: ToolServer) -> None:
        """Take in what its server says by now; what nobody accepted is held."""
        listed = {tool.name: tool for tool in await server.connect()}
        prefix = f"{server.name}."
        for name in [name for name in self._tools if name.startswith(prefix)]:
            if name.removeprefix(prefix) not in listed:
                del self._tools[name]
        for name in listed:
            try:
                self._tools[prefix + name] = self._served(server, name, listed)
            except ConfigError as error:  # what is declared of it fits no more: nobody can call it
                self._tools.pop(prefix + name, None)
                log.warning("%s is not served any more: %s", prefix + name, error)

    def _served(self, server: ToolServer, name: str, listed: Mapping[str, ListedTool]) -> ServedTool:
        declaration = self._declared[server.name].get(name, ToolDeclaration())
        tool = ServedTool(server, listed[name], declaration=declaration)
        if isinstance(probe := declaration.probe, str):
            if probe not in listed:
                served = ", ".join(f"`{each}`" for each in sorted(listed))
                raise ToolNotServed(server=server.name, tool=probe, served=served)
            tool.probe_with(listed[probe])
        elif probe is not None:
            raise ToolUnusable(tool=tool.name, problem="the probe of a served tool is the name of a tool")
        return tool

    async def _list(self, server: ToolServer) -> None:
        listed = {tool.name: tool for tool in await server.connect()}
        declared = self._declared[server.name]
        offers = {*(server.offers & RELAYED.keys()), *ANSWERED} if isinstance(server, RelayedServer) else set[str]()
        served = ", ".join(f"`{name}`" for name in sorted(listed.keys() | offers)) or "none"
        for name in declared:
            if name not in listed and name not in offers:
                missing = ToolNotServed(server=server.name, tool=name, served=served)
                self._missing[f"{server.name}.{name}"] = missing
        for name in listed:
            self._keep(self._served(server, name, listed))
        for method in sorted(offers - listed.keys()):
            assert isinstance(server, RelayedServer)
            if method in ANSWERED:
                relayed: RelayedTool | AnswerTool = AnswerTool(server.name, method, declared.get(method))
            else:
                relayed = RelayedTool(server, method, declared.get(method))
            self._relayed[relayed.name] = relayed
