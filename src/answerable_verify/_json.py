"""The receipts' JSON profile, read strictly: what has two spellings is refused.

Format: `docs/formats/receipt.md`, "JSON profile"; RFC 8785.
"""

import binascii
import json
from types import ModuleType
from typing import Any, NoReturn

# The extra `fast`: either may be missing.
_orjson: ModuleType | None
try:
    import orjson as _orjson
except ImportError:
    _orjson = None
_pybase64: ModuleType | None
try:
    import pybase64 as _pybase64
except ImportError:
    _pybase64 = None

__all__ = ["NotCanonical", "canonical", "of_base64", "read_base64", "read_canonical", "read_json"]

_LARGEST = 2**53 - 1
_DEEPEST = 128
_MOST_BRACKETS = 10_000
"""Of `{` and `[` in a document. SECURITY: an empty array takes thirty times its two bytes; a member may have 64 MiB."""
_LONGEST_QUICK = 256 * 1024  # bytes: what is told apart by its quotes is in as many pieces
_LONGEST_INT = 17  # characters: a sign and 16 digits hold every integer below 2^53


class NotCanonical(ValueError):
    """Bytes that a conforming writer would not have written."""


def read_json(body: bytes) -> Any:
    """The value, from any JSON without duplicate keys, floats, large integers or keys outside ASCII.

    Raises:
        NotCanonical: not UTF-8, not JSON, or outside the profile.
    """
    brackets = body.count(b"{") + body.count(b"[")
    if brackets > _MOST_BRACKETS:
        raise NotCanonical("of too many objects and arrays")
    try:
        value = _STRICT.decode(body.decode("utf-8"))
    except NotCanonical:
        raise
    except UnicodeDecodeError:
        raise NotCanonical("not UTF-8") from None
    except RecursionError:
        raise NotCanonical("nested too deeply") from None
    except ValueError as error:
        raise NotCanonical(f"not JSON ({error})") from None
    if brackets > _DEEPEST and _is_deeper(value, _DEEPEST):
        raise NotCanonical("nested too deeply")
    return value


def read_canonical(body: bytes) -> Any:
    """The value, from its one canonical encoding.

    Raises:
        NotCanonical: outside the profile, or not the canonical encoding of its own value.
    """
    if _orjson and (quick := _read_quickly(body, _orjson)) is not None:
        return quick
    # MEASURED: comparing first spares the hook for doubled keys, a third of what a receipt costs beside its signature:
    # a value that was written with a key twice does not come out as it went in.
    if body.isascii() and body.count(b"{") + body.count(b"[") <= _DEEPEST:
        text = body.decode("ascii")
        try:
            value, end = _PLAIN.raw_decode(text)
            if end == len(text) and _ENCODER.encode(value) == text:
                return value
        except ValueError:
            pass  # said below
    value = read_json(body)
    if _ENCODER.encode(value) != body.decode("utf-8"):
        raise NotCanonical("not the canonical encoding of its own value")
    return value


def _read_quickly(body: bytes, orjson: ModuleType) -> dict[str, Any] | None:
    """What most receipts say, in a fifth of the time; None where the reader that words faults is to decide.

    SECURITY: it only ever says yes, and only to what both readers take for the same. Encoding the value again gives
    these very bytes, so no key is doubled or out of order, no white space or byte order mark is there, and no number
    has two spellings. What orjson takes and the profile does not is kept from it: text outside ASCII, escapes (hence
    surrogates too), deep nesting, floats; and it will not write integers of 2^53 or more.
    """
    if not body.startswith(b"{") or not body.isascii() or b"\\" in body or len(body) > _LONGEST_QUICK:
        return None
    # Without escapes, quotes come in pairs, and every other piece stands outside of texts: there, a float shows its
    # point or its exponent. MEASURED: looking at each value takes longer; so does looking for what a float is made of.
    bare = b"".join(body.split(b'"')[::2])
    if b"." in bare or (b"e" in bare and bare.count(b"e") != bare.count(b"true") + bare.count(b"false")):
        return None
    if bare.count(b"{") + bare.count(b"[") > _DEEPEST:
        return None
    try:
        value: dict[str, Any] = orjson.loads(body)
        is_canonical = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER) == body
    except (ValueError, TypeError):
        return None
    return value if is_canonical else None


def canonical(value: Any) -> str:
    """The canonical encoding of a value of the profile."""
    return _ENCODER.encode(value)


def of_base64(encoded: bytes) -> bytes | None:
    """The bytes of which this is the canonical RFC 4648 §4 base64; None where it is that of none.

    SECURITY: whatever a decoder lets pass, only what encodes to the same again is taken.
    """
    try:
        if _pybase64:
            raw: bytes = _pybase64.b64decode(encoded, validate=True)
            again = _pybase64.b64encode(raw)
        else:
            raw = binascii.a2b_base64(encoded, strict_mode=True)
            again = binascii.b2a_base64(raw, newline=False)
    except ValueError:
        return None
    return raw if again == encoded else None


def read_base64(text: str) -> bytes:
    """The bytes, from canonical RFC 4648 §4 base64 with padding.

    Raises:
        NotCanonical: another alphabet, missing padding, stray bits or white space.
    """
    try:
        encoded = text.encode("ascii")
        raw = binascii.a2b_base64(encoded, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        raise NotCanonical("not base64") from None
    if binascii.b2a_base64(raw, newline=False) != encoded:
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


_NUMBERS: dict[str, Any] = {"parse_float": _refuse_number, "parse_int": _integer, "parse_constant": _refuse_number}
_PLAIN = json.JSONDecoder(**_NUMBERS)
_STRICT = json.JSONDecoder(object_pairs_hook=_object, **_NUMBERS)
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False)
