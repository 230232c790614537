"""Chat Completions, from the side that answers: for a model that the gate runs itself.

Source: OpenAI API reference, "Create chat completion", "The chat completion chunk object".
"""

import json
from typing import Any

import orjson

from answerable.models._sse import event_bytes
from answerable.models._turn import Call, Heard, Line, Offer, Turn, Unaskable

__all__ = ["ChatAnswer", "chat_problem", "chat_turn"]

_SAMPLING = ("temperature", "top_p", "seed", "stop")
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def chat_turn(body: Any) -> Turn:
    """The turn that a request asks for.

    Raises:
        Unaskable: it asks for more than the local model does, or is malformed.
    """
    try:
        return _turn(body)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise Unaskable(f"the request is malformed ({type(error).__name__})") from None


def chat_problem(status: int, message: str) -> bytes:
    """An error in this dialect's words."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": None}})


class ChatAnswer:
    """One answer, streamed or whole."""

    def __init__(self, id: str, *, model: str, at: int) -> None:
        self._id = id
        self._model = model
        self._at = at

    def begins(self) -> bytes:
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, more: str) -> bytes:
        return self._chunk({"content": more})

    def ends(self, heard: Heard, *, finish: str, read: int, written: int) -> bytes:
        called = self._chunk({"tool_calls": [{"index": 0, **self._call(heard.call)}]}) if heard.call else b""
        last = self._chunk({}, finish=_reason(heard, finish))
        usage = event_bytes({**self._head("chat.completion.chunk"), "choices": [], "usage": _usage(read, written)})
        return called + last + usage + b"data: [DONE]\n\n"

    def whole(self, heard: Heard, *, finish: str, read: int, written: int) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": heard.text or None, "refusal": None}
        if heard.call:
            message["tool_calls"] = [self._call(heard.call)]
        elif message["content"] is None:
            message["content"] = ""
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(heard, finish)}
        return orjson.dumps({**self._head("chat.completion"), "choices": [choice], "usage": _usage(read, written)})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": f"chatcmpl-{self._id}", "object": kind, "created": self._at, "model": self._model}

    def _chunk(self, delta: dict[str, Any], *, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event_bytes({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _call(self, call: Call) -> dict[str, Any]:
        said = {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
        return {"id": f"call_{self._id}", "type": "function", "function": said}


def _turn(body: Any) -> Turn:
    if body.get("n") not in (None, 1):
        raise Unaskable("the local model gives one answer: `n` is 1")
    tools = tuple(_offer(tool) for tool in body.get("tools") or ())
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        wanted = choice["function"]["name"]
        tools = tuple(tool for tool in tools if tool.name == wanted)
        if not tools:
            raise Unaskable(f"`tool_choice` names `{wanted}`, which is not among the tools")
    elif choice == "none":
        tools = ()
    most = body.get("max_completion_tokens")
    return Turn(
        lines=_lines(body["messages"]),
        max_tokens=body["max_tokens"] if most is None else most,
        schema=_schema(body.get("response_format")),
        tools=tools,
        may_answer=choice in ("auto", "none"),
        sampling={name: body[name] for name in _SAMPLING if body.get(name) is not None},
        streams=body.get("stream") is True,
    )


def _lines(messages: list[Any]) -> tuple[Line, ...]:
    lines: list[Line] = []
    called: dict[str, str] = {}
    for message in messages:
        role, text = message["role"], _text(message.get("content"))
        if role == "tool":
            lines.append(Line.of_result(called.get(message["tool_call_id"], "the tool"), text))
            continue
        if role not in _ROLES:
            raise Unaskable(f"the local model knows no role `{role}`")
        if text:
            lines.append(Line(role=_ROLES[role], text=text))
        for call in message.get("tool_calls") or ():
            name = called[call["id"]] = call["function"]["name"]
            lines.append(Line.of_call(name, _arguments(call["function"]["arguments"])))
    return tuple(lines)


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if any(part["type"] not in ("text", "refusal") for part in content):
        raise Unaskable("the local model reads text only")
    return "\n".join(part.get("text") or part.get("refusal") or "" for part in content)


def _arguments(said: str) -> Any:
    try:
        return json.loads(said)
    except ValueError:
        return said


def _offer(tool: Any) -> Offer:
    if tool.get("type") != "function":
        raise Unaskable("the local model calls functions only")
    said = tool["function"]
    return Offer(
        name=said["name"],
        description=said.get("description") or "",
        schema=said.get("parameters") or {"type": "object", "properties": {}},
    )


def _schema(said: Any) -> Any:
    kind = said.get("type", "text") if said else "text"
    if kind == "json_schema":
        return said["json_schema"].get("schema") or {"type": "object"}
    return {"type": "object"} if kind == "json_object" else None


def _reason(heard: Heard, finish: str) -> str:
    return "tool_calls" if heard.call else finish


def _usage(read: int, written: int) -> dict[str, int]:
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
