"""The Messages dialect.

Source: Anthropic API reference, "Create a Message", "Streaming Messages".
"""

from typing import Any

import orjson

from answerable.models._dialects import Answer, Asked, Check, Counted, NotGoverned
from answerable.models._sse import SseItem, event_bytes

__all__ = ["MessagesDialect"]

_VERSION = "2023-06-01"
# Tools that the agent itself runs; every other typed tool runs at the provider, where nobody sees it.
_RUN_BY_THE_AGENT = ("bash_", "text_editor_", "computer_", "memory_")
_USAGE = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


class MessagesDialect:
    """`POST /messages`."""

    path = "/messages"

    def asked(self, body: Any, *, model: str, most_output: int) -> Asked:
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
            raise NotGoverned("it has no `messages`")
        if body.get("mcp_servers"):
            raise NotGoverned("`mcp_servers` that the provider calls itself are not governed here: use the gate's")
        for tool in body.get("tools") or ():
            kind = tool.get("type", "custom") if isinstance(tool, dict) else None
            if kind not in ("custom", None) and not str(kind).startswith(_RUN_BY_THE_AGENT):
                raise NotGoverned(f"tool type `{kind}` is run by the provider itself, and is not governed here")
        most = body.get("max_tokens", most_output)
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise NotGoverned("`max_tokens` is a whole number above zero")
        said = {**body, "model": model, "max_tokens": most}
        return Asked(body=said, most_output=most, streams=body.get("stream") is True)

    def headers(self, key: str) -> dict[str, str]:
        return {"anthropic-version": _VERSION, **({"x-api-key": key} if key else {})}

    def answer(self, check: Check, asked: Asked) -> Answer:
        return _MessagesAnswer(check)

    def broken(self, message: str) -> bytes:
        said = {"type": "error", "error": {"type": "api_error", "message": message}}
        return event_bytes(said, name="error")


class _MessagesAnswer:
    def __init__(self, check: Check) -> None:
        self.counted: Counted | None = None
        self.is_whole = False
        self.model = ""
        self._check = check
        self._held: dict[int, list[SseItem]] = {}
        self._has_calls = False
        self._was_refused = False

    async def event(self, event: SseItem) -> bytes:
        if event.data is None:
            return event.raw
        said = event.json()
        kind = said.get("type")
        if kind == "message_start":
            self._learn(said.get("message") or {})
        elif kind == "content_block_start" and said["content_block"].get("type") == "tool_use":
            self._held[said["index"]] = [event]
            return b""
        elif kind in ("content_block_delta", "content_block_stop") and said["index"] in self._held:
            self._held[said["index"]].append(event)
            return b"" if kind == "content_block_delta" else await self._release(said["index"])
        elif kind == "message_delta":
            self._count(said.get("usage") or {})
            delta = said.get("delta") or {}
            if self._was_refused and not self._has_calls and delta.get("stop_reason") == "tool_use":
                return event_bytes({**said, "delta": {**delta, "stop_reason": "end_turn"}}, name="message_delta")
        elif kind == "message_stop":
            # SECURITY: a call that never ended was never checked, so it is not passed on.
            self.is_whole = not self._held
        return event.raw

    async def body(self, body: bytes) -> bytes:
        said = orjson.loads(body)
        if not isinstance(said, dict) or not isinstance(said.get("content"), list):
            raise ValueError("not a message")
        self._learn(said)
        self.is_whole = True
        for place, block in enumerate(said["content"]):
            if block.get("type") == "tool_use":
                refusal = await self._allows(block.get("name", ""), orjson.dumps(block.get("input")))
                if refusal is not None:
                    said["content"][place] = {"type": "text", "text": refusal}
        if not self._was_refused:
            return body
        if said.get("stop_reason") == "tool_use" and not self._has_calls:
            said["stop_reason"] = "end_turn"
        return orjson.dumps(said)

    async def _release(self, index: int) -> bytes:
        held = self._held.pop(index)
        parts = [event.json() for event in held]
        block = parts[0]["content_block"]
        text = "".join((part.get("delta") or {}).get("partial_json", "") for part in parts)
        refusal = await self._allows(block.get("name", ""), text.encode() or orjson.dumps(block.get("input") or {}))
        if refusal is None:
            return b"".join(event.raw for event in held)
        # One block for one: the indices of all others stand.
        start, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": refusal}
        told = (
            {"type": "content_block_start", "index": index, "content_block": start},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        )
        return b"".join(event_bytes(each, name=str(each["type"])) for each in told)

    async def _allows(self, name: str, arguments: bytes) -> str | None:
        refusal = await self._check(name, arguments)
        self._has_calls |= refusal is None
        self._was_refused |= refusal is not None
        return refusal

    def _learn(self, message: dict[str, Any]) -> None:
        self.model = str(message.get("model") or "")
        self._count(message.get("usage") or {})

    def _count(self, usage: dict[str, Any]) -> None:
        read, written = self.counted or (0, 0)
        told = sum(int(usage.get(name) or 0) for name in _USAGE)
        self.counted = told or read, int(usage.get("output_tokens") or written)
