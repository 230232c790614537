"""Structured replies: what a model wrote, held against the schema it was asked to keep."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

__all__ = ["ReplyMisfit", "check_schema", "parse_reply"]

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
    for misfit in validators.validator_for(schema)(schema).iter_errors(value):
        where = ".".join(str(part) for part in misfit.absolute_path) or "the value"
        if misfit.validator == "required":
            missing = next(name for name in misfit.validator_value if name not in misfit.instance)
            raise ReplyMisfit(f"`{missing}` is missing from `{where}`")
        rule = orjson.dumps(misfit.validator_value).decode()
        raise ReplyMisfit(f"`{where}` must meet `{misfit.validator}: {rule}`")
    return value
