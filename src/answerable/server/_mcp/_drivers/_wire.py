"""MCP over streamable HTTP, by the official SDK: 2025-11-25 and before with sessions, 2026-07-28 without.

Negotiation, headers, framing and the seal on `requestState` are the SDK's; what requests mean is the relay's.

Source: Model Context Protocol, "Transports: streamable HTTP", "Multi round-trip requests".
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import anyio
from mcp import MCPError, types
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import Receive, Scope, Send

from answerable.server._mcp._ports import Asked, Relay, RpcFailed

__all__ = ["McpWire"]

_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
_STATE_LIVES_S = 7 * 24 * 3600.0  # an approval may take days, and the client may ask until then
_PARAMS: dict[str, type[Any]] = {
    "tools/list": types.PaginatedRequestParams,
    "tools/call": types.CallToolRequestParams,
    "resources/list": types.PaginatedRequestParams,
    "resources/templates/list": types.PaginatedRequestParams,
    "resources/read": types.ReadResourceRequestParams,
    "prompts/list": types.PaginatedRequestParams,
    "prompts/get": types.GetPromptRequestParams,
    "completion/complete": types.CompleteRequestParams,
}
_CACHED = ("tools/list", "resources/list", "resources/templates/list", "resources/read", "prompts/list")
_MODERN = ("2026-07-28",)
_OURS = "answerable"

On = list[Callable[[], None]]


class McpWire:
    """One endpoint's protocol machinery around its relay."""

    def __init__(self, relay: Relay, *, name: str, state_key: bytes, hosts: Sequence[str]) -> None:
        self._relay = relay
        server: Server[Any] = Server(
            name,
            get_tool_input_schema=relay.schema,
            cache_hints={method: CacheHint(ttl_ms=0, scope="private") for method in _CACHED},  # type: ignore[misc]
        )
        security = RequestStateSecurity(keys=[state_key], ttl=_STATE_LIVES_S, bind_principal=_agent, audience=name)
        server.middleware = [RequestStateBoundary(security, default_audience=name)]
        for method in relay.methods:
            server.add_request_handler(method, _PARAMS[method], self._answer)
        origins = [f"http://{host}" for host in hosts]
        self._manager = StreamableHTTPSessionManager(
            server,
            json_response=True,
            security_settings=TransportSecuritySettings(
                enable_dns_rebinding_protection=bool(hosts), allowed_hosts=list(hosts), allowed_origins=origins
            ),
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serves while the block lasts, in a task of its own: a task group may not be left in another task."""
        ready, over = anyio.Event(), anyio.Event()

        async def run() -> None:
            async with self._manager.run():
                ready.set()
                await over.wait()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await ready.wait()
            try:
                yield
            finally:
                over.set()

    @contextlib.contextmanager
    def asking(self, scope: Scope, agent: str) -> Iterator[tuple[Scope, dict[str, str], On]]:
        """The scope of an agent's request, and what its answer will say in headers and do on arrival."""
        told: dict[str, str] = {}
        on_delivered: On = []
        # The SDK lets only its owner use a protocol session.
        user = AuthenticatedUser(AccessToken(token="", client_id=agent, scopes=[]))
        yield {**scope, "user": user, _OURS: (agent, told, on_delivered)}, told, on_delivered

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        await self._manager.handle_request(scope, receive, send)

    async def _answer(self, ctx: ServerRequestContext[Any, Any], params: Any) -> dict[str, Any]:
        _, told, on_delivered = ctx.request.scope[_OURS]  # type: ignore[union-attr]
        said = ctx.params or {}
        can = (said.get("_meta") or {}).get(_CAPABILITIES) or {}
        asked = Asked(
            method=ctx.method,
            params=said,
            headers=ctx.request.headers,  # type: ignore[union-attr]
            may_need_input=ctx.protocol_version in _MODERN,
            can_elicit="elicitation" in can,
            on_delivered=on_delivered,
            told=told,
        )
        try:
            result = await self._relay.answer(asked)
        except RpcFailed as failed:
            raise MCPError(failed.code, failed.message, failed.data) from None
        return {"resultType": "complete", **result} if asked.may_need_input else result


def _agent(ctx: ServerRequestContext[Any, Any]) -> str:
    agent: str = ctx.request.scope[_OURS][0]  # type: ignore[union-attr]
    return agent
