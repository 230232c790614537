"""Two readers of canonical JSON: the quick one says yes only where the strict one does, and to the same value."""

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from answerable_verify import _json
from answerable_verify._json import NotCanonical, read_canonical

pytestmark = pytest.mark.requirement("EV-3")

TEXTS = st.text(max_size=8) | st.sampled_from([",1.5,", '":1e3', "a,.b", "T00:00:00.5Z", "\x7f", "\x00", "\ud800", "é"])
NUMBERS = (
    st.integers(-(2**64), 2**65)
    | st.sampled_from([2**53 - 1, 2**53, -(2**53) + 1, -(2**53), 10**16, 10**22])
    | st.floats()
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def strictly(body: bytes) -> Any:
    """What the strict reader alone says, or that it refuses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_json, "_orjson", None)
        try:
            return read_canonical(body)
        except NotCanonical:
            return NotCanonical


def quickly(body: bytes) -> Any:
    """What the quick reader says; None where it leaves that to the strict one."""
    return _json._read_quickly(body, orjson)


def agree(body: bytes) -> None:
    found = quickly(body)
    if found is not None:
        # As text, so that 1 is not `true`, nor 1.0.
        assert repr(found) == repr(strictly(body))


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,.eE+-0123456789\\un \ttrue', max_size=40).map(str.encode))
def test_they_agree_on_whatever_bytes_there_are(body: bytes) -> None:
    agree(body)


@given(st.dictionaries(TEXTS, VALUES, max_size=4), st.booleans(), st.booleans(), st.booleans())
def test_they_agree_on_json_however_it_is_written(
    value: dict[str, Any], is_sorted: bool, is_ascii: bool, is_compact: bool
) -> None:
    separators = (",", ":") if is_compact else (", ", ": ")
    body = json.dumps(value, sort_keys=is_sorted, ensure_ascii=is_ascii, separators=separators)

    agree(body.encode("utf-8", "surrogatepass"))


@given(st.dictionaries(TEXTS, VALUES, max_size=4), st.data())
def test_they_agree_on_canonical_json_with_a_byte_changed_added_or_gone(
    value: dict[str, Any], data: st.DataObject
) -> None:
    body = bytearray(_json.canonical(value).encode("utf-8", "surrogatepass"))
    at = data.draw(st.integers(0, len(body) - 1))
    width = data.draw(st.integers(0, 2))
    body[at : at + width] = data.draw(
        st.sampled_from([b"", b"0", b".", b"e", b"-", b'"', b"\\", b" ", b",", b"{", b"\xc3"])
    )

    agree(bytes(body))


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1.5}',
        '{"a":1e16}',
        '{"a":-1e-7}',
        '{"a":[1.5]}',
        '{"a":[1,2.5]}',
        '{"a":[-1.5e3]}',
        '{"a":-0}',
        '{"a":-0.0}',
        '{"a":01}',
        '{"a":9007199254740992}',
        '{"a":-9007199254740992}',
        '{"a":18446744073709551616}',
        '{"a":' + "9" * 400 + "}",
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":1,"a":1}',
        '{"a":1,"a":2}',
        '{"b":1,"a":2}',
        '{"a": 1}',
        ' {"a":1}',
        '{"a":1}\n',
        '{"a":1} ',
        '{"a":1}{}',
        '\ufeff{"a":1}',
        '{"a":"\x00"}',
        '{"a":"\x1f"}',
        '{"a":"\\u0000"}',
        '{"a":"\\u001F"}',
        '{"a":"\\/"}',
        '{"a":"\\u0061"}',
        '{"a":"\\ud800"}',
        '{"a":"\\ud83d\\ude00"}',
        '{"\\u00e9":1}',
        '{"é":1}',
        '{"a":"é"}',
        '{"a":"\\n"}',
        '{"a":1,}',
        "{'a':1}",
        "{",
        "",
        "1.5",
        "[1]",
        "null",
        '{"a":' + "[" * 127 + "]" * 127 + "}",
        '{"a":' + "[" * 128 + "]" * 128 + "}",
        '{"a":' * 2_000 + "1" + "}" * 2_000,
        '{"a":[' + "[]," * 20_000 + "[]]}",
    ],
)
def test_what_the_readers_might_take_for_different_things_is_left_to_the_strict_one_or_read_alike(text: str) -> None:
    body = text.encode()

    agree(body)
    assert quickly(body) is None or strictly(body) is not NotCanonical


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": [1, -2, 0, True, False, None, "", {"b": []}]},
        {"n": 2**53 - 1, "o": -(2**53) + 1},
        {"at": "2026-11-21T23:50:45.686233Z", "e": "1.5", "f": ["e1", ".5", "(1.5): 1e9"], "g": "sha256:0123456789.5"},
        {"\x7f": "~\x7f", "a": "b, c. d: e"},
    ],
)
def test_the_quick_reader_reads_what_receipts_are_made_of(value: dict[str, Any]) -> None:
    body = _json.canonical(value).encode()

    assert quickly(body) == strictly(body) == value


def test_a_text_that_looks_like_a_float_is_read_like_any_other() -> None:
    body = _json.canonical({"a": "1,.5", "b": '":1.5'.replace('"', ""), "c": ["[.5", True, False]}).encode()

    assert quickly(body) == strictly(body) == json.loads(body)


def test_a_long_document_is_left_to_the_strict_reader_which_holds_little_beside_it() -> None:
    body = _json.canonical({"a": "x" * _json._LONGEST_QUICK}).encode()

    assert quickly(body) is None
    assert read_canonical(body) == json.loads(body)


def test_a_faulty_library_that_reads_too_much_changes_nothing() -> None:
    class Lax:
        OPT_SORT_KEYS = OPT_STRICT_INTEGER = 0
        loads = staticmethod(lambda body: {"a": math.inf})
        dumps = staticmethod(lambda value, option: b'{"a":Infinity}')

    assert _json._read_quickly(b'{"a":2}', Lax()) is None  # type: ignore[arg-type]
