"""RFC 3161 timestamps, made by hand: authorities with fixed keys, and what can be wrong with what they say.

A timestamp is judged at its own time, so these hold for ever although their certificates end.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from conformance.vectors.making import b64

__all__ = [
    "AUTHORITY",
    "BY_RSA",
    "BY_TWO",
    "SERVER",
    "TIME_STAMPING",
    "Authority",
    "authority",
    "signature_algorithm",
    "stamp",
]

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DIGESTS: dict[str, tuple[str, Any]] = {
    "sha1": ("1.3.14.3.2.26", SHA1),
    "sha256": ("2.16.840.1.101.3.4.2.1", SHA256),
    "sha384": ("2.16.840.1.101.3.4.2.2", SHA384),
    "sha512": ("2.16.840.1.101.3.4.2.3", SHA512),
}
TST_INFO = "1.2.840.113549.1.9.16.1.4"
TIME_STAMPING, SERVER = "1.3.6.1.5.5.7.3.8", "1.3.6.1.5.5.7.3.1"


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    digits = b"" if size < 128 else size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(digits) if digits else size]) + digits + content


def sequence(*parts: bytes) -> bytes:
    return der(0x30, *parts)


def set_of(*parts: bytes, tag: int = 0x31) -> bytes:
    return der(tag, *sorted(parts))


def number(value: int) -> bytes:
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    found = b""
    for each in (first * 40 + second, *rest):
        digits = [each & 0x7F]
        while each := each >> 7:
            digits.append(0x80 | each & 0x7F)
        found += bytes(reversed(digits))
    return der(0x06, found)


def octets(content: bytes) -> bytes:
    return der(0x04, content)


def name(text: str) -> bytes:
    return sequence(set_of(sequence(oid("2.5.4.3"), der(0x0C, text.encode()))))


def digest_algorithm(digest: str) -> bytes:
    return sequence(oid(DIGESTS[digest][0]), der(0x05))


def _signed(key: Key, said: bytes, digest: str = "sha256") -> bytes:
    algorithm = DIGESTS[digest][1]()
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(said, padding.PKCS1v15(), algorithm)
    return key.sign(said, ec.ECDSA(algorithm, deterministic_signing=True))


def signature_algorithm(key: Key, digest: str = "sha256") -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        number = {"sha1": 5, "sha256": 11, "sha384": 12, "sha512": 13}[digest]
        return sequence(oid(f"1.2.840.113549.1.1.{number}"), der(0x05))  # sha256WithRSAEncryption, …
    member = {"sha1": "1", "sha256": "3.2", "sha384": "3.3", "sha512": "3.4"}[digest]
    return sequence(oid(f"1.2.840.10045.4.{member}"))  # ecdsa-with-SHA256, …


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What a certificate says, and the key that it is for."""

    subject: str
    key: Key
    issuer: str
    issuer_key: Key
    serial: int = 1
    since: str = "260101000000Z"
    until: str = "270101000000Z"
    is_authority: bool = False
    longest: int | None = None
    usage: int | None = None
    purposes: Sequence[str] = ()
    purposes_are_critical: bool = True
    strange: bool = False
    """Whether it has a critical extension that nobody knows."""
    version: int = 3
    told: bytes = b""
    """The algorithm of its signature as it stands beside it, where that is not the one that is signed."""

    @property
    def body(self) -> bytes:
        sign = signature_algorithm(self.issuer_key)
        public = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        said = sequence(
            der(0xA0, number(self.version - 1)),
            *(number(self.serial), sign, name(self.issuer)),
            sequence(der(0x17, self.since.encode()), der(0x17, self.until.encode())),
            *(name(self.subject), public, der(0xA3, sequence(*self._extensions()))),
        )
        return sequence(said, self.told or sign, der(0x03, b"\0", _signed(self.issuer_key, said)))

    @property
    def pem(self) -> str:
        body = b64(self.body)
        lines = "\n".join(body[start : start + 64] for start in range(0, len(body), 64))
        return f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"

    def _extensions(self) -> list[bytes]:
        critical = der(0x01, b"\xff")
        longest = [number(self.longest)] if self.longest is not None else []
        constraints = sequence(*([critical, *longest] if self.is_authority else []))
        found = [sequence(oid("2.5.29.19"), critical, octets(constraints))]
        usage = self.usage if self.usage is not None else 0x04 if self.is_authority else 0x80
        # a named list of bits ends with the last that is set (X.690 §11.2.2)
        unused = (usage & -usage).bit_length() - 1
        found.append(sequence(oid("2.5.29.15"), critical, octets(der(0x03, bytes([unused, usage])))))
        if self.purposes:
            marks = [critical] if self.purposes_are_critical else []
            found.append(sequence(oid("2.5.29.37"), *marks, octets(sequence(*map(oid, self.purposes)))))
        if self.strange:
            found.append(sequence(oid("1.3.6.1.4.1.99999.1"), critical, octets(der(0x05))))
        return found


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A root, those between, and the certificate that stamps."""

    root: Certificate
    leaf: Certificate
    between: Sequence[Certificate] = field(default_factory=tuple)


def _key(number: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(number, ec.SECP256R1())


# Two primes: a key for everybody to see.
_P = int(
    "f85cd02761d5df8bfa781621ad347ed2bb0e93d97b91a882084ca9b871c1ba7666ea35521e42181e2306867bfa7f99e4"
    "1ad650aa1f8e9610fe6a4ade3e4a849fb2a10a5532f2b9ea0c62aa20536388cc3dd0f4ab502e8cc6dfe2873c445d3b67"
    "adcd91801a50310cb219b142d3a6eab0101fa50a2dac56cdbb449ede23c72573",
    16,
)
_Q = int(
    "d7cd5a98b785cfca51f930d529254e921dbf7c09284aa4f57d5cd556c5da735bf4c4a57dfdfde1e8ac34b1177d0c4b9d"
    "c10231e568991c541b4b5f4057f81680224b8a6fc394a9e194943cbbc7c17d1e0a946beb4de8aa4bfe7c702972d86862"
    "8ac9cc63d9597c4ee544b67fa6b4d7c657fb6bbe6e7a3c15c0634905d4a7192b",
    16,
)


def _rsa() -> rsa.RSAPrivateKey:
    e = 65537
    d = pow(e, -1, (_P - 1) * (_Q - 1))
    numbers = rsa.RSAPublicNumbers(e, _P * _Q)
    return rsa.RSAPrivateNumbers(_P, _Q, d, d % (_P - 1), d % (_Q - 1), pow(_Q, -1, _P), numbers).private_key()


def authority(*, rsa_key: bool = False, through: bool = False, wrong: str = "", **leaf: Any) -> Authority:
    """An authority; `wrong` is what is the matter with the certificate between root and leaf."""
    root_key, between_key, leaf_key = _key(11), _key(12), _rsa() if rsa_key else _key(13)
    names = "Time", "Time, between", "Time, stamps"
    root = Certificate(subject=names[0], key=root_key, issuer=names[0], issuer_key=root_key, is_authority=True)
    said: dict[str, Any] = {"is_authority": True, "longest": 0, "serial": 2}
    if wrong == "no authority":
        said["is_authority"] = False
    elif wrong == "may not sign":
        said["usage"] = 0x80
    between = Certificate(subject=names[1], key=between_key, issuer=names[0], issuer_key=root_key, **said)
    issuer = (names[1], between_key) if through else (names[0], root_key)
    leaf = {"issuer": issuer[0], "issuer_key": issuer[1], "purposes": (TIME_STAMPING,), **leaf}
    stamps = Certificate(subject=names[2], key=leaf_key, serial=3, **leaf)
    return Authority(root=root, leaf=stamps, between=(between,) if through else ())


AUTHORITY, BY_RSA, BY_TWO = authority(), authority(rsa_key=True), authority(through=True)


def stamp(
    text: bytes,
    by: Authority = AUTHORITY,
    *,
    at: str = "20261121040100Z",
    digest: str = "sha256",
    under: str = "",
    status: int = 0,
    version: int = 3,
    key: Key | None = None,
    attested: bytes = b"",
    kind: str = TST_INFO,
    named: Certificate | None = None,
    names: bool = True,
    signed_with: bytes = b"",
    carried: Sequence[Certificate] | None = None,
    is_sorted: bool = True,
    passed_over: bool = False,
    words: bytes = b"Here you are",
) -> bytes:
    """A response of the authority over a text.

    Args:
        under: the digest of what is signed, where it is not that of the text.
        key: signs in place of the leaf's; `attested`: the content whose digest is signed, where it is not the real one.
        kind: of content, as it is signed; `named`: the certificate that is signed to be the signer's, if not the leaf.
        signed_with: the algorithm of the signature that stands beside it, where it is not the real one.
        carried: the certificates in it, where they are not those of the authority.
        passed_over: with a text for people (`words`), revocations and attributes, none of which anybody signs.
    """
    imprint = sequence(digest_algorithm(digest), octets(hashlib.new(digest, text).digest()))
    content = sequence(number(1), oid("1.3.6.1.4.1.99999.2"), imprint, number(77), der(0x18, at.encode()))
    certificate = (named or by.leaf).body
    first = sequence(octets(hashlib.sha256(certificate).digest()))  # RFC 5816, signingCertificateV2
    under = under or digest
    told = hashlib.new(under, attested or content).digest()
    attributes = [
        sequence(oid("1.2.840.113549.1.9.3"), set_of(oid(kind))),
        sequence(oid("1.2.840.113549.1.9.4"), set_of(octets(told))),
        *([sequence(oid("1.2.840.113549.1.9.16.2.47"), set_of(sequence(sequence(first))))] if names else []),
    ]
    signature = _signed(key or by.leaf.key, set_of(*attributes), under)
    name_of_it = signed_with or signature_algorithm(by.leaf.key, under)
    signer = sequence(
        *(number(1), sequence(name(by.leaf.issuer), number(by.leaf.serial)), digest_algorithm(under)),
        *(set_of(*attributes, tag=0xA0), name_of_it, octets(signature)),
        der(0xA1, sequence(oid("1.3.6.1.4.1.99999.3"), set_of(octets(b"anything")))) if passed_over else b"",
    )
    bodies = sorted(each.body for each in ((by.leaf, *by.between) if carried is None else carried))
    signed = sequence(
        *(number(version), set_of(digest_algorithm(under))),
        sequence(oid(TST_INFO), der(0xA0, octets(content))),
        der(0xA0, *(bodies if is_sorted else reversed(bodies))),
        der(0xA1) if passed_over else b"",
        set_of(signer),
    )
    token = sequence(oid("1.2.840.113549.1.7.2"), der(0xA0, signed))
    text_for_people = sequence(der(0x0C, words)) if passed_over else b""
    return sequence(sequence(number(status), text_for_people), token)
