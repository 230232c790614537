"""The page, its two files, and the registration of passkeys.

The page holds no secret: it asks for the person's key (`answerable person key new`), keeps it for
the tab, and speaks `/approvals` like any other client. What is signed is decided by the gate and
shown in full; the passkey signs its digest.
"""

import base64
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from answerable.app import Desk, Gate
from answerable.core import AnswerableError
from answerable.identity import AccessKey
from answerable.server._approvals import person_of, refused
from answerable.server._errors import PasskeyRefused
from answerable.server._people import as_json

__all__ = ["page_routes"]

_HERE = Path(__file__).parent
_LIFE_S = 300.0
_MOST_PENDING = 1000
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'"
_FILES = {"": ("decide.html", "text/html"), ".js": ("decide.js", "text/javascript"), ".css": ("decide.css", "text/css")}


def page_routes(gate: Gate) -> list[BaseRoute]:
    """The routes of the page of a running gate."""
    passkeys = _Passkeys(gate)
    files = [Route(f"/decide{end}", _file(name, kind), methods=["GET"]) for end, (name, kind) in _FILES.items()]
    return [
        *files,
        Route("/people/me", passkeys.me, methods=["GET"]),
        Route("/people/me/passkey/options", passkeys.options, methods=["POST"]),
        Route("/people/me/passkey", passkeys.register, methods=["POST"]),
    ]


def _file(name: str, kind: str) -> Callable[[Request], Response]:
    def give(request: Request) -> Response:
        headers = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff", "cache-control": "no-store"}
        return Response((_HERE / name).read_bytes(), 200, headers, media_type=kind)

    return give


class _Passkeys:
    """Registers a person's first passkey, by their key.

    SECURITY: a further one would let whoever has stolen the key answer in their name: an operator revokes the
    first before a second can be registered.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._pending: dict[tuple[str, str], tuple[bytes, float]] = {}

    async def me(self, request: Request) -> Response:
        """Who the key says one is, and the keys that one signs with."""
        try:
            person = person_of(self._gate, request)
            keys = self._keys(person)
        except AnswerableError as error:
            return refused(error)
        said = [{"id": key.id, "kind": key.kind, "credential": key.credential, "rp": key.rp} for key in keys]
        return as_json({"person": person.holder, "roles": person.roles, "keys": said})

    async def options(self, request: Request) -> Response:
        """What the browser needs to make a passkey."""
        try:
            person = person_of(self._gate, request)
            rp, _ = self._site(request)
            self._check_first(person)
        except AnswerableError as error:
            return refused(error)
        challenge = secrets.token_bytes(32)
        if len(self._pending) >= _MOST_PENDING:
            self._pending.pop(next(iter(self._pending)))
        self._pending[person.tenant, person.holder] = challenge, self._gate.approvals.clock.monotonic_s() + _LIFE_S
        name = person.holder.rpartition(":")[2]
        user = {"id": _text(secrets.token_bytes(16)), "name": name, "displayName": name}
        return as_json({"challenge": _text(challenge), "rp": {"id": rp, "name": "Answerable"}, "user": user})

    async def register(self, request: Request) -> Response:
        """Register the passkey that the browser made."""
        try:
            person = person_of(self._gate, request)
            rp, origin = self._site(request)
            self._check_first(person)
            challenge, until = self._pending.pop((person.tenant, person.holder), (b"", 0.0))
            if not challenge or self._gate.approvals.clock.monotonic_s() > until:
                raise PasskeyRefused(problem="it was not asked for, or too long ago")
            public, credential = _verified(await request.body(), challenge, rp, origin)
            key = await self._desk(person).signing_keys.add(person.holder, public, rp=rp, credential=credential)
        except AnswerableError as error:
            return refused(error)
        return as_json({"id": key.id, "kind": key.kind, "credential": key.credential, "rp": key.rp})

    def _keys(self, person: AccessKey) -> Any:
        desk = self._desk(person)
        return desk.signing_keys.of(desk.people.called(person.holder))

    def _desk(self, person: AccessKey) -> Desk:
        return self._gate.desk.of(person.tenant)

    def _check_first(self, person: AccessKey) -> None:
        if self._keys(person):
            raise PasskeyRefused(problem="this person has a signing key already; an operator has to revoke it first")

    def _site(self, request: Request) -> tuple[str, str]:
        """Host and origin of the page that asks, which must be this gate's own."""
        origin = request.headers.get("origin", "")
        split = URL(origin)
        if not split.hostname or split.netloc != request.headers.get("host", ""):
            raise PasskeyRefused(problem="the page that asks is not this gate's own")
        return split.hostname, origin


def _verified(body: bytes, challenge: bytes, rp: str, origin: str) -> tuple[bytes, str]:
    """The public key (SubjectPublicKeyInfo) of a new passkey, and its credential id.

    Source: WebAuthn Level 3 §7.1; COSE key, RFC 9053 §7.1.1.
    """
    # Here, because it brings parsers of attestation formats that only a registration needs.
    import webauthn
    from webauthn.helpers import decode_credential_public_key
    from webauthn.helpers.cose import COSEAlgorithmIdentifier
    from webauthn.helpers.decode_credential_public_key import DecodedEC2PublicKey
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        made = webauthn.verify_registration_response(
            credential=orjson.loads(body),
            expected_challenge=challenge,
            expected_rp_id=rp,
            expected_origin=origin,
            require_user_verification=True,
            supported_pub_key_algs=[COSEAlgorithmIdentifier.ECDSA_SHA_256],
        )
        decoded = decode_credential_public_key(made.credential_public_key)
    except (WebAuthnException, ValueError, TypeError, KeyError) as error:
        raise PasskeyRefused(problem=f"what the browser sent does not hold ({type(error).__name__})") from None
    if not isinstance(decoded, DecodedEC2PublicKey):
        raise PasskeyRefused(problem="its key is not P-256")
    x, y = int.from_bytes(decoded.x), int.from_bytes(decoded.y)
    public = EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), _text(made.credential_id)


def _text(raw: bytes) -> str:
    """Base64url without padding, as WebAuthn writes bytes in JSON."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
