"""Messages, from the side that answers: for a model that the gate runs itself.

Source: Anthropic API reference, "Create a Message", "Streaming Messages".
"""

import json
from typing import Any

import orjson

from answerable.models._sse import event_bytes
from answerable.models._turn import Call, Heard, Line, Offer, Turn, Unaskable

__all__ = ["MessagesAnswer", "messages_problem", "messages_turn"]

_SAMPLING = {"temperature": "temperature", "top_p": "top_p", "stop_sequences": "stop"}
_TEXTS = ("text", "thinking", "redacted_thinking")


def messages_turn(body: Any) -> Turn:
    """The turn that a request asks for.

    Raises:
        Unaskable: it asks for more than the local model does, or is malformed.
    """
    try:
        return _turn(body)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise Unaskable(f"the request is malformed ({type(error).__name__})") from None


def messages_problem(status: int, message: str) -> bytes:
    """An error in this dialect's words."""
    kind = "invalid_request_error" if status < 500 else "api_error"
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": message}})


class MessagesAnswer:
    """One answer, streamed or whole."""

    def __init__(self, id: str, *, model: str, at: int) -> None:
        self._id = id
        self._model = model
        self._blocks = 0
        self._is_open = False

    def begins(self) -> bytes:
        # The model tells what it read when it is done; `message_delta` then has both counts.
        return _event({"type": "message_start", "message": self._message([], None, read=0, written=0)})

    def text(self, more: str) -> bytes:
        opened = b"" if self._is_open else self._start({"type": "text", "text": ""})
        self._is_open = True
        return opened + self._delta({"type": "text_delta", "text": more})

    def ends(self, heard: Heard, *, finish: str, read: int, written: int) -> bytes:
        out = b""
        if self._is_open:
            out += self._stop()
        if heard.call:
            block = self._call(heard.call)
            said = json.dumps(block["input"], ensure_ascii=False)
            out += self._start({**block, "input": {}})
            out += self._delta({"type": "input_json_delta", "partial_json": said}) + self._stop()
        usage = {"input_tokens": read, "output_tokens": written}
        delta = {"stop_reason": _reason(heard, finish), "stop_sequence": None}
        out += _event({"type": "message_delta", "delta": delta, "usage": usage})
        return out + _event({"type": "message_stop"})

    def whole(self, heard: Heard, *, finish: str, read: int, written: int) -> bytes:
        content: list[dict[str, Any]] = [{"type": "text", "text": heard.text}] if heard.text else []
        if heard.call:
            content.append(self._call(heard.call))
        return orjson.dumps(self._message(content, _reason(heard, finish), read=read, written=written))

    def _message(self, content: list[Any], reason: str | None, *, read: int, written: int) -> dict[str, Any]:
        return {
            "id": f"msg_{self._id}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": {"input_tokens": read, "output_tokens": written},
        }

    def _start(self, block: dict[str, Any]) -> bytes:
        return _event({"type": "content_block_start", "index": self._blocks, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event({"type": "content_block_delta", "index": self._blocks, "delta": delta})

    def _stop(self) -> bytes:
        self._is_open = False
        self._blocks += 1
        return _event({"type": "content_block_stop", "index": self._blocks - 1})

    def _call(self, call: Call) -> dict[str, Any]:
        return {"type": "tool_use", "id": f"toolu_{self._id}", "name": call.name, "input": call.arguments}


def _turn(body: Any) -> Turn:
    tools = tuple(_offer(tool) for tool in body.get("tools") or ())
    choice = body.get("tool_choice") or {"type": "auto"}
    if choice["type"] == "tool":
        tools = tuple(tool for tool in tools if tool.name == choice["name"])
        if not tools:
            raise Unaskable(f"`tool_choice` names `{choice['name']}`, which is not among the tools")
    elif choice["type"] == "none":
        tools = ()
    system = _text(body.get("system") or "")
    lines = [Line(role="system", text=system)] if system else []
    return Turn(
        lines=(*lines, *_lines(body["messages"])),
        max_tokens=body["max_tokens"],
        schema=_schema(body),
        tools=tools,
        may_answer=choice["type"] in ("auto", "none"),
        sampling={ours: body[theirs] for theirs, ours in _SAMPLING.items() if body.get(theirs) is not None},
        streams=body.get("stream") is True,
    )


def _lines(messages: list[Any]) -> list[Line]:
    lines: list[Line] = []
    called: dict[str, str] = {}
    for message in messages:
        role, content = message["role"], message["content"]
        if role not in ("user", "assistant"):
            raise Unaskable(f"the local model knows no role `{role}`")
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if block["type"] == "tool_use":
                called[block["id"]] = block["name"]
                lines.append(Line.of_call(block["name"], block["input"]))
            elif block["type"] == "tool_result":
                name = called.get(block["tool_use_id"], "the tool")
                lines.append(Line.of_result(name, _text(block.get("content") or "")))
            elif block["type"] not in _TEXTS:
                raise Unaskable("the local model reads text only")
            elif block.get("text"):
                lines.append(Line(role=role, text=block["text"]))
    return lines


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if any(block["type"] != "text" for block in content):
        raise Unaskable("the local model reads text only")
    return "\n".join(block["text"] for block in content)


def _offer(tool: Any) -> Offer:
    if "input_schema" not in tool:
        raise Unaskable(f"the local model does not know the tool type `{tool.get('type')}`")
    return Offer(name=tool["name"], description=tool.get("description") or "", schema=tool["input_schema"])


def _schema(body: Any) -> Any:
    said = (body.get("output_config") or {}).get("format") or body.get("output_format")
    return said["schema"] if said and said["type"] == "json_schema" else None


def _reason(heard: Heard, finish: str) -> str:
    if heard.call:
        return "tool_use"
    return "max_tokens" if finish == "length" else "end_turn"


def _event(said: dict[str, Any]) -> bytes:
    return event_bytes(said, name=said["type"])
