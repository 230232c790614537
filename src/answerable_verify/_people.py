"""Answers of people: whether what is signed holds, under whose key.

Format: `docs/formats/receipt.md`, "Signatures of people"; WebAuthn Level 3 §7.2.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from answerable_verify._history import Say
from answerable_verify._json import canonical
from answerable_verify._keys import BadKey
from answerable_verify._receipt import Receipt

__all__ = ["check_people", "read_person_key", "statement_of"]

_PRESENT_AND_VERIFIED = 0x05  # WebAuthn Level 3 §6.1, flags UP and UV


def check_people(receipts: Iterable[Receipt], *, pinned: frozenset[str], say: Say) -> int:
    """Check every signature by a person; the number of them.

    Args:
        pinned: ids of the keys that the verifier's trust names; where there are none, any key will do.
    """
    count = 0
    for receipt in receipts:
        if receipt.phase != "approval" or (signature := receipt.section("control").get("signature")) is None:
            continue
        count += 1
        if problem := _fault(receipt, signature):
            say("people", problem, receipt)
        elif pinned and signature["key"] not in pinned:
            say(
                "people", f"answered with the key {signature['key'][:16]}…, which the trust file does not name", receipt
            )
    return count


def statement_of(receipt: Receipt, key: str) -> bytes:
    """What the person who gave this answer signed."""
    control = receipt.section("control")
    said = {
        "format": "answerable-answer/1",
        "tenant": receipt.tenant,
        "run": receipt.run,
        "key": key,
        "scope": control.get("scope", "action"),
    }
    said |= {name: control.get(name, "") for name in ("approval", "digest", "decision", "role", "edited", "reason")}
    return canonical(said).encode("utf-8")


def read_person_key(text: str) -> str:
    """The id of a P-256 public key in PEM: SHA-256 of its SubjectPublicKeyInfo, 64 hexadecimal digits.

    Raises:
        BadKey: not PEM, or another kind of key.
    """
    try:
        key = load_pem_public_key(text.encode("utf-8"))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadKey("not a public key in PEM") from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise BadKey("not a P-256 key")
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _fault(receipt: Receipt, signature: Any) -> str:
    """What is wrong with a signature; empty for nothing."""
    if not isinstance(signature, Mapping) or not all(isinstance(part, str) for part in signature.values()):
        return "its signature is not of its form"
    try:
        public = base64.b64decode(signature["publicKey"], validate=True)
        if hashlib.sha256(public).hexdigest() != signature["key"]:
            return "its signature names another key than it carries"
        key = load_der_public_key(public)
        if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
            return "its signature is by no P-256 key"
        message = statement_of(receipt, signature["key"])
        if signature["kind"] == "passkey":
            client = base64.b64decode(signature["clientData"], validate=True)
            authenticator = base64.b64decode(signature["authenticatorData"], validate=True)
            if problem := _passkey_fault(message, client, authenticator, signature["rp"]):
                return problem
            message = authenticator + hashlib.sha256(client).digest()
        key.verify(base64.b64decode(signature["sig"], validate=True), message, ECDSA(SHA256()))
    except InvalidSignature:
        return "its signature does not hold over what it answers"
    except (KeyError, ValueError, TypeError, UnsupportedAlgorithm, RecursionError):
        return "its signature is not of its form"
    return ""


def _passkey_fault(message: bytes, client: bytes, authenticator: bytes, rp: str) -> str:
    said = json.loads(client)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(message).digest()).rstrip(b"=").decode()
    if not isinstance(said, dict) or said.get("type") != "webauthn.get" or said.get("challenge") != challenge:
        return "its passkey answered another challenge than this action's"
    if len(authenticator) < 37 or authenticator[:32] != hashlib.sha256(rp.encode()).digest():
        return "its passkey signed for another site"
    if authenticator[32] & _PRESENT_AND_VERIFIED != _PRESENT_AND_VERIFIED:
        return "its passkey did not verify who was there"
    return ""
