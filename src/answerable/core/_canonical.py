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
_DEEPEST = 128
_STABLE = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS


@dataclass(eq=False, kw_only=True)
class NotCanonical(EvidenceError):
    """A value cannot be written in the receipts' JSON profile, or bytes are not in it."""

    code = "evidence.not_canonical"
    what = "not in the receipt JSON profile: {found}"
    why = "two implementations could write it differently, and signatures cover exact bytes"
    fix = "write numbers as whole numbers below 2^53 or as decimal strings, keys in ASCII, and nothing so deep or large"

    found: str


def canonical_json(value: Any, *, unproven: Iterable[Any] | None = None) -> bytes:
    """The one encoding of a value in the JSON profile.

    Args:
        value: dicts with text keys, lists, text, whole numbers, booleans, None.
        unproven: the parts of `value` that could hold a float or be nested deeply; all of it by default. A caller
            that has built the rest from text and whole numbers itself spares walking it, 5 % of a step. At most
            two objects may stand around them.

    Raises:
        NotCanonical: a float, an integer of 2^53 or more, a key outside ASCII, a type JSON lacks, or more than 128
            objects and arrays in each other.

    Source: RFC 8785; `docs/formats/receipt.md`, "JSON profile".
    """
    try:
        body = orjson.dumps(value, option=_STRICT)
    except (orjson.JSONEncodeError, TypeError) as error:
        raise NotCanonical(found=str(error)) from None
    if unproven is None:
        _refuse_foreign((value,), _DEEPEST)
    else:
        _refuse_foreign(unproven, _DEEPEST - 2)
    if not body.isascii():
        _refuse_foreign_keys(value)
    return body


def _refuse_foreign(values: Iterable[Any], levels: int) -> None:
    # Exact types are enough: `orjson` has refused subclasses already.
    for inner in values:
        kind = type(inner)
        if kind is str or kind is int:  # nearly all: asked first, the walk takes half as long
            continue
        if kind is dict or kind is list or kind is tuple:
            if not levels:
                raise NotCanonical(found=f"more than {_DEEPEST} objects and arrays in each other")
            _refuse_foreign(inner.values() if kind is dict else inner, levels - 1)
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
