"""The receipts' JSON profile: one value, one encoding, the same as RFC 8785."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answerable.core import NotCanonical, canonical_json, parse_canonical

keys = st.text(st.characters(max_codepoint=127), max_size=8)
leaves = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=12)
documents = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=20
)


def rfc_8785(value: object) -> bytes:
    """RFC 8785 for values without floats, written from the standard: §3.2.2 and §3.2.3."""
    if isinstance(value, dict):
        ordered = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
        inner = b",".join(rfc_8785(key) + b":" + rfc_8785(each) for key, each in ordered)
        return b"{" + inner + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(rfc_8785(each) for each in value) + b"]"
    return json.dumps(value, ensure_ascii=False).encode()


@pytest.mark.requirement("EV-1")
@given(documents)
def test_inside_the_profile_the_encoding_is_rfc_8785(document: object) -> None:
    assert canonical_json(document) == rfc_8785(document)


@given(documents)
def test_what_was_written_is_read_back(document: object) -> None:
    assert parse_canonical(canonical_json(document)) == document


@given(documents, st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_anywhere_is_refused(document: object, number: float) -> None:
    for outside in ([document, number], {"a": document, "b": {"c": [number]}}, number):
        with pytest.raises(NotCanonical):
            canonical_json(outside)


@given(st.sampled_from([dict, list]), st.sampled_from([dict, list]))
def test_nothing_is_nested_deeper_than_128(outer: type, inner: type) -> None:
    value: Any = inner()
    for level in range(127):
        value = {"in": value} if (outer if level % 2 else inner) is dict else [value]

    assert parse_canonical(canonical_json(value)) == value
    for deeper in ([value], {"in": value}):
        with pytest.raises(NotCanonical, match="more than 128 objects and arrays in each other"):
            canonical_json(deeper)


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**70])
def test_an_integer_another_language_would_round_is_refused(number: int) -> None:
    with pytest.raises(NotCanonical):
        canonical_json({"n": number})


@pytest.mark.parametrize(
    "body",
    [b'{"b":1,"a":2}', b'{"a": 1}', b'{"a":1,"a":1}', b'{"a":1.0}', b'"\\u0041"', b"[1,]", b"", b'{"\xc3\xa9":1}'],
)
def test_bytes_that_are_not_the_canonical_encoding_are_refused(body: bytes) -> None:
    with pytest.raises(NotCanonical):
        parse_canonical(body)
