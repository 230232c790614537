"""What a time-stamping authority answered, read strictly, and made anew of what has to hold.

Format: `docs/formats/log.md`, "Timestamps". Source: RFC 3161 §2.4.2, RFC 5652 §5.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from answerable_verify._certificates import Certificate, kind_of_key, read_certificate, signature_of
from answerable_verify._der import (
    NotDer,
    Tag,
    Value,
    at_least,
    count,
    dotted,
    encoded,
    expect,
    identified,
    only,
    several,
    time,
    values_in,
    values_in_set,
)

__all__ = ["Stamp", "read_stamp"]

_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_CONTENT_TYPE, _MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATES = {"1.2.840.113549.1.9.16.2.12": "sha1", "1.2.840.113549.1.9.16.2.47": "sha256"}
"""The attributes that name the certificate (RFC 2634 §5.4, RFC 5035 §3), and the digest where none is stated."""
_RSA = "1.2.840.113549.1.1.1"
"""rsaEncryption, which as the name of a signature leaves the digest open (RFC 3370 §3.2)."""
_DIGESTS = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_MOST_CERTIFICATES, _LARGEST = 16, 1 << 18
_ZERO, _THREE = b"\x02\x01\x00", b"\x02\x01\x03"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """An answer whose parts agree; whether its signature holds, and its authority is trusted, is not said by this."""

    text_digest: bytes
    digest: str
    """Of which kind the text's is."""
    at: datetime
    leaf: Certificate
    """The certificate of whoever signed."""
    certificates: Sequence[Certificate]
    said: bytes
    """Kinds of digests and the content, as they stand in the token."""
    signer: bytes
    """The `SignerInfo` up to its signature."""

    def is_of(self, text: bytes) -> bool:
        """Whether it is a text's."""
        return hashlib.new(self.digest, text).digest() == self.text_digest

    def anew(self, certificates: Sequence[Certificate]) -> bytes:
        """The answer with these certificates alone, and without whatever no signature covers."""
        carried = encoded(Tag.PLACE_0, *sorted(each.whole for each in certificates))
        signed = encoded(Tag.SEQUENCE, _THREE, self.said, carried, encoded(Tag.SET, self.signer))
        token = encoded(Tag.SEQUENCE, encoded(Tag.OID, _SIGNED_DATA), encoded(Tag.PLACE_0, signed))
        return encoded(Tag.SEQUENCE, encoded(Tag.SEQUENCE, _ZERO), token)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signer:
    """What a `SignerInfo` says."""

    issuer: bytes
    serial: bytes
    digest: str
    attributes: Mapping[str, Value]
    kinds: Collection[str]
    """Of keys that its signature may be by."""


def read_stamp(answer: bytes) -> Stamp:
    """A `TimeStampResp` in DER.

    Raises:
        NotDer: it is none, or of another form than the format's page states.
    """
    _require(len(answer) <= _LARGEST, "larger than 256 KiB")
    digests, content, carried, info = _signed_data(answer)
    kind, place = several(content.content, Tag.OID, Tag.PLACE_0)
    _require(dotted(kind) == _TST_INFO, "no timestamp in it")
    octets = only(place.content, Tag.OCTETS).content
    signer, certificates = _read_signer(info), [read_certificate(each.whole) for each in carried]
    _require(signer.digest in [_digest(each) for each in values_in_set(digests.content)], "a digest that is not named")
    _require(dotted(signer.attributes.get(_CONTENT_TYPE)) == _TST_INFO, "signed as something else")
    told = expect(signer.attributes.get(_MESSAGE_DIGEST), Tag.OCTETS).content
    _require(told == hashlib.new(signer.digest, octets).digest(), "of another content")
    by = (signer.issuer, signer.serial)
    leaf = next((each for each in certificates if (each.issuer, each.serial) == by), None)
    if leaf is None:
        raise NotDer("the certificate that signed is not here")
    _require(_is_named(leaf, signer.attributes), "by another certificate than it names")
    _require(kind_of_key(leaf) in signer.kinds, "a signature of another kind than it says")
    _require(leaf.is_for_stamps, "the certificate is not for timestamps")
    text_digest, digest, at = _read_content(octets)
    return Stamp(
        text_digest=text_digest,
        digest=digest,
        at=at,
        leaf=leaf,
        certificates=certificates,
        said=digests.whole + content.whole,
        signer=encoded(Tag.SEQUENCE, *(part.whole for part in values_in(info.content)[:6])),
    )


def _signed_data(answer: bytes) -> tuple[Value, Value, Sequence[Value], Value]:
    """Kinds of digests, content, certificates and the one `SignerInfo`."""
    status, token = several(only(answer, Tag.SEQUENCE).content, Tag.SEQUENCE, Tag.SEQUENCE)
    _require(status.content.startswith(_ZERO), "it was not granted")  # a text for people may follow
    kind, wrapped = several(token.content, Tag.OID, Tag.PLACE_0)
    _require(kind.content == _SIGNED_DATA, "not signed data")
    version, digests, content, *rest = at_least(3, values_in(only(wrapped.content, Tag.SEQUENCE).content))
    _require(version.whole == _THREE, "signed data of another version")
    certificates = values_in_set(rest.pop(0).content) if rest and rest[0].tag == Tag.PLACE_0 else []
    _require(len(certificates) <= _MOST_CERTIFICATES, f"more than {_MOST_CERTIFICATES} certificates")
    if rest and rest[0].tag == Tag.PLACE_1:
        rest.pop(0)  # revocations, which are not looked at
    signers = values_in_set(expect(at_least(1, rest)[0], Tag.SET).content)
    _require(len(signers) == len(rest) == 1, "not one signature")
    return expect(digests, Tag.SET), expect(content, Tag.SEQUENCE), certificates, expect(signers[0], Tag.SEQUENCE)


def _read_content(octets: bytes) -> tuple[bytes, str, datetime]:
    """The text's digest, of which kind it is, and the time, as a `TSTInfo` says them."""
    version, policy, imprint, serial, at = at_least(5, values_in(only(octets, Tag.SEQUENCE).content))[:5]
    _require(count(version) == 1, "a timestamp of another version")
    dotted(policy)
    expect(serial, Tag.INTEGER)
    algorithm, text_digest = several(expect(imprint, Tag.SEQUENCE).content, Tag.SEQUENCE, Tag.OCTETS)
    return text_digest.content, _digest(algorithm), time(expect(at, Tag.TIME))


def _read_signer(info: Value) -> _Signer:
    parts = values_in(info.content)
    signed = b"".join(part.whole for part in parts[:6])
    tags = (Tag.INTEGER, Tag.SEQUENCE, Tag.SEQUENCE, Tag.PLACE_0, Tag.SEQUENCE, Tag.OCTETS)
    version, by, algorithm, attributes, name, _ = several(signed, *tags)
    _require(count(version) == 1, "a signature of another version")
    _require([part.tag for part in parts[6:]] in ([], [Tag.PLACE_1]), "another ASN.1 type than expected")
    issuer, serial = several(by.content, Tag.SEQUENCE, Tag.INTEGER)
    found: dict[str, Value] = {}
    for each in values_in_set(attributes.content):
        kind, values = several(expect(each, Tag.SEQUENCE).content, Tag.OID, Tag.SET)
        (value, *more) = at_least(1, values_in(values.content))
        _require(dotted(kind) not in found and not more, "an attribute twice")
        found[dotted(kind)] = value
    digest = _digest(algorithm)
    kinds = ("rsa",) if identified(name) == _RSA else [kind for kind, of in [signature_of(name)] if of == digest]
    return _Signer(issuer=issuer.whole, serial=serial.content, digest=digest, attributes=found, kinds=kinds)


def _is_named(leaf: Certificate, attributes: Mapping[str, Value]) -> bool:
    """Whether the signature covers which certificate it is by, and it is this one."""
    found = [(attributes[kind], digest) for kind, digest in _SIGNING_CERTIFICATES.items() if kind in attributes]
    for value, digest in found:
        listed = at_least(1, values_in(expect(value, Tag.SEQUENCE).content))[0]
        first = at_least(1, values_in(expect(listed, Tag.SEQUENCE).content))[0]
        parts = at_least(1, values_in(expect(first, Tag.SEQUENCE).content))
        if digest != "sha1" and parts[0].tag == Tag.SEQUENCE:
            digest = _digest(parts.pop(0))
        told = expect(at_least(1, parts)[0], Tag.OCTETS).content
        if told != hashlib.new(digest, leaf.whole, usedforsecurity=digest != "sha1").digest():
            return False
    return bool(found)


def _digest(algorithm: Value) -> str:
    found = _DIGESTS.get(identified(expect(algorithm, Tag.SEQUENCE)))
    if not found:
        raise NotDer("a digest other than SHA-256, SHA-384 and SHA-512")
    return found


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise NotDer(problem)
