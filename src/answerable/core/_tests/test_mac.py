"""HMAC-SHA256 with a prepared key."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answerable.core import Mac


@given(key=st.binary(max_size=200), message=st.binary(max_size=500))
def test_a_prepared_key_gives_the_codes_of_the_standard_library(key: bytes, message: bytes) -> None:
    mac = Mac(key)

    assert mac.digest(message) == hmac.digest(key, message, "sha256")
    assert mac.digest(message) == hmac.digest(key, message, "sha256"), "taking a digest changes nothing"


@pytest.mark.parametrize(
    ("key", "message", "code"),
    [
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ],
)
def test_the_published_vectors_of_rfc_4231_hold(key: bytes, message: bytes, code: str) -> None:
    assert Mac(key).digest(message).hex() == code
