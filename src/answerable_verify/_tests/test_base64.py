"""Base64 has one spelling, whichever decoder reads it."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answerable_verify import _json
from answerable_verify._json import NotCanonical, of_base64, read_base64

pytestmark = pytest.mark.requirement("EV-3")

CHARACTERS = "AQgw+/=_-Zz09\n \t\x00"


def plainly(encoded: bytes) -> bytes | None:
    """What the standard library's decoder makes of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_json, "_pybase64", None)
        return of_base64(encoded)


def strictly(encoded: bytes) -> bytes | None:
    """What the reader says that words faults."""
    try:
        return read_base64(encoded.decode("latin-1"))
    except NotCanonical:
        return None


@given(st.text(CHARACTERS, max_size=12).map(str.encode) | st.binary(max_size=12))
def test_every_reader_takes_the_same_bytes_for_base64(encoded: bytes) -> None:
    assert _json._pybase64
    assert of_base64(encoded) == plainly(encoded) == strictly(encoded)


@given(st.binary(max_size=80), st.data())
def test_of_two_spellings_at_most_one_is_taken(raw: bytes, data: st.DataObject) -> None:
    encoded = bytearray(base64.b64encode(raw))
    assert of_base64(bytes(encoded)) == plainly(bytes(encoded)) == raw

    at = data.draw(st.integers(0, len(encoded)))
    encoded[at : at + data.draw(st.integers(0, 2))] = data.draw(st.sampled_from([b"", b"A", b"=", b"\n", b"-", b"=="]))

    changed = bytes(encoded)
    assert of_base64(changed) == plainly(changed)
    assert of_base64(changed) != raw or changed == base64.b64encode(raw)


@pytest.mark.parametrize(
    "encoded", ["QR==", "QQ", "QQ=", "QQ===", "QUI", "QUJ=", "QQ==\n", " QQ==", "Q Q==", "QQ==QQ==", "-_8=", "="]
)
def test_another_spelling_is_none(encoded: str) -> None:
    assert of_base64(encoded.encode()) is None
    assert plainly(encoded.encode()) is None
