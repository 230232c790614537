"""Two readers of envelopes: the quick one says yes only where the strict one does, and to the same."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answerable_verify import _reading, _receipt
from answerable_verify._json import NotCanonical, read_base64
from answerable_verify._receipt import PAYLOAD_TYPE, BadReceipt, Signed, read_envelope

pytestmark = pytest.mark.requirement("EV-3")

VECTORS = Path(__file__).parents[3] / "conformance" / "vectors" / "bundles.json"
(ORDINARY,) = (
    [body.encode() for name, body in sorted(case["members"].items()) if name.startswith("receipts/")]
    for case in json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
    if case["name"] == "an ordinary run"
)
LETTERS = "ABCDEFabcdef0123456789+/=-_ \n"


def envelope(payload: str, sig: str = base64.b64encode(bytes(64)).decode(), key: str = "0a" * 32) -> bytes:
    said = {"payload": payload, "payloadType": PAYLOAD_TYPE, "signatures": [{"keyid": key, "sig": sig}]}
    return json.dumps(said, separators=(",", ":")).encode()


def strictly(body: bytes) -> Signed | None:
    """What the strict reader alone says; None where it refuses."""
    try:
        return _receipt._outer(body)
    except BadReceipt:
        return None


def agree(body: bytes) -> None:
    quick = _receipt._written(body)
    assert quick is None or quick == strictly(body)


def decoded(text: str) -> bytes | None:
    try:
        return read_base64(text)
    except NotCanonical:
        return None


@given(st.text(alphabet=LETTERS, max_size=24), st.text(alphabet=LETTERS, min_size=86, max_size=90))
def test_they_agree_on_whatever_stands_where_base64_should(payload: str, sig: str) -> None:
    agree(envelope(payload))
    agree(envelope("e30=", sig))


@given(st.binary(max_size=40))
def test_the_quick_one_reads_what_a_gate_writes(body: bytes) -> None:
    found = _receipt._written(envelope(base64.b64encode(body).decode()))

    assert found == Signed("0a" * 32, body, bytes(64))


@pytest.mark.parametrize("text", ["", "e30=", "QQ==", "QUI=", "QUJD"])
@given(data=st.data())
def test_base64_with_a_letter_changed_added_or_gone_is_taken_by_both_or_neither(text: str, data: st.DataObject) -> None:
    at, width = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 2))
    changed = text[:at] + data.draw(st.text(alphabet=LETTERS, max_size=4)) + text[at + width :]

    quick = _receipt._written(envelope(changed))

    assert (quick.body if quick else None) == decoded(changed)


@pytest.mark.parametrize(
    "payload", ["QUJD=", "QUJD====", "Q===", "QR==", "QUJ=", "QQ==QQ==", "=QUJ", "QU\nJD", "QUJD\n"]
)
def test_base64_with_two_spellings_is_refused(payload: str) -> None:
    assert _receipt._written(envelope(payload)) is None
    with pytest.raises(BadReceipt):
        read_envelope(envelope(payload))


@given(st.sampled_from(ORDINARY), st.data())
def test_they_agree_on_an_envelope_with_bytes_changed_added_or_gone(whole: bytes, data: st.DataObject) -> None:
    body = bytearray(whole)
    at = data.draw(st.integers(0, 20) | st.integers(len(body) - 260, len(body)))
    width = data.draw(st.integers(0, 16))
    body[at : at + width] = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"=", b"==", b"A", b"\\", b"}"]))

    agree(bytes(body))


@given(st.binary(max_size=400))
def test_they_agree_on_whatever_bytes_there_are(body: bytes) -> None:
    agree(body)


def test_what_stands_before_the_payload_does_not_also_stand_behind_it() -> None:
    overlapping = b'{"payload":' + envelope("")[12:]

    agree(overlapping)
    assert _receipt._written(overlapping) is None


def test_a_receipt_is_read_alike_beside_good_ones_and_beside_a_bad_one() -> None:
    members = [(f"receipts/{number:06d}.json", body) for number, body in enumerate(ORDINARY, 1)]
    spoilt = ("receipts/000000.json", b"{}")

    together = _reading.read_envelopes(members, {})
    beside = _reading.read_envelopes([spoilt, *members], {})

    def said(reads: list[_reading.Read]) -> list[object]:
        return [_reading._row(read) for read in reads]

    assert said(together) == said(beside[1:])
    assert beside[0].fault is not None
    assert [read.digest for read in together] == [hashlib.sha256(body).digest() for body in ORDINARY]
    assert _reading.read_envelopes([], {}) == []
