"""Signatures of people: which keys are whose, and whether an answer was signed with one.

Two kinds: a P-256 key in a file of the person's own, and a passkey (WebAuthn). The private key is
never here. Registering and revoking are receipts of phase `key` in the tenant's control run, with
role `signer`. How an answer is signed: `docs/formats/receipt.md`, "Signatures of people".
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from answerable.core import ConfigError, Refused, TenantId, stable_json
from answerable.identity._ports import Book, Store
from answerable.ledger import Draft, Phase, Prepared, Receipt, Tx, control_run, metadata

__all__ = [
    "SignatureInvalid",
    "SignerKeyInvalid",
    "SignerKeyUnknown",
    "SigningKey",
    "SigningKeys",
    "SigningKeysProjection",
    "read_public_key",
    "sign_with_file",
    "verify_signature",
]

Kind = Literal["file", "passkey"]

_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("public", sa.Text, nullable=False),
    sa.Column("rp", sa.Text, nullable=False),
    sa.Column("credential", sa.Text, nullable=False),
    sa.Column("since", sa.Text, nullable=False),
    sa.Column("receipt", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam
_PUT = Prepared(sa.insert(_keys))
_DROP = Prepared(sa.delete(_keys).where(_keys.c.id == _P("id")))
_COLUMNS = (_keys.c.id, _keys.c.person, _keys.c.kind, _keys.c.public, _keys.c.rp, _keys.c.credential, _keys.c.since)
_OF_PERSON = Prepared(
    sa.select(*_COLUMNS)
    .where(_keys.c.tenant == _P("tenant"), _keys.c.person == _P("person"))
    .order_by(_keys.c.since, _keys.c.id)
)
_LIST = Prepared(sa.select(*_COLUMNS).where(_keys.c.tenant == _P("tenant")).order_by(_keys.c.since, _keys.c.id))
_IS_PRESENT, _IS_VERIFIED = 0x01, 0x04  # WebAuthn Level 3 §6.1, flags UP and UV


@dataclass(eq=False, kw_only=True)
class SignerKeyInvalid(ConfigError):
    """A key with which a person is to sign cannot be used."""

    code = "config.signer_key_invalid"
    what = "the key in `{place}` cannot be used: {problem}"
    why = "people sign with P-256, which passkeys, smart cards and `openssl` all know"
    fix = "make one with `openssl ecparam -name prime256v1 -genkey -noout -out me.key`, and register its public half"

    place: str
    problem: str


@dataclass(eq=False, kw_only=True)
class SignerKeyUnknown(Refused):
    """No such signing key is in use."""

    code = "refused.signer_key_unknown"
    what = "no signing key `{key}` of this person is in use"
    why = "only a key that was registered and not revoked since shows who signed"
    fix = "list the keys with `answerable person signer list`, and register this one if it is theirs"

    key: str


@dataclass(eq=False, kw_only=True)
class SignatureInvalid(Refused):
    """A person's signature does not hold."""

    code = "refused.signature_invalid"
    what = "the signature by key `{key}` does not hold: {problem}"
    why = "a signature covers exactly one answer to exactly one action"
    fix = "look at the approval again, and sign what it says now"

    key: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key in use.

    Args:
        id: SHA-256 of the public key (SubjectPublicKeyInfo, DER), 64 hexadecimal digits.
        person: as the record calls them.
        public: the SubjectPublicKeyInfo.
        rp: of a passkey, the host it belongs to.
        credential: of a passkey, its id at the authenticator, base64url.
    """

    id: str
    person: str
    kind: Kind
    public: bytes
    rp: str = ""
    credential: str = ""
    since: str = ""


class SigningKeysProjection:
    """The table `signing_keys`: those in use."""

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `signing_keys`."""
        return (_keys,)

    @property
    def phases(self) -> frozenset[Phase]:
        """Keys come and go by receipts of their own."""
        return frozenset({"key"})

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt; other keys sign no answers."""
        said = receipt.predicate
        control = said["control"]
        if control["role"] != "signer":
            return
        tx.run(_DROP, id=control["id"])
        if control["state"] != "revoked":
            tx.run(
                _PUT,
                id=control["id"],
                tenant=said["tenant"],
                person=control["by"],
                kind=control["kind"],
                public=control["key"],
                rp=control.get("rp", ""),
                credential=control.get("credential", ""),
                since=said["at"],
                receipt=said["id"],
            )


class SigningKeys:
    """Registers, revokes and finds people's signing keys. Needs `SigningKeysProjection` on the ledger."""

    def __init__(self, *, book: Book, store: Store, tenant: TenantId = TenantId("default")) -> None:
        self._book = book
        self._store = store
        self._tenant = tenant

    async def add(self, person: str, public: bytes, *, rp: str = "", credential: str = "") -> SigningKey:
        """Register a person's key; from now on nobody answers in their name without it.

        Args:
            person: a name, with or without `person:`.
            public: SubjectPublicKeyInfo in DER, P-256.
            rp, credential: of a passkey.

        Raises:
            SignerKeyInvalid: another kind of key, or somebody has it already.
        """
        _load_public(public, "the key given")
        person = f"person:{person.rpartition(':')[2]}"
        key = SigningKey(
            id=hashlib.sha256(public).hexdigest(),
            person=self._book.pseudonym(self._tenant, person),
            kind="passkey" if credential else "file",
            public=public,
            rp=rp,
            credential=credential,
        )
        if any(each.id == key.id for each in self.list()):
            # SECURITY: one key is one person, or "two different people" could be one.
            raise SignerKeyInvalid(place="the key given", problem="it is registered already")
        control = {"by": key.person, "kind": key.kind, "key": base64.b64encode(public).decode()}
        if credential:
            control |= {"rp": rp, "credential": credential}
        await self._record(key.id, "in use", control, person)
        return key

    async def revoke(self, key: str) -> None:
        """Revoke a key by its id, or by how the id begins (eight digits or more).

        Raises:
            SignerKeyUnknown: no key in use is meant.
        """
        found = [each for each in self.list() if each.id.startswith(key) and len(key) >= 8]
        if len(found) != 1:
            raise SignerKeyUnknown(key=key)
        await self._record(found[0].id, "revoked", {"by": found[0].person}, "")

    def of(self, person: str) -> Sequence[SigningKey]:
        """The keys in use of a person, named as the record names them."""
        return [_key(row) for row in self._store.rows(_OF_PERSON, tenant=self._tenant, person=person)]

    def list(self) -> Sequence[SigningKey]:
        """All keys in use, the oldest first."""
        return [_key(row) for row in self._store.rows(_LIST, tenant=self._tenant)]

    async def _record(self, key: str, state: str, more: dict[str, Any], person: str) -> None:
        await self._book.append(
            Draft(
                tenant=self._tenant,
                run=control_run(self._tenant),
                phase="key",
                agent="",
                members={"control": {"role": "signer", "id": key, "state": state, **more}},
                input=stable_json({"person": person}) if person else None,
                subjects=(person,) if person else (),
            )
        )


def read_public_key(path: Path) -> bytes:
    """The P-256 public key in a PEM file, as SubjectPublicKeyInfo; of a private key, its public half.

    Raises:
        SignerKeyInvalid: no such key there.
    """
    try:
        pem = path.read_bytes()
        key = load_pem_private_key(pem, None).public_key() if b"PRIVATE" in pem else load_pem_public_key(pem)
    except (OSError, ValueError, TypeError) as error:
        raise SignerKeyInvalid(place=str(path), problem=f"no key in PEM ({type(error).__name__})") from None
    public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    _load_public(public, str(path))
    return public


def sign_with_file(path: Path, message: bytes) -> dict[str, str]:
    """The signature over exactly these bytes, with the private key in a file (ECDSA, P-256, SHA-256).

    Raises:
        SignerKeyInvalid: no such key there.
    """
    try:
        private = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise SignerKeyInvalid(place=str(path), problem=f"no private key in PEM ({type(error).__name__})") from None
    if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(private.curve, SECP256R1):
        raise SignerKeyInvalid(place=str(path), problem="it is not P-256")
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    sig = base64.b64encode(private.sign(message, ECDSA(SHA256()))).decode()
    return {"kind": "file", "key": hashlib.sha256(public).hexdigest(), "sig": sig}


def verify_signature(keys: Sequence[SigningKey], message: bytes, given: Mapping[str, str]) -> dict[str, str]:
    """What goes on the record of a signature that holds under one of these keys.

    Args:
        keys: of the person who is said to have signed.
        message: what they were to sign.
        given: `kind`, `key`, `sig`, and of a passkey `clientData` and `authenticatorData`, all base64.

    Raises:
        SignerKeyUnknown: it is by no such key.
        SignatureInvalid: it does not hold.
    """
    named = str(given.get("key", ""))[:64]
    key = next((each for each in keys if each.id == named and each.kind == given.get("kind")), None)
    if key is None:
        raise SignerKeyUnknown(key=named[:16])
    said = {"kind": key.kind, "key": key.id, "publicKey": base64.b64encode(key.public).decode()}
    try:
        signature = base64.b64decode(given["sig"], validate=True)
        said["sig"] = base64.b64encode(signature).decode()
        if key.kind == "passkey":
            client = base64.b64decode(given["clientData"], validate=True)
            authenticator = base64.b64decode(given["authenticatorData"], validate=True)
            if problem := _passkey_problem(key, message, client, authenticator):
                raise SignatureInvalid(key=key.id[:16], problem=problem)
            said["clientData"] = base64.b64encode(client).decode()
            said["authenticatorData"] = base64.b64encode(authenticator).decode()
            said["rp"] = key.rp
            message = authenticator + hashlib.sha256(client).digest()
        _load_public(key.public, key.id).verify(signature, message, ECDSA(SHA256()))
    except (KeyError, ValueError, TypeError, AttributeError):
        raise SignatureInvalid(key=key.id[:16], problem="it is not of its form") from None
    except InvalidSignature:
        raise SignatureInvalid(key=key.id[:16], problem="it is not over what was to be signed") from None
    return said


def _passkey_problem(key: SigningKey, message: bytes, client: bytes, authenticator: bytes) -> str:
    """What is wrong with what surrounds a passkey's signature.

    Source: WebAuthn Level 3 §7.2, steps 11 to 18.
    """
    said = orjson.loads(client)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(message).digest()).rstrip(b"=").decode()
    if said["type"] != "webauthn.get" or said["challenge"] != challenge:
        return "it answers another challenge than this action's"
    host = said["origin"].partition("://")[2].partition(":")[0]
    if host != key.rp and not host.endswith("." + key.rp):
        return "it was made for another site"
    if authenticator[:32] != hashlib.sha256(key.rp.encode()).digest():
        return "the authenticator signed for another site"
    if len(authenticator) < 37 or not authenticator[32] & _IS_PRESENT or not authenticator[32] & _IS_VERIFIED:
        return "the authenticator did not verify who was there"
    return ""


def _load_public(public: bytes, place: str) -> EllipticCurvePublicKey:
    try:
        key = load_der_public_key(public)
    except ValueError:
        raise SignerKeyInvalid(place=place, problem="it is no public key") from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise SignerKeyInvalid(place=place, problem="it is not P-256")
    return key


def _key(row: Sequence[Any]) -> SigningKey:
    return SigningKey(
        id=row[0],
        person=row[1],
        kind=row[2],
        public=base64.b64decode(row[3]),
        rp=row[4],
        credential=row[5],
        since=row[6],
    )
