"""Python functions as tools: arguments and results checked against their type hints."""

import asyncio
import inspect
import typing
from collections.abc import Callable
from dataclasses import field, make_dataclass, replace
from typing import Any

from answerable.action import Finding
from answerable.core import Action, Description, Outcome, mismatch, sha256_name, stable_json
from answerable.tools._declaration import ToolDeclaration
from answerable.tools._errors import (
    ArgumentsInvalid,
    ToolFailed,
    ToolResultInvalid,
    ToolServerLost,
    ToolTimedOut,
    ToolUnusable,
)
from answerable.tools._outcomes import ended_badly, lost, succeeded, told

__all__ = ["NOT_DONE", "FunctionTool"]

_MOST_READ, _LARGEST_READ = 256, 4096
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class _NotDone:
    """The probe's answer that a lost call did not happen."""

    def __repr__(self) -> str:
        return "NOT_DONE"


NOT_DONE = _NotDone()


class FunctionTool:
    """A Python function behind the gate. Coroutine functions run on the loop, others in a thread."""

    def __init__(self, function: Callable[..., Any], *, name: str, declaration: ToolDeclaration) -> None:
        declaration.checked_effect(name)
        self.name = name
        self.declaration = declaration
        self.description = inspect.getdoc(function) or ""
        self._function = function
        self._is_async = inspect.iscoroutinefunction(inspect.unwrap(function))
        self._timeout_s = declaration.timeout.total_seconds() if declaration.timeout else None
        self._labels = () if declaration.trusted else (f"untrusted:{name}",)
        self._effect = declaration.checked_effect(name)
        self._arguments, self._result, self._unfit = self._compile(function)
        self.schema: dict[str, Any] = self._arguments.json_schema()
        self._schema_name = sha256_name(stable_json(self.schema))
        self._described = declaration.describe(name, {}, self._schema_name) if declaration.is_constant else None
        self._read: dict[bytes, dict[str, Any]] = {}
        """Arguments that were checked when a call was described, for the one that carries it out."""

    def describe(self, arguments: bytes) -> Description:
        parsed = self._parsed(arguments)
        if self._described is None:
            return self.declaration.describe(self.name, parsed, self._schema_name)
        # SECURITY: only here, where nobody else has seen them: what is carried out is what is on the record.
        if len(arguments) <= _LARGEST_READ:
            if len(self._read) >= _MOST_READ:
                self._read.pop(next(iter(self._read)))
            self._read[arguments] = parsed
        return self._described

    async def execute(self, action: Action) -> Outcome:
        try:
            arguments = self._read.pop(action.arguments, None) or self._parsed(action.arguments)
        except ArgumentsInvalid as error:
            return told(error)
        if self.declaration.idempotency is not None:
            arguments[self.declaration.idempotency] = action.idempotency_key
        try:
            value = await (self._call(arguments) if self._timeout_s is None else self._timed(arguments))
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) and task.cancelling():
                raise  # the gate is going down: the intent stays in doubt
            return lost(ToolServerLost(tool=self.name), effect=self._effect, labels=self._labels)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the tool's edge: becomes an outcome, exits too
            return ended_badly(self.name, error, effect=self._effect, labels=self._labels)
        return self._finished(value)

    async def probe(self, action: Action) -> Finding:
        probe = self.declaration.probe
        if not callable(probe):
            return "cannot say"
        arguments = self._parsed(action.arguments)
        if inspect.iscoroutinefunction(probe):
            value = await probe(action.idempotency_key, **arguments)
        else:
            value = await asyncio.to_thread(probe, action.idempotency_key, **arguments)
        if value is None:
            return "cannot say"
        if value is NOT_DONE:
            return "did not happen"
        outcome = self._finished(value)
        return replace(outcome, observed_by="counterparty") if outcome.status == "ok" else "cannot say"

    async def _timed(self, arguments: dict[str, Any]) -> Any:
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                return await self._call(arguments)
        except Exception:
            if not limit.expired():
                raise
            raise ToolTimedOut(tool=self.name, after_ms=round((self._timeout_s or 0) * 1000)) from None

    async def _call(self, arguments: dict[str, Any]) -> Any:
        if self._is_async:
            return await self._function(**arguments)
        value = await asyncio.to_thread(self._in_thread, arguments)
        return await value if inspect.isawaitable(value) else value

    def _in_thread(self, arguments: dict[str, Any]) -> Any:
        try:
            return self._function(**arguments)
        except StopIteration:  # a future cannot carry it: whoever waits would wait for ever
            raise ToolFailed(tool=self.name, error="StopIteration") from None

    def _finished(self, value: Any) -> Outcome:
        if self._result is not None:
            try:
                value = self._result.serializer.to_python(self._result.validator.validate_python(value), mode="json")
            except self._unfit as error:
                invalid = ToolResultInvalid(tool=self.name, problem=mismatch(error, part="argument"))
                return lost(invalid, effect=self._effect, labels=self._labels)
        return succeeded(self.name, value, effect=self._effect, labels=self._labels)

    def _parsed(self, arguments: bytes) -> dict[str, Any]:
        try:
            return dict(vars(self._arguments.validator.validate_json(arguments)))
        except self._unfit as error:
            raise ArgumentsInvalid(tool=self.name, problem=mismatch(error, part="argument")) from None

    def _compile(self, function: Callable[..., Any]) -> tuple[Any, Any, tuple[type[Exception], ...]]:
        # pydantic costs more to import than all of ours: a process that only reads never pays for it.
        from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
        from pydantic.errors import PydanticSchemaGenerationError
        from pydantic_core import PydanticSerializationError

        try:
            hints = typing.get_type_hints(function, include_extras=True)
            parameters = inspect.signature(function).parameters
        except (NameError, TypeError, ValueError) as error:
            raise ToolUnusable(tool=self.name, problem=f"its type hints cannot be read ({error})") from None
        key = self.declaration.idempotency
        if key is not None and key not in parameters:
            raise ToolUnusable(tool=self.name, problem=f"it has no parameter `{key}` for the idempotency key")
        fields: list[tuple[str, Any, Any]] = []
        for name, parameter in parameters.items():
            if parameter.kind not in _NAMED:
                raise ToolUnusable(tool=self.name, problem=f"parameter `{name}` cannot be given by name")
            if name != key:
                fields.append((name, hints.get(name, Any), _field(parameter.default)))
        try:
            shape = make_dataclass(
                "Arguments", fields, kw_only=True, namespace={"__pydantic_config__": ConfigDict(extra="forbid")}
            )
            arguments: TypeAdapter[Any] = TypeAdapter(shape)
            result = TypeAdapter(hints["return"]) if hints.get("return", Any) is not Any else None
            arguments.json_schema()  # raises for a type that JSON cannot describe
        except (PydanticUserError, PydanticSchemaGenerationError, TypeError) as error:
            raise ToolUnusable(tool=self.name, problem=str(error).splitlines()[0]) from None
        return arguments, result, (ValidationError, PydanticSerializationError)


def _field(default: Any) -> Any:
    # Through a factory, because a dataclass refuses mutable defaults that a function may well have.
    return field() if default is inspect.Parameter.empty else field(default_factory=lambda: default)
