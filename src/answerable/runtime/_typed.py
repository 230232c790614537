"""From Python values to stable JSON and back, by the types an agent's author wrote."""

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, get_type_hints

from answerable.core import stable_json

__all__ = ["from_json", "input_type", "json_schema", "to_json"]


def to_json(value: Any) -> bytes:
    """Stable JSON of a value; dataclasses and pydantic models included.

    Raises:
        TypeError, ValueError: JSON has no such value.
    """
    try:
        return stable_json(value)
    except TypeError:
        from pydantic_core import to_jsonable_python

        return stable_json(to_jsonable_python(value))


def from_json(wanted: Any, body: bytes) -> Any:
    """The value of type `wanted` that `body` stands for.

    Raises:
        ValueError: it does not fit (pydantic's `ValidationError`).
    """
    return _adapter(wanted).validate_json(body)


def json_schema(wanted: Any) -> dict[str, Any]:
    """The JSON schema of a type."""
    schema: dict[str, Any] = _adapter(wanted).json_schema()
    return schema


@lru_cache(maxsize=256)
def input_type(function: Callable[..., Any]) -> Any:
    """What an agent's second parameter declares; `Any` where it says nothing."""
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) < 2:
        return Any
    return get_type_hints(function).get(parameters[1], Any)


@lru_cache(maxsize=256)
def _adapter(wanted: Any) -> Any:
    from pydantic import TypeAdapter  # here, because importing it takes a quarter of the package's import time

    return TypeAdapter(wanted)
