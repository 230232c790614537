"""Tools for callers that speak MCP: outcomes hold the whole result, as it goes over the wire.

A run's agent gets a value; an MCP client gets content blocks, in order, beside the structured value.

Source: Model Context Protocol, "Tools", "Tool Result".
"""

from dataclasses import replace
from typing import Any

import orjson

from answerable.action import Finding, Step
from answerable.core import ActionKind, Description, Outcome, stable_json
from answerable.tools._ports import Peer, Tool
from answerable.tools._relayed import RelayedTool
from answerable.tools._served import ServedTool
from answerable.tools._toolbox import Toolbox

__all__ = ["WholeResults"]


class WholeResults:
    """The tools half of the road's `Effects`, with results as MCP has them.

    Args:
        peer: the client that the calls come from, whom a server may speak to meanwhile.
    """

    def __init__(self, toolbox: Toolbox, *, peer: Peer | None = None) -> None:
        self._toolbox = toolbox
        self._peer = peer

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        """What the call is, from its declaration."""
        return self._toolbox.describe(kind, name, arguments)

    async def execute(self, step: Step) -> Outcome:
        """Do it. `failed` means surely not done; `unknown`, that it may have been."""
        tool = self._toolbox.tool(step.action.name)
        if isinstance(tool, ServedTool):
            return await tool.execute(step.action, whole=True, peer=self._peer)
        if isinstance(tool, RelayedTool):
            return await tool.execute(step.action, peer=self._peer)
        return _whole(tool, await tool.execute(step.action))

    async def probe(self, step: Step) -> Finding:
        """Whether a lost call happened, by its declared probe."""
        found = await self._toolbox.probe(step)
        return _whole(self._toolbox.tool(step.action.name), found) if isinstance(found, Outcome) else found


def _whole(tool: Tool, outcome: Outcome) -> Outcome:
    if outcome.status != "ok" or isinstance(tool, RelayedTool):
        return outcome
    value = orjson.loads(outcome.value)
    text = value if isinstance(value, str) else outcome.value.decode()
    said: dict[str, Any] = {"content": [{"type": "text", "text": text}]}
    if isinstance(value, dict):
        said["structuredContent"] = value
    return replace(outcome, value=stable_json(said))
