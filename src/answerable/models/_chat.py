"""The Chat Completions dialect.

Source: OpenAI API reference, "Create chat completion", "The chat completion chunk object".
"""

from dataclasses import dataclass, field
from typing import Any

import orjson

from answerable.core import stable_json
from answerable.models._dialects import Answer, Asked, Check, Counted, NotGoverned
from answerable.models._sse import SseItem, event_bytes

__all__ = ["ChatDialect"]

_UNSEEN = ("functions", "function_call", "web_search_options")
_KINDS = ("function", "custom")


class ChatDialect:
    """`POST /chat/completions`."""

    path = "/chat/completions"

    def asked(self, body: Any, *, model: str, most_output: int) -> Asked:
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
            raise NotGoverned("it has no `messages`")
        for name in _UNSEEN:
            if body.get(name) is not None:
                raise NotGoverned(f"`{name}` is not governed here: use `tools`")
        for tool in body.get("tools") or ():
            if not isinstance(tool, dict) or tool.get("type") not in _KINDS:
                raise NotGoverned("a tool that the provider runs itself is not governed here")
        said = {**body, "model": model}
        named = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
        most = body.get(named)
        if most is None:
            most = said[named] = most_output
        n = 1 if body.get("n") is None else body["n"]
        if not _is_count(most) or not _is_count(n):
            raise NotGoverned(f"`{named}` and `n` are whole numbers above zero")
        streams = body.get("stream") is True
        hides = False
        if streams:
            options = body.get("stream_options") or {}
            hides = not options.get("include_usage")
            said["stream_options"] = {**options, "include_usage": True}
        return Asked(body=said, most_output=most * n, streams=streams, hides_usage=hides)

    def headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"} if key else {}

    def answer(self, check: Check, asked: Asked) -> Answer:
        return _ChatAnswer(check, hides_usage=asked.hides_usage)

    def broken(self, message: str) -> bytes:
        return event_bytes({"error": {"message": message, "type": "upstream_error", "param": None, "code": None}})


@dataclass(slots=True)
class _Call:
    id: str = ""
    kind: str = "function"
    name: str = ""
    said: str = ""

    @property
    def arguments(self) -> bytes:
        """A custom tool takes text; ours take objects."""
        return self.said.encode() or b"{}" if self.kind == "function" else stable_json({"input": self.said})

    def to_json(self, index: int) -> dict[str, Any]:
        takes = "arguments" if self.kind == "function" else "input"
        return {"index": index, "id": self.id, "type": self.kind, self.kind: {"name": self.name, takes: self.said}}


@dataclass(slots=True)
class _Held:
    """The tool calls of one choice, until all are there."""

    raws: list[bytes] = field(default_factory=list)
    calls: dict[int, _Call] = field(default_factory=dict)
    text: str = ""

    def take(self, raw: bytes, delta: dict[str, Any]) -> None:
        self.raws.append(raw)
        self.text += delta.get("content") or ""
        for part in delta["tool_calls"]:
            call = self.calls.setdefault(part.get("index", len(self.calls)), _Call())
            call.id += part.get("id") or ""
            call.kind = part.get("type") or call.kind
            named = part.get(call.kind) or {}
            call.name += named.get("name") or ""
            call.said += named.get("arguments") or named.get("input") or ""


class _ChatAnswer:
    def __init__(self, check: Check, *, hides_usage: bool) -> None:
        self.counted: Counted | None = None
        self.is_whole = False
        self.model = ""
        self._check = check
        self._hides_usage = hides_usage
        self._held: dict[int, _Held] = {}

    async def event(self, event: SseItem) -> bytes:
        if event.data is None:
            return event.raw
        if event.data.strip() == b"[DONE]":
            # SECURITY: calls that never ended were never checked, so they are not passed on.
            self.is_whole = not self._held
            return event.raw if self.is_whole else b""
        said = event.json()
        self._learn(said)
        choices = said.get("choices") or []
        if not choices:
            return b"" if self._hides_usage and said.get("usage") else event.raw
        if len(choices) == 1:
            return await self._choice(said, choices[0], event.raw)
        return b"".join([await self._choice(said, each, event_bytes({**said, "choices": [each]})) for each in choices])

    async def body(self, body: bytes) -> bytes:
        said = orjson.loads(body)
        if not isinstance(said, dict) or not isinstance(said.get("choices"), list):
            raise ValueError("not a chat completion")
        self._learn(said)
        self.is_whole = True
        was_refused = [await self._message(choice) for choice in said["choices"]]
        return orjson.dumps(said) if any(was_refused) else body

    def _learn(self, said: dict[str, Any]) -> None:
        self.model = self.model or str(said.get("model") or "")
        usage = said.get("usage")
        if isinstance(usage, dict):
            self.counted = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)

    async def _message(self, choice: dict[str, Any]) -> bool:
        message = choice["message"]
        if message.get("function_call"):
            raise ValueError("it calls a function that nobody offered")
        kept, refusals = [], []
        for part in message.get("tool_calls") or ():
            call = _call_of(part)
            refusal = await self._check(call.name, call.arguments)
            if refusal is None:
                kept.append(part)
            else:
                refusals.append(refusal)
        if refusals:
            message["content"] = "\n\n".join([text for text in (message.get("content"),) if text] + refusals)
            message.pop("tool_calls")
            message.update({"tool_calls": kept} if kept else {})
            choice["finish_reason"] = _reason(choice.get("finish_reason"), has_calls=bool(kept))
        return bool(refusals)

    async def _choice(self, said: dict[str, Any], choice: dict[str, Any], raw: bytes) -> bytes:
        delta = choice.get("delta") or {}
        if delta.get("function_call"):
            raise ValueError("it calls a function that nobody offered")
        index, has_calls, ends = choice.get("index", 0), bool(delta.get("tool_calls")), choice.get("finish_reason")
        if has_calls:
            self._held.setdefault(index, _Held()).take(raw, delta)
        if ends and index in self._held:
            return await self._release(self._held.pop(index), said, choice, b"" if has_calls else raw)
        return b"" if has_calls else raw

    async def _release(self, held: _Held, said: dict[str, Any], choice: dict[str, Any], last: bytes) -> bytes:
        kept, refusals = [], []
        for _, call in sorted(held.calls.items()):
            refusal = await self._check(call.name, call.arguments)
            if refusal is None:
                kept.append(call)
            else:
                refusals.append(refusal)
        if not refusals:
            return b"".join(held.raws) + last
        delta = choice.get("delta") or {}
        text = held.text + ("" if delta.get("tool_calls") else delta.get("content") or "")
        deltas: list[dict[str, Any]] = [{"content": "\n\n".join([each for each in (text,) if each] + refusals)}]
        deltas += [{"tool_calls": [call.to_json(number)]} for number, call in enumerate(kept)]
        common = {**choice, "finish_reason": None}
        out = [event_bytes({**said, "choices": [{**common, "delta": delta}]}) for delta in deltas]
        ended = {**choice, "delta": {}, "finish_reason": _reason(choice["finish_reason"], has_calls=bool(kept))}
        return b"".join([*out, event_bytes({**said, "choices": [ended]})])


def _call_of(part: dict[str, Any]) -> _Call:
    kind = part.get("type") or "function"
    named = part.get(kind) or {}
    return _Call(
        part.get("id") or "", kind, named.get("name") or "", named.get("arguments") or named.get("input") or ""
    )


def _reason(reason: Any, *, has_calls: bool) -> Any:
    return "stop" if reason == "tool_calls" and not has_calls else reason


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
