"""An MCP client as plain HTTP, one request a call, so that a test sees each answer and loses it when it wants to."""

from dataclasses import dataclass
from typing import Any

import httpx

__all__ = ["LEGACY", "MODERN", "PlainClient"]

LEGACY, MODERN = "2025-11-25", "2026-07-28"
_META = "io.modelcontextprotocol/"
_CLIENT = {"name": "plain", "version": "1"}


@dataclass
class PlainClient:
    """One client of one revision.

    Args:
        session: a legacy client's protocol session, once it has one.
    """

    url: str
    key: str
    revision: str
    session: str = ""

    def greet(self) -> None:
        """Begin a legacy client's protocol session, as it does anew whenever the server has forgotten it."""
        said = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": _CLIENT}
        answer = self._post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": said})
        answer.raise_for_status()
        self.session = answer.headers["mcp-session-id"]
        self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def post(self, tool: str, arguments: dict[str, Any], **more: Any) -> httpx.Response:
        """One call of a tool, and the answer as it came; `more` joins the parameters."""
        params: dict[str, Any] = {"name": tool, "arguments": arguments, **more}
        if self.revision == LEGACY:
            if not self.session:
                self.greet()
        else:
            capabilities: dict[str, Any] = {}
            params["_meta"] = {
                _META + "protocolVersion": self.revision,
                _META + "clientInfo": _CLIENT,
                _META + "clientCapabilities": capabilities,
            }
        return self._post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, name=tool)

    def call(self, tool: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
        """One call of a tool, and its result."""
        answer = self.post(tool, arguments, **more)
        if answer.status_code == 404 and self.session:  # another process serves now: begin anew, as the protocol says
            self.session = ""
            answer = self.post(tool, arguments, **more)
        result: dict[str, Any] = answer.json()["result"]
        return result

    def _post(self, body: dict[str, Any], *, name: str = "") -> httpx.Response:
        headers = {
            "authorization": f"Bearer {self.key}",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": self.revision,
        }
        if self.session:
            headers["mcp-session-id"] = self.session
        if self.revision == MODERN:
            headers.update({"mcp-method": body["method"], "mcp-name": name})
        with httpx.Client(trust_env=False, timeout=30) as http:
            return http.post(self.url + "/mcp", json=body, headers=headers)
