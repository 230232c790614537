"""Structured replies: what a model wrote, held against the schema it was asked to keep."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

__all__ = ["ReplyMisfit", "check_schema", "parse_reply"]

_WHOLE_BELOW = 2**53
_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


class ReplyMisfit(ValueError):
    """Why a reply does not fit; said to the model, so it names places and rules, not values."""


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raises `ValueError` if this is no JSON schema."""
    from jsonschema import SchemaError, validators  # type: ignore[import-untyped]

    try:
        validators.validator_for(schema).check_schema(schema)
    except SchemaError as error:
        raise ValueError(error.message) from None


def parse_reply(text: str, schema: Mapping[str, Any]) -> Any:
    """The value that a reply holds; one code fence around it is forgiven.

    Raises:
        ReplyMisfit: it is not JSON, or does not fit.
    """
    from jsonschema import validators

    fenced = _FENCED.match(text)
    try:
        value = orjson.loads(fenced.group(1) if fenced else text)
    except orjson.JSONDecodeError as error:
        raise ReplyMisfit(f"it is not JSON ({error})") from None
    if any(abs(number) >= _WHOLE_BELOW for number in _whole_numbers(value)):
        raise ReplyMisfit("a whole number in it is not below 2^53")
    for misfit in validators.validator_for(schema)(schema).iter_errors(value):
        where = ".".join(str(part) for part in misfit.absolute_path) or "the value"
        if misfit.validator == "required":
            missing = next(name for name in misfit.validator_value if name not in misfit.instance)
            raise ReplyMisfit(f"`{missing}` is missing from `{where}`")
        rule = orjson.dumps(misfit.validator_value).decode()
        raise ReplyMisfit(f"`{where}` must meet `{misfit.validator}: {rule}`")
    return value


def _whole_numbers(value: Any) -> Iterator[float]:
    """Whole numbers in a value; one that is too large for an integer here has been read as a float."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _whole_numbers(inner)
    elif isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        yield value
