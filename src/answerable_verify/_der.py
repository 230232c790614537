"""DER (X.690), as much as timestamps and certificates need, read strictly.

Lengths in their shortest form, sets sorted, nothing behind the last value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

__all__ = [
    "NotDer",
    "Tag",
    "Value",
    "at_least",
    "count",
    "dotted",
    "encoded",
    "expect",
    "identified",
    "only",
    "several",
    "time",
    "values_in",
    "values_in_set",
]


class NotDer(ValueError):
    """Bytes that are not what they should be, in DER."""


class Tag:
    """Tags, with the bit that says whether values are inside."""

    BOOLEAN, INTEGER, BITS, OCTETS, NULL, OID = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06
    UTC_TIME, TIME, SEQUENCE, SET = 0x17, 0x18, 0x30, 0x31
    PLACE_0, PLACE_1, PLACE_3 = 0xA0, 0xA1, 0xA3


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value: its tag, its content, and all of it with what stands before the content."""

    tag: int
    content: bytes
    whole: bytes


def values_in(data: bytes) -> list[Value]:
    """The values that follow one another in some bytes."""
    found, at = [], 0
    while at < len(data):
        found.append(_value_at(data, at))
        at += len(found[-1].whole)
    return found


def _value_at(data: bytes, at: int) -> Value:
    if at + 2 > len(data) or data[at] & 0x1F == 0x1F:
        raise NotDer("not DER")
    length, start = data[at + 1], at + 2
    if length >= 0x80:
        digits = length - 0x80
        length, start = int.from_bytes(data[start : start + digits], "big"), start + digits
        if not 1 <= digits <= 4 or start > len(data) or length < 0x80 or length < 256 ** (digits - 1):
            raise NotDer("not DER")
    if start + length > len(data):
        raise NotDer("not DER")
    return Value(tag=data[at], content=data[start : start + length], whole=data[at : start + length])


def expect(value: Value | None, tag: int) -> Value:
    """The value, which is of this tag."""
    if value is None or value.tag != tag:
        raise NotDer("another ASN.1 type than expected")
    return value


def only(data: bytes, tag: int) -> Value:
    """The one value that some bytes are, of this tag."""
    found = values_in(data)
    return expect(found[0] if len(found) == 1 else None, tag)


def several(data: bytes, *tags: int) -> Sequence[Value]:
    """The values that some bytes are: as many as there are tags, each of its own."""
    found = values_in(data)
    if [value.tag for value in found] != list(tags):
        raise NotDer("another ASN.1 type than expected")
    return found


def at_least(number: int, values: list[Value]) -> list[Value]:
    """The values, of which there are so many or more."""
    if len(values) < number:
        raise NotDer("less than expected")
    return values


def values_in_set(data: bytes) -> list[Value]:
    """The values in a set, which DER sorts by their encoding."""
    found = values_in(data)
    if any(before.whole > after.whole for before, after in pairwise(found)):
        raise NotDer("a set that is not sorted")
    return found


def dotted(value: Value | None) -> str:
    """An object identifier in dotted decimals."""
    content = expect(value, Tag.OID).content
    numbers, number = [], 0
    for byte in content:
        if number == 0 and byte == 0x80:
            raise NotDer("not an object identifier")
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    if not content or content[-1] & 0x80:
        raise NotDer("not an object identifier")
    top = min(numbers[0] // 40, 2)
    return ".".join(map(str, (top, numbers[0] - top * 40, *numbers[1:])))


def identified(algorithm: Value) -> str:
    """The object identifier of an `AlgorithmIdentifier` without parameters, or with `NULL`."""
    kind, *parameters = at_least(1, values_in(algorithm.content))
    if [each.whole for each in parameters] not in ([], [b"\x05\0"]):
        raise NotDer("an algorithm with parameters")
    return dotted(kind)


def count(value: Value | None) -> int:
    """A whole number of at most 48 bits that is not negative."""
    content = expect(value, Tag.INTEGER).content
    if not 1 <= len(content) <= 6 or content[0] >= 0x80:
        raise NotDer("not a small number")
    if len(content) > 1 and content[0] == 0 and content[1] < 0x80:
        raise NotDer("a number with leading zeros")
    return int.from_bytes(content, "big")


def time(value: Value) -> datetime:
    """A UTCTime or GeneralizedTime in whole seconds, in UTC."""
    digits = value.content
    if value.tag == Tag.UTC_TIME:
        digits = (b"19" if digits[:2] >= b"50" else b"20") + digits
    elif value.tag != Tag.TIME:
        raise NotDer("not a time")
    if len(digits) != 15 or digits[14:] != b"Z" or not digits[:14].isdigit():
        raise NotDer("not a time")
    try:
        return datetime.strptime(digits.decode(), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise NotDer("not a time") from None


def encoded(tag: int, *parts: bytes) -> bytes:
    """A value of some content."""
    content = b"".join(parts)
    size = len(content)
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big") if size >= 0x80 else b""
    return bytes([tag, 0x80 | len(digits) if digits else size]) + digits + content
