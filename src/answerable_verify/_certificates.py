"""Certificates of time-stamping authorities, and whether they lead to a root of the verifier's own.

Format: `docs/formats/log.md`, "Timestamps". Source: RFC 5280 §4.1, §4.2 and §6.1.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from answerable_verify._der import (
    NotDer,
    Tag,
    Value,
    at_least,
    count,
    dotted,
    expect,
    identified,
    only,
    several,
    time,
    values_in,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

__all__ = ["Certificate", "Signature", "kind_of_key", "path_to", "read_certificate", "signature_of"]

Signature = tuple[str, str]
"""The kind of key, and the digest."""
_SIGNATURES: Mapping[str, Signature] = {
    "1.2.840.113549.1.1.11": ("rsa", "sha256"),
    "1.2.840.113549.1.1.12": ("rsa", "sha384"),
    "1.2.840.113549.1.1.13": ("rsa", "sha512"),
    "1.2.840.10045.4.3.2": ("ec", "sha256"),
    "1.2.840.10045.4.3.3": ("ec", "sha384"),
    "1.2.840.10045.4.3.4": ("ec", "sha512"),
}
_KEY_USAGE, _CONSTRAINTS, _PURPOSES = "2.5.29.15", "2.5.29.19", "2.5.29.37"
# Subject alternative name and certificate policies take nothing away from what a certificate may be used for.
_UNDERSTOOD = frozenset({_KEY_USAGE, _CONSTRAINTS, _PURPOSES, "2.5.29.17", "2.5.29.32"})
_NAME_CONSTRAINTS = "2.5.29.30"
_TIME_STAMPING = "1.3.6.1.5.5.7.3.8"
_SIGNS, _SIGNS_CERTIFICATES = 0xC0, 0x04
"""digitalSignature or nonRepudiation, and keyCertSign, in the first octet of a key usage."""
_LONGEST_PATH = 8
_Extensions = Mapping[str, tuple[bool, bytes]]
"""Whether it is critical, and its content, by object identifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a path is judged by."""

    whole: bytes
    signed: bytes
    signature: bytes
    signed_with: Signature
    serial: bytes
    issuer: bytes
    subject: bytes
    since: datetime
    until: datetime
    key: bytes
    is_for_stamps: bool
    """Whether its key is for timestamps, and for nothing else (RFC 3161 §2.3)."""
    most_below: int
    """How many certificates of authorities may stand below it; -1 if it may sign none."""
    is_understood: bool
    """Whether it demands nothing that is not known here."""

    def is_sound(self, at: datetime) -> bool:
        """Whether it was valid then, and can be judged here."""
        return self.since <= at < self.until and self.is_understood


def read_certificate(whole: bytes) -> Certificate:
    """A certificate, of X.509 version 3.

    Raises:
        NotDer: it is none, has an extension twice, or states two algorithms for its one signature (RFC 5280 §4.1.1.2).
    """
    signed, outer, signature = several(only(whole, Tag.SEQUENCE).content, Tag.SEQUENCE, Tag.SEQUENCE, Tag.BITS)
    version, serial, inner, issuer, period, subject, key, *rest = at_least(7, values_in(signed.content))
    if count(only(expect(version, Tag.PLACE_0).content, Tag.INTEGER)) != 2:
        raise NotDer("a certificate that is not of version 3")
    if expect(inner, Tag.SEQUENCE).whole != outer.whole:
        raise NotDer("a certificate that states two algorithms for its signature")
    if signature.content[:1] != b"\0":
        raise NotDer("a signature that is not of whole octets")
    since, until, *more = at_least(2, values_in(expect(period, Tag.SEQUENCE).content))
    if more:
        raise NotDer("another ASN.1 type than expected")
    extensions = _extensions(rest)
    return Certificate(
        whole=whole,
        signed=signed.whole,
        signature=signature.content[1:],
        signed_with=signature_of(outer),
        serial=expect(serial, Tag.INTEGER).content,
        issuer=expect(issuer, Tag.SEQUENCE).whole,
        subject=expect(subject, Tag.SEQUENCE).whole,
        since=time(since),
        until=time(until),
        key=expect(key, Tag.SEQUENCE).whole,
        is_for_stamps=_is_for_stamps(extensions),
        most_below=_most_below(extensions),
        is_understood=_NAME_CONSTRAINTS not in extensions
        and all(kind in _UNDERSTOOD for kind, (is_critical, _) in extensions.items() if is_critical),
    )


def signature_of(algorithm: Value) -> Signature:
    """What an `AlgorithmIdentifier` of a signature says; of no kind if it is none that is taken here."""
    try:
        return _SIGNATURES.get(identified(algorithm), ("", ""))
    except NotDer:
        return "", ""


def kind_of_key(certificate: Certificate) -> str:
    """`rsa` or `ec`; empty if it is of another kind, or cannot be read."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key = _key(certificate)
    return "rsa" if isinstance(key, rsa.RSAPublicKey) else "ec" if isinstance(key, ec.EllipticCurvePublicKey) else ""


def path_to(
    leaf: Certificate, others: Iterable[Certificate], roots: Sequence[Certificate], at: datetime
) -> tuple[Sequence[Certificate], Certificate] | None:
    """The certificates that lead from one to a root, all of them sound at that time, and the root; None if none do.

    Each of the others is reached once, on the shortest way to it, so that many of them cannot make this take long.
    """
    ways: list[tuple[Certificate, ...]] = [(leaf,)]
    left = [other for other in others if other is not leaf]
    for way in ways:  # which grows
        if not way[-1].is_sound(at):
            continue
        for root in roots:
            is_root = root.subject == root.issuer and root.is_sound(at)
            if is_root and (_is_itself(root, leaf) or _issued(root, way)):
                return way, root
        if len(way) <= _LONGEST_PATH:
            further = [other for other in left if _issued(other, way)]
            left = [other for other in left if other not in further]
            ways.extend((*way, other) for other in further)
    return None


def _extensions(values: Iterable[Value]) -> _Extensions:
    found: dict[str, tuple[bool, bytes]] = {}
    listed = next((value for value in values if value.tag == Tag.PLACE_3), None)
    for each in values_in(only(listed.content, Tag.SEQUENCE).content) if listed else ():
        kind, *rest = at_least(2, values_in(expect(each, Tag.SEQUENCE).content))
        is_critical = len(rest) == 2
        if is_critical and expect(rest.pop(0), Tag.BOOLEAN).content != b"\xff":
            raise NotDer("not DER")  # what is not critical does not say so
        if dotted(kind) in found or len(rest) != 1:
            raise NotDer("an extension twice, or of another form")
        found[dotted(kind)] = is_critical, expect(rest[0], Tag.OCTETS).content
    return found


def _is_for_stamps(extensions: _Extensions) -> bool:
    is_critical, content = extensions.get(_PURPOSES, (False, b"\x30\0"))
    purposes, usage = [dotted(each) for each in values_in(only(content, Tag.SEQUENCE).content)], _usage(extensions)
    is_usable = usage is None or (len(usage) == 1 and usage[0] & _SIGNS == usage[0] != 0)
    return is_critical and purposes == [_TIME_STAMPING] and is_usable


def _most_below(extensions: _Extensions) -> int:
    content, usage = extensions.get(_CONSTRAINTS, (False, b"\x30\0"))[1], _usage(extensions)
    is_authority, *longest = [each.whole for each in values_in(only(content, Tag.SEQUENCE).content)] or [b""]
    if is_authority not in (b"", b"\x01\x01\xff") or len(longest) > 1:
        raise NotDer("not DER")  # what is no authority does not say so
    most = count(only(longest[0], Tag.INTEGER)) if longest else _LONGEST_PATH
    may_sign = usage is None or (usage and usage[0] & _SIGNS_CERTIFICATES)
    return most if is_authority and may_sign else -1


def _usage(extensions: _Extensions) -> bytes | None:
    """The octets of a key usage; None if there is none."""
    return only(extensions[_KEY_USAGE][1], Tag.BITS).content[1:] if _KEY_USAGE in extensions else None


def _is_itself(root: Certificate, leaf: Certificate) -> bool:
    """Whether an authority that nobody vouches for is the root: its one certificate is in the trust file."""
    return root.whole == leaf.whole and _is_signed(leaf, root)


def _issued(issuer: Certificate, way: Sequence[Certificate]) -> bool:
    """Whether a certificate issued the last on a way, on which its name does not stand yet."""
    top, below = way[-1], len(way) - 1
    is_next = issuer.subject == top.issuer and below <= issuer.most_below
    return is_next and all(issuer.subject != each.subject for each in way) and _is_signed(top, issuer)


def _is_signed(certificate: Certificate, issuer: Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    kind, digest = certificate.signed_with
    key = _key(issuer)
    try:
        if kind == "rsa" and isinstance(key, rsa.RSAPublicKey):
            algorithm: hashes.HashAlgorithm = getattr(hashes, digest.upper())()
            key.verify(certificate.signature, certificate.signed, padding.PKCS1v15(), algorithm)
        elif kind == "ec" and isinstance(key, ec.EllipticCurvePublicKey):
            algorithm = getattr(hashes, digest.upper())()
            key.verify(certificate.signature, certificate.signed, ec.ECDSA(algorithm))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _key(certificate: Certificate) -> "PublicKeyTypes | None":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        return load_der_public_key(certificate.key)
    except (ValueError, UnsupportedAlgorithm):
        return None
