"""The receipts' JSON profile, read strictly: what has two spellings is refused.

Format: `docs/formats/receipt.md`, "JSON profile"; RFC 8785.
"""

import base64
import binascii
import json
from typing import Any, NoReturn

__all__ = ["NotCanonical", "read_base64", "read_canonical", "read_json"]

_LARGEST = 2**53 - 1
_DEEPEST = 128
_LONGEST_INT = 17  # characters: a sign and 16 digits hold every integer below 2^53


class NotCanonical(ValueError):
    """Bytes that a conforming writer would not have written."""


def read_json(body: bytes) -> Any:
    """The value, from any JSON without duplicate keys, floats, large integers or keys outside ASCII.

    Raises:
        NotCanonical: not UTF-8, not JSON, or outside the profile.
    """
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_refuse_number,
            parse_int=_integer,
            parse_constant=_refuse_number,
        )
    except NotCanonical:
        raise
    except UnicodeDecodeError:
        raise NotCanonical("not UTF-8") from None
    except RecursionError:
        raise NotCanonical("nested too deeply") from None
    except ValueError as error:
        raise NotCanonical(f"not JSON ({error})") from None
    # Counting first spares nearly every document the walk.
    if body.count(b"{") + body.count(b"[") > _DEEPEST and _is_deeper(value, _DEEPEST):
        raise NotCanonical("nested too deeply")
    return value


def read_canonical(body: bytes) -> Any:
    """The value, from its one canonical encoding.

    Raises:
        NotCanonical: outside the profile, or not the canonical encoding of its own value.
    """
    value = read_json(body)
    try:
        again = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    except (UnicodeEncodeError, RecursionError):  # a lone surrogate has no UTF-8
        raise NotCanonical("holds text that has no UTF-8 encoding") from None
    if again != body:
        raise NotCanonical("not the canonical encoding of its own value")
    return value


def read_base64(text: str) -> bytes:
    """The bytes, from canonical RFC 4648 §4 base64 with padding.

    Raises:
        NotCanonical: another alphabet, missing padding, stray bits or white space.
    """
    try:
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise NotCanonical("not base64") from None
    if base64.b64encode(raw).decode("ascii") != text:
        raise NotCanonical("base64 is not canonical")
    return raw


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (levels == 0 or any(_is_deeper(each, levels - 1) for each in inner))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise NotCanonical("duplicate key")
    if not all(key.isascii() for key in value):
        raise NotCanonical("a key outside ASCII")
    return value


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_INT or abs(value := int(digits)) > _LARGEST:
        raise NotCanonical("an integer of 2^53 or more")
    return value


def _refuse_number(digits: str) -> NoReturn:
    raise NotCanonical(f"the number {digits[:20]}")
