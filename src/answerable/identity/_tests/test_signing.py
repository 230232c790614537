"""A person's signature stands for one answer to one action, whatever key made it."""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from answerable.identity import SignatureInvalid, SignerKeyUnknown, SigningKey, verify_signature

pytestmark = pytest.mark.requirement("GV-2")

MINE, OTHER = (b'{"approval":"appr_1","digest":"sha256:%s"}' % (digit * 64) for digit in (b"0", b"1"))
PRESENT, VERIFIED = 0x01, 0x04


@dataclass
class Authenticator:
    """A passkey in software: what it signs is what a browser would have it sign, unless a test says otherwise."""

    rp: str = "gate.example.com"
    private: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))

    @property
    def key(self) -> SigningKey:
        public = self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        name = hashlib.sha256(public).hexdigest()
        return SigningKey(id=name, person="party_1", kind="passkey", public=public, rp=self.rp)

    def answer(
        self,
        message: bytes,
        *,
        type: str = "webauthn.get",
        origin: str = "https://gate.example.com:8700",
        rp: str = "gate.example.com",
        flags: int = PRESENT | VERIFIED,
    ) -> dict[str, str]:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(message).digest()).rstrip(b"=").decode()
        client = json.dumps({"type": type, "challenge": challenge, "origin": origin}).encode()
        authenticator = hashlib.sha256(rp.encode()).digest() + bytes([flags]) + (1).to_bytes(4, "big")
        signature = self.private.sign(authenticator + hashlib.sha256(client).digest(), ECDSA(SHA256()))
        parts = {"sig": signature, "clientData": client, "authenticatorData": authenticator}
        said = {name: base64.b64encode(part).decode() for name, part in parts.items()}
        return {"kind": "passkey", "key": self.key.id, **said}


def test_a_passkeys_answer_holds_for_the_action_it_was_asked_about_and_goes_on_the_record_whole() -> None:
    passkey = Authenticator()
    given = passkey.answer(MINE)

    recorded = verify_signature([passkey.key], MINE, given)

    public = base64.b64encode(passkey.key.public).decode()
    assert recorded == {**given, "publicKey": public, "rp": "gate.example.com"}


@pytest.mark.parametrize(
    ("signed", "problem"),
    [
        (lambda passkey: passkey.answer(OTHER), "another challenge"),
        (lambda passkey: passkey.answer(MINE, type="webauthn.create"), "another challenge"),
        (lambda passkey: passkey.answer(MINE, origin="https://gate.example.org"), "another site"),
        (lambda passkey: passkey.answer(MINE, origin="https://notgate.example.com"), "another site"),
        (lambda passkey: passkey.answer(MINE, rp="example.org"), "another site"),
        (lambda passkey: passkey.answer(MINE, flags=VERIFIED), "did not verify who was there"),
        (lambda passkey: passkey.answer(MINE, flags=PRESENT), "did not verify who was there"),
        (lambda passkey: {**passkey.answer(MINE), "sig": passkey.answer(OTHER)["sig"]}, "not over what"),
        (lambda passkey: {**passkey.answer(MINE), "sig": "not base64"}, "not of its form"),
        (lambda passkey: {**passkey.answer(MINE), "clientData": "W10="}, "not of its form"),
        (lambda passkey: {"kind": "passkey", "key": passkey.key.id}, "not of its form"),
    ],
)
def test_a_passkeys_answer_to_anything_else_is_refused(
    signed: Callable[[Authenticator], dict[str, Any]], problem: str
) -> None:
    passkey = Authenticator()

    with pytest.raises(SignatureInvalid, match=problem):
        verify_signature([passkey.key], MINE, signed(passkey))


def test_a_signature_by_somebody_elses_key_or_of_another_kind_is_nobodys() -> None:
    passkey, stranger = Authenticator(), Authenticator()

    with pytest.raises(SignerKeyUnknown):
        verify_signature([passkey.key], MINE, stranger.answer(MINE))
    with pytest.raises(SignerKeyUnknown):
        verify_signature([passkey.key], MINE, {**passkey.answer(MINE), "kind": "file"})
