"""What an MCP server answers beside tool calls (resources, prompts, completion), as tools: it takes the road too.

Such a call reads, unless the operator declares otherwise under its method's name; it is named
`server.resources/read`, and what comes back is as untrusted as any tool's result.
"""

from typing import Any

import orjson

from answerable.action import Finding
from answerable.core import Action, AnswerableError, Description, Effect, Outcome, sha256_name, stable_json
from answerable.tools._declaration import ToolDeclaration
from answerable.tools._errors import ArgumentsInvalid, ToolLeftWaiting, ToolResultInvalid, ToolServerLost, ToolTimedOut
from answerable.tools._outcomes import lost, succeeded, told
from answerable.tools._ports import Peer, RelayedServer, calling

__all__ = ["ANSWERED", "RELAYED", "AnswerTool", "RelayedTool"]

RELAYED = {"resources/read": "uri", "prompts/get": "name", "completion/complete": "ref"}
"""The methods, and the argument that each must have."""
ANSWERED = ("elicitation/create", "sampling/createMessage", "roots/list")
"""What servers ask of clients."""


class RelayedTool:
    """One method of one server."""

    def __init__(self, server: RelayedServer, method: str, declaration: ToolDeclaration | None) -> None:
        self.name = f"{server.name}.{method}"
        self.declaration = declaration or ToolDeclaration(effect=Effect.READ)
        self.description = f"`{method}` of MCP server `{server.name}`"
        self.schema: dict[str, Any] = {"type": "object", "required": [RELAYED[method]]}
        self._server = server
        self._method = method
        self._effect = self.declaration.checked_effect(self.name)
        self._labels = () if self.declaration.trusted else (f"untrusted:{self.name}",)
        self._schema_name = sha256_name(stable_json(self.schema))

    def describe(self, arguments: bytes) -> Description:
        return self.declaration.describe(self.name, self._parsed(arguments), self._schema_name)

    async def execute(self, action: Action, *, peer: Peer | None = None) -> Outcome:
        timeout = self.declaration.timeout
        try:
            with calling(self.name, action):
                said = await self._server.ask(self._method, self._parsed(action.arguments), timeout=timeout, peer=peer)
        except (ToolServerLost, ToolTimedOut, ToolResultInvalid, ToolLeftWaiting) as error:
            return lost(error, effect=self._effect, labels=self._labels)
        except AnswerableError as error:
            return told(error, labels=self._labels)
        return succeeded(self.name, said, effect=self._effect, labels=self._labels)

    async def probe(self, action: Action) -> Finding:
        return "cannot say"

    def _parsed(self, arguments: bytes) -> dict[str, Any]:
        value = orjson.loads(arguments)
        if not isinstance(value, dict) or RELAYED[self._method] not in value:
            raise ArgumentsInvalid(tool=self.name, problem=f"argument `{RELAYED[self._method]}` is missing")
        return value


class AnswerTool:
    """A client's answer to a question of a server, before it is passed on.

    What an agent's user, model or files say goes to the server beside the arguments that were decided: so it is decided
    and recorded by itself, named `server.elicitation/create`, and an answer that policy refuses is not passed on.
    """

    def __init__(self, server: str, method: str, declaration: ToolDeclaration | None) -> None:
        self.name = f"{server}.{method}"
        self.declaration = declaration or ToolDeclaration(effect=Effect.READ, trusted=True)
        self.description = f"answers to `{method}` of MCP server `{server}`"
        self.schema: dict[str, Any] = {"type": "object", "required": ["question", "answer"]}
        self._effect = self.declaration.checked_effect(self.name)
        self._schema_name = sha256_name(stable_json(self.schema))

    def describe(self, arguments: bytes) -> Description:
        return self.declaration.describe(self.name, orjson.loads(arguments), self._schema_name)

    async def execute(self, action: Action) -> Outcome:
        return succeeded(self.name, None, effect=self._effect, labels=())

    async def probe(self, action: Action) -> Finding:
        return "cannot say"
