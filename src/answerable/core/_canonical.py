"""Bytes that mean one thing: the JSON profile of receipts, and stable JSON for what agents say.

Inside the profile (ASCII keys, no floats, integers below 2^53) `orjson` with sorted keys writes
exactly RFC 8785. Outside it, bytes could differ between implementations, so it is refused.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from answerable.core._errors import EvidenceError

__all__ = ["NotCanonical", "canonical_json", "parse_canonical", "sha256_name", "stable_json"]

_STRICT = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_STRICT_INTEGER
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_STABLE = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS


@dataclass(eq=False, kw_only=True)
class NotCanonical(EvidenceError):
    """A value cannot be written in the receipts' JSON profile, or bytes are not in it."""

    code = "evidence.not_canonical"
    what = "not in the receipt JSON profile: {found}"
    why = "two implementations could write it differently, and signatures cover exact bytes"
    fix = "write numbers as whole numbers below 2^53 or as decimal strings, and keys in ASCII"

    found: str


def canonical_json(value: Any, *, unproven: Iterable[Any] | None = None) -> bytes:
    """The one encoding of a value in the JSON profile.

    Args:
        value: dicts with text keys, lists, text, whole numbers, booleans, None.
        unproven: the parts of `value` that could hold a float; all of it by default. A caller that has
            built the rest from text and whole numbers itself spares walking it, 5 % of a step.

    Raises:
        NotCanonical: a float, an integer of 2^53 or more, a key outside ASCII, or a type JSON lacks.

    Source: RFC 8785; `docs/formats/receipt.md`, "JSON profile".
    """
    try:
        body = orjson.dumps(value, option=_STRICT)
    except (orjson.JSONEncodeError, TypeError) as error:
        raise NotCanonical(found=str(error)) from None
    _refuse_floats((value,) if unproven is None else unproven)
    if not body.isascii():
        _refuse_foreign_keys(value)
    return body


def _refuse_floats(values: Iterable[Any]) -> None:
    # Exact types are enough: `orjson` has refused subclasses already, and nesting beyond 254 levels.
    for inner in values:
        kind = type(inner)
        if kind is str or kind is int:  # nearly all: asked first, the walk takes half as long
            continue
        if kind is dict:
            _refuse_floats(inner.values())
        elif kind is list or kind is tuple:
            _refuse_floats(inner)
        elif kind is float:
            raise NotCanonical(found=f"the float {inner!r}")


def _refuse_foreign_keys(value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not key.isascii():
                raise NotCanonical(found=f"the key {key!r}")
            _refuse_foreign_keys(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_foreign_keys(inner)


def parse_canonical(body: bytes) -> Any:
    """The value that `canonical_json` wrote; bytes it would not have written are refused."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotCanonical(found=str(error)) from None
    if canonical_json(value) != body:
        raise NotCanonical(found="bytes that are not the canonical encoding of their value")
    return value


def stable_json(value: Any) -> bytes:
    """JSON with sorted keys, for arguments and results: same value, same bytes in this implementation.

    Floats are allowed, because tools use them; commitments cover the bytes, so nobody re-encodes.

    Raises:
        TypeError: JSON has no such value.
    """
    return orjson.dumps(value, option=_STABLE)


def sha256_name(body: bytes) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(body).hexdigest()
