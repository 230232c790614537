"""A kept connection, and what its server had on it when it was listed."""

from typing import IO, TYPE_CHECKING, Any

from answerable.core import sha256_name, stable_json
from answerable.tools._drivers._wires import Wire
from answerable.tools._ports import ListedTool

if TYPE_CHECKING:
    from answerable.tools._drivers._link import Link

__all__ = ["Kept"]

_MOST_PAGES = 100
_OURS = {"name", "description", "inputSchema"}


class Kept:
    """One of them."""

    def __init__(self, link: "Link", wire: Wire) -> None:
        self.link = link
        self.wire = wire
        self.tools: tuple[ListedTool, ...] = ()
        self.schemas: dict[str, str] = {}
        self._in_headers: dict[str, Any] = {}

    async def open(self, stderr: IO[bytes], era: str) -> None:
        """Reach the server and list its tools."""
        await self.link.open(stderr, era=era)
        await self.list()

    async def list(self) -> None:
        """List its tools anew."""
        listed: list[ListedTool] = []
        cursor: dict[str, Any] = {}
        for _ in range(_MOST_PAGES if "tools" in self.link.capabilities else 0):
            page = await self.link.request("tools/list", cursor, seconds=None)
            tools = page.get("tools")
            listed += [_listed(tool) for tool in (tools if isinstance(tools, list) else []) if _is_tool(tool)]
            if not page.get("nextCursor"):
                break
            cursor = {"cursor": page["nextCursor"]}
        from answerable.tools._drivers._rules import parameters_in_headers

        self.tools = tuple(listed)
        self.schemas = {tool.name: sha256_name(stable_json([tool.description, tool.schema])) for tool in listed}
        self._in_headers = {tool.name: found for tool in listed if (found := parameters_in_headers(tool.schema))}

    def headers(self, tool: str, arguments: dict[str, Any]) -> dict[str, str]:
        """The arguments that a server of 2026-07-28 wants repeated in headers."""
        if tool not in self._in_headers or not self.link.is_modern:
            return {}
        from answerable.tools._drivers._rules import parameter_headers

        return parameter_headers(self._in_headers[tool], arguments)


def _is_tool(said: Any) -> bool:
    return isinstance(said, dict) and isinstance(said.get("name"), str) and isinstance(said.get("inputSchema"), dict)


def _listed(said: dict[str, Any]) -> ListedTool:
    more = {name: value for name, value in said.items() if name not in _OURS and value is not None}
    return ListedTool(
        name=said["name"], description=str(said.get("description") or ""), schema=said["inputSchema"], more=more
    )
