"""One turn of a model that was never taught to call tools: what it may call is offered as a schema of its words.

The reply is one JSON object, and the model's words are constrained to it as they are written: `{"answer": …}`, or
`{"tool": …, "arguments": …}` with that tool's own schema. So whatever it says is well-formed, if not wise.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

__all__ = ["Call", "Heard", "Line", "Offer", "Turn", "Unaskable"]

# In the fewest words: a small model takes an example for an order.
_HOW = 'Reply with JSON: {"tool": name, "arguments": {...}} to call a tool, or {"answer": text} to answer.'


class Unaskable(ValueError):
    """The request asks for something that the local model does not do; says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A tool that the model may call."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A tool call that the model wrote."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A message of the conversation.

    Args:
        role: `system`, `user` or `assistant`.
        called: the tool that this line calls, if any; its text is then the call as the model wrote it.
        result_of: the tool whose result this line is, if it is one.
    """

    role: str
    text: str
    called: str = ""
    result_of: str = ""

    @classmethod
    def of_call(cls, name: str, arguments: Any) -> "Line":
        """What the model itself would have written for this call."""
        text = json.dumps({"tool": name, "arguments": arguments}, ensure_ascii=False)
        return cls(role="assistant", text=text, called=name)

    @classmethod
    def of_result(cls, name: str, text: str) -> "Line":
        """A tool's result; the model knows no role for it."""
        return cls(role="user", text=f"Result of {name}: {text}", result_of=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What the model is asked, whichever dialect it came in.

    Args:
        schema: that the answer must fit; None for free text.
        may_answer: it may answer without calling a tool.
        sampling: `temperature`, `top_p`, `seed` and `stop` as asked; by default the likeliest word each time.
        streams: the agent wants the answer as it comes.
    """

    lines: tuple[Line, ...]
    max_tokens: int
    schema: Mapping[str, Any] | None = None
    tools: tuple[Offer, ...] = ()
    may_answer: bool = True
    sampling: Mapping[str, Any] = field(default_factory=dict)
    streams: bool = False

    @property
    def offered(self) -> tuple[Offer, ...]:
        """The tools that it may call now: each once for a question, for a small model would call it for ever."""
        called: set[str] = set()
        for line in reversed(self.lines):
            if line.role == "user" and not line.result_of:
                break
            called.add(line.called)
        left = tuple(tool for tool in self.tools if tool.name not in called)
        return left if left or self.may_answer else self.tools

    def question(self) -> dict[str, Any]:
        """The request for the model's own server, in the Chat Completions dialect."""
        lines = [{"role": line.role, "content": line.text} for line in self.lines]
        offered = self.offered
        schema = self._schema(offered)
        if offered:
            told = "\n".join(["You have these tools:", *(_signature(tool) for tool in offered), _HOW])
            said = [line["content"] for line in lines if line["role"] == "system"]
            lines = [line for line in lines if line["role"] != "system"]
            lines.insert(0, {"role": "system", "content": "\n\n".join([*said, told])})
        body: dict[str, Any] = {
            **self.sampling,
            "messages": lines,
            "max_tokens": self.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if schema is not None:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}
        return body

    def _schema(self, offered: tuple[Offer, ...]) -> Mapping[str, Any] | None:
        if not offered:
            return None if self.schema is None else _hoisted(self.schema, "#")
        definitions = {str(number): _hoisted(tool.schema, f"#/$defs/{number}") for number, tool in enumerate(offered)}
        choices = [
            _closed({"tool": {"const": tool.name}, "arguments": {"$ref": f"#/$defs/{number}"}})
            for number, tool in enumerate(offered)
        ]
        if self.may_answer:
            answer: Any = {"type": "string"}
            if self.schema is not None:
                definitions["answer"], answer = _hoisted(self.schema, "#/$defs/answer"), {"$ref": "#/$defs/answer"}
            choices.append(_closed({"answer": answer}))
        return {"anyOf": choices, "$defs": definitions}


class Heard:
    """The model's words so far, and what they amount to."""

    def __init__(self, turn: Turn) -> None:
        self.text = ""
        self.call: Call | None = None
        self._folded = bool(turn.offered)
        self._words = ""

    def feed(self, words: str) -> str:
        """More words; what of them is new text for the agent."""
        self._words += words
        if not self._folded:
            self.text += words
            return words
        try:
            said = from_json(self._words, allow_partial="trailing-strings")
        except ValueError:
            return ""  # half a word of JSON
        answer = said.get("answer") if isinstance(said, dict) else None
        return self._more(answer) if isinstance(answer, str) else ""

    def end(self) -> str:
        """There are no more words; what of the text was still due."""
        if not self._folded:
            return ""
        try:
            said = from_json(self._words)
        except ValueError:
            return ""  # cut off: a call that is not whole is no call
        if "tool" in said:
            self.call = Call(name=said["tool"], arguments=said["arguments"])
            return ""
        answer = said["answer"]
        return self._more(answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False))

    def _more(self, whole: str) -> str:
        more = whole[len(self.text) :]
        self.text = whole
        return more


def _signature(tool: Offer) -> str:
    properties = tool.schema.get("properties") or {}
    taken = ", ".join(f"{name}: {_kind(schema)}" for name, schema in properties.items())
    first = (tool.description.strip().splitlines() or [""])[0]
    return f"- {tool.name}({taken}): {first}"


def _kind(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return "any"
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    kind = schema.get("type", "any")
    return " or ".join(str(each) for each in kind) if isinstance(kind, list) else str(kind)


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _hoisted(schema: Any, at: str) -> Any:
    """The schema as it must read when it stands at another place: its own references lead there.

    Objects that list their properties are closed: one left open is an invitation to make some up. Properties stand in
    the order of `required`, for the model writes them in order: who first names the sum and then decides, decides
    worse, and a schema that travelled may have been sorted.
    """
    if isinstance(schema, list):
        return [_hoisted(each, at) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    moved = {name: _hoisted(value, at) for name, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = at + reference[1:]
    properties, required = moved.get("properties"), moved.get("required")
    if schema.get("type") == "object" and isinstance(properties, dict):
        moved.setdefault("additionalProperties", False)
        first = [name for name in required if name in properties] if isinstance(required, list) else []
        moved["properties"] = {name: properties[name] for name in dict.fromkeys((*first, *properties))}
    return moved
