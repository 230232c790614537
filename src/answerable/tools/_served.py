"""Tools of a server: arguments checked against the schema it listed, answers made into outcomes."""

from collections import OrderedDict
from typing import Any

import orjson

from answerable.action import Finding
from answerable.core import Action, AnswerableError, Description, Effect, Outcome, sha256_name, stable_json
from answerable.tools._declaration import ToolDeclaration
from answerable.tools._errors import (
    ArgumentsInvalid,
    ToolFailed,
    ToolLeftWaiting,
    ToolResultInvalid,
    ToolServerLost,
    ToolTimedOut,
    ToolUnusable,
)
from answerable.tools._outcomes import lost, succeeded, told
from answerable.tools._pins import listing_of
from answerable.tools._ports import Answer, ListedTool, Peer, ToolServer, calling

__all__ = ["ServedTool"]

_KEY = "idempotency_key"
_MOST_CHECKED, _LONGEST_CHECKED_BYTES = 256, 1 << 16


class ServedTool:
    """A tool of a server, with the operator's declaration of it."""

    def __init__(self, server: ToolServer, listed: ListedTool, *, declaration: ToolDeclaration) -> None:
        self.name = f"{server.name}.{listed.name}"
        self.declaration = declaration
        self.description = listed.description
        self._server = server
        self._listed = listed
        self.listing = listing_of(listed)
        self.digest = sha256_name(stable_json(self.listing))
        self._effect: Effect = declaration.checked_effect(self.name)
        self._labels = () if declaration.trusted else (f"untrusted:{self.name}",)
        self.schema = _without(listed.schema, declaration.idempotency, self.name)
        if not listed.schema.get("additionalProperties") and "patternProperties" not in listed.schema:
            declaration.check_names(self.name, listed.schema.get("properties", {}))
        self._schema_name = sha256_name(stable_json(self.schema))
        self._validator = _validator(self.name, self.schema)
        self._probe: ListedTool | None = None
        self._checked: OrderedDict[bytes, None] = OrderedDict()

    def probe_with(self, listed: ListedTool) -> None:
        """Use `listed`, a read tool of the same server, as the status probe."""
        self._probe = listed

    def describe(self, arguments: bytes) -> Description:
        described = self.declaration.describe(self.name, self._parsed(arguments), self._schema_name)
        # Until they are sent. MEASURED: a second look at the same bytes took a fortieth of a call.
        if len(arguments) <= _LONGEST_CHECKED_BYTES:
            self._checked[arguments] = None
        if len(self._checked) > _MOST_CHECKED:
            self._checked.popitem(last=False)
        return described

    @property
    def listed(self) -> ListedTool:
        """As its server lists it."""
        return self._listed

    @property
    def server(self) -> str:
        """The server's name."""
        return self._server.name

    async def execute(self, action: Action, *, whole: bool = False, peer: Peer | None = None) -> Outcome:
        """Do it.

        Args:
            whole: the outcome holds the result as MCP has it, not only its value.
            peer: whom the server may speak to meanwhile.
        """
        try:
            is_checked = self._checked.pop(action.arguments, self) is None
            arguments = orjson.loads(action.arguments) if is_checked else self._parsed(action.arguments)
        except ArgumentsInvalid as error:
            return told(error)
        if self.declaration.idempotency is not None:
            arguments[self.declaration.idempotency] = action.idempotency_key
        try:
            timeout = self.declaration.timeout
            with calling(self.name, action):
                answer = await self._server.call(self._listed.name, arguments, timeout=timeout, peer=peer)
        except (ToolServerLost, ToolTimedOut, ToolResultInvalid, ToolLeftWaiting) as error:
            return lost(error, effect=self._effect, labels=self._labels)
        except AnswerableError as error:  # never sent
            return told(error)
        if answer.error:
            result = "" if answer.whole is None else stable_json(answer.whole).decode()
            failed = ToolFailed(tool=self.name, error=answer.error, said="\n".join(answer.texts), result=result)
            return told(failed, labels=self._labels)
        value = _result(answer) if whole else _value(answer)
        return succeeded(self.name, value, effect=self._effect, labels=self._labels)

    async def probe(self, action: Action) -> Finding:
        if self._probe is None:
            return "cannot say"
        known = {**self._parsed(action.arguments), _KEY: action.idempotency_key}
        if self.declaration.idempotency is not None:
            known[self.declaration.idempotency] = action.idempotency_key
        asked = {name: known[name] for name in self._probe.schema.get("properties", {}) if name in known}
        with calling(self.name, action):
            answer = await self._server.call(self._probe.name, asked, timeout=self.declaration.timeout)
        value = None if answer.error else _value(answer)
        if not isinstance(value, dict) or not isinstance(value.get("found"), bool):
            return "cannot say"
        if not value.pop("found"):
            return "did not happen"
        return Outcome(status="ok", value=stable_json(value), observed_by="counterparty", labels=self._labels)

    def _parsed(self, arguments: bytes) -> dict[str, Any]:
        value = orjson.loads(arguments)
        if not isinstance(value, dict):
            raise ArgumentsInvalid(tool=self.name, problem="arguments are one JSON object")
        known = self.schema.get("properties", {})
        # Servers silently drop what they do not know; an agent that misspells an argument should hear of it.
        if "additionalProperties" not in self.schema and "patternProperties" not in self.schema:
            for name in value:
                if name not in known:
                    raise ArgumentsInvalid(tool=self.name, problem=f"it has no argument `{name}`")
        if self.declaration.idempotency in value:
            raise ArgumentsInvalid(tool=self.name, problem="the idempotency key is the gate's to set")
        for error in self._validator.iter_errors(value):
            raise ArgumentsInvalid(tool=self.name, problem=_problem(error))
        return value


def _validator(tool: str, schema: dict[str, Any]) -> Any:
    from jsonschema import SchemaError, validators  # type: ignore[import-untyped]

    cls = validators.validator_for(schema)
    try:
        cls.check_schema(schema)
    except SchemaError:
        raise ToolUnusable(tool=tool, problem="its server lists an argument schema that is not a JSON schema") from None
    return cls(schema)


def _without(schema: dict[str, Any], key: str | None, tool: str) -> dict[str, Any]:
    """The schema an agent sees: the gate sets the idempotency key, not the agent."""
    if key is None:
        return schema
    if key not in schema.get("properties", {}):
        raise ToolUnusable(tool=tool, problem=f"it has no argument `{key}` for the idempotency key")
    properties = {name: inner for name, inner in schema["properties"].items() if name != key}
    required = [name for name in schema.get("required", []) if name != key]
    return {**schema, "properties": properties, "required": required}


def _problem(error: Any) -> str:
    """What the schema asks for, never the value it got: arguments may hold personal data."""
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"argument `{f'{where}.{missing}' if where else missing}` is missing"
    asked = f"must meet `{error.validator}: {orjson.dumps(error.validator_value).decode()[:120]}`"
    return f"`{where}` {asked}" if where else f"the arguments {asked}"


def _value(answer: Answer) -> Any:
    if answer.structured is not None:
        return answer.structured
    text = "\n".join(answer.texts)
    if answer.blocks:
        return {"text": text, "content": list(answer.blocks)}
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"text": text}


def _result(answer: Answer) -> dict[str, Any]:
    if answer.whole is not None:
        return answer.whole
    said: dict[str, Any] = {"content": list(answer.content)}
    if answer.structured is not None:
        said["structuredContent"] = answer.structured
    return said
