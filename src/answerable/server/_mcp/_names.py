"""Which tools, prompts and resources an endpoint shows, and under which names.

`/mcp` shows all: tools named `server__tool`, because model providers refuse names with dots and clients hand
names on as they are. `/mcp/{server}` shows one server's under its own names, so that a client which knew the
server needs a new URL and nothing else.
"""

from dataclasses import replace
from importlib.metadata import version
from typing import Any

from answerable.core import Effect
from answerable.server._mcp._ports import INVALID_PARAMS, RpcFailed
from answerable.tools import RelayedServer, ServedTool, ServerFace, Tool, Toolbox

__all__ = ["Names"]

_NOT_FOUND = -32002
_DOT = "__"
_KNOWN = ("tools", "resources", "prompts", "completions", "logging")


class Names:
    """The view of one endpoint.

    Args:
        server: the only server shown; empty for all, and the Python tools too.
    """

    def __init__(self, toolbox: Toolbox, server: str = "") -> None:
        self._toolbox = toolbox
        self._prefix = f"{server}." if server else ""
        self._servers = {each.name: each for each in toolbox.servers() if server in ("", each.name)}
        self._resources: dict[str, str] = {}
        self.info: dict[str, Any] = {"name": server or "answerable", "version": version("answerable")}

    def shows(self, server: str) -> bool:
        """Whether a server is behind this endpoint."""
        return server in self._servers

    def servers(self) -> list[RelayedServer]:
        """The servers behind it."""
        return list(self._servers.values())

    def server(self, name: str) -> RelayedServer:
        """The server of that name."""
        return self._servers[name]

    async def face(self, *, is_modern: bool) -> ServerFace:
        """How the endpoint presents itself: as its only server does, or as all of them together."""
        faces = [await server.face(is_modern=is_modern) for server in self._servers.values()]
        capabilities: dict[str, Any] = {"tools": {}}
        for face in faces:
            for name in _KNOWN:
                if isinstance(said := face.capabilities.get(name), dict):
                    capabilities[name] = {
                        **capabilities.get(name, {}),
                        **{key: True for key in said if said[key] is True},
                    }
        if self._prefix and faces:
            self.info = faces[0].info or self.info
            return replace(faces[0], info=self.info, capabilities=capabilities)
        return ServerFace(info=self.info, capabilities=capabilities)

    def tools(self) -> list[dict[str, Any]]:
        """Every tool, as `tools/list` has it."""
        toolbox = self._toolbox
        # A held tool is not shown: what its server says of it now, nobody has accepted.
        found = [name for name in toolbox.names() if name.startswith(self._prefix) and not toolbox.is_held(name)]
        return [_listed(toolbox.tool(name), self._shown(name)) for name in found]

    def full(self, name: str) -> str:
        """The gate's name of a tool, which clients may use as well as the one they are shown."""
        if self._prefix or "." in name:
            return self._prefix + name
        known = self._toolbox.names()
        if name in known:
            return name
        server, _, inner = name.partition(_DOT)
        unlisted = f"{server}.{inner}" if inner and server in self._servers else name
        return next((each for each in known if self._shown(each) == name), unlisted)

    def _shown(self, name: str) -> str:
        return name.removeprefix(self._prefix) if self._prefix else name.replace(".", _DOT)

    def offering(self, method: str) -> list[RelayedServer]:
        """The servers that answer a method."""
        return [server for server in self._servers.values() if method in server.offers]

    def seen(self, server: RelayedServer, item: dict[str, Any]) -> dict[str, Any]:
        """An item of a list, under the name that this endpoint gives it; its resource's owner is remembered."""
        if "uri" in item:
            self._resources.setdefault(item["uri"], server.name)
            return item
        if "uriTemplate" in item or self._prefix:
            return item
        return {**item, "name": f"{server.name}.{item['name']}"}

    def prompt(self, name: str) -> tuple[str, str]:
        """The server of a prompt, and its name there."""
        server, _, inner = (self._prefix + name).partition(".")
        if server not in self._servers:
            raise RpcFailed(INVALID_PARAMS, f"there is no prompt `{name}` here")
        return server, inner

    async def owner(self, uri: str) -> str:
        """The server of a resource.

        Raises:
            RpcFailed: no server lists it and more than one could have it.
        """
        offering = self.offering("resources/read")
        if len(offering) == 1:
            return offering[0].name
        if uri not in self._resources:
            for server in offering:
                for item in (await server.ask("resources/list", {})).get("resources", []):
                    self.seen(server, item)
        if uri not in self._resources:
            advice = "no server lists it; ask its own endpoint, `/mcp/<server>`"
            raise RpcFailed(_NOT_FOUND, f"resource not found: {advice}", {"uri": uri})
        return self._resources[uri]


def _listed(tool: Tool, name: str) -> dict[str, Any]:
    more = dict(tool.listed.more) if isinstance(tool, ServedTool) else {}
    effect = tool.declaration.checked_effect(tool.name)
    # What the operator declares, not what the server says of itself.
    hints = {"readOnlyHint": effect is Effect.READ, "destructiveHint": effect is Effect.IRREVERSIBLE}
    more["annotations"] = {**more.get("annotations", {}), **hints}
    return {**more, "name": name, "description": tool.description, "inputSchema": tool.schema}
