"""What the vectors are made of: fixed keys, receipts, checkpoints, proofs, bundles and trust files.

Written from `docs/formats/`, with PyNaCl, cryptography and the standard library, and nothing of Answerable: an
implementation must not make the vectors that judge it.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl.signing import SigningKey

GATE, LOG, STRANGER, ADA_WITNESS, BO_WITNESS, CY_MONITOR = (SigningKey(bytes([number]) * 32) for number in range(1, 7))
GRACE = ec.derive_private_key(7, ec.SECP256R1())
TENANT = "acme"
KIND = "application/vnd.in-toto+json"
COSIGNATURE = 4
SITE = "approvals.example"

Said = dict[str, Any]


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def b64(body: bytes) -> str:
    return base64.b64encode(body).decode()


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def envelope(body: bytes, key: SigningKey = GATE) -> str:
    pae = b"DSSEv1 %d %b %d %b" % (len(KIND), KIND.encode(), len(body), body)
    signature = {"keyid": sha256(bytes(key.verify_key)), "sig": b64(key.sign(pae).signature)}
    return canonical({"payload": b64(body), "payloadType": KIND, "signatures": [signature]}).decode()


def statement(predicate: Said) -> Said:
    run = predicate["run"]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": run, "digest": {"sha256": sha256(run.encode())}}],
        "predicateType": "urn:answerable:receipt:v1",
        "predicate": predicate,
    }


def pem(key: SigningKey) -> str:
    body = b64(bytes.fromhex("302a300506032b6570032100") + bytes(key.verify_key))
    return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"


def person_der(key: ec.EllipticCurvePrivateKey = GRACE) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def person_pem(key: ec.EllipticCurvePrivateKey = GRACE) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


ORIGIN = f"answerable.local/{sha256(bytes(LOG.verify_key))[:16]}/{TENANT}"


def checkpoint(size: int, root: bytes, key: SigningKey = LOG, origin: str = ORIGIN) -> str:
    text = f"{origin}\n{size}\n{b64(root)}\n"
    key_hash = hashlib.sha256(origin.encode() + b"\n\x01" + bytes(key.verify_key)).digest()[:4]
    return f"{text}\n\N{EM DASH} {origin} {b64(key_hash + key.sign(text.encode()).signature)}\n"


def cosigned(note: str, name: str, key: SigningKey, at_s: int, *, over: str = "") -> str:
    """The note with a cosignature; `over` is what was really signed, where it is not the note's own text."""
    text = over or note.split("\n\n")[0] + "\n"
    said = f"cosignature/v1\ntime {at_s}\n{text}".encode()
    raw = verifier_hash(name, key) + at_s.to_bytes(8, "big") + key.sign(said).signature
    return note + f"\N{EM DASH} {name} {b64(raw)}\n"


def verifier_hash(name: str, key: SigningKey, kind: int = COSIGNATURE) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + bytes(key.verify_key)).digest()[:4]


def verifier_key(name: str, key: SigningKey, kind: int = COSIGNATURE) -> str:
    return f"{name}+{verifier_hash(name, key, kind).hex()}+{b64(bytes([kind]) + bytes(key.verify_key))}"


def trust_text(**more: str) -> str:
    """A trust file; what is given as empty text is left out."""
    said = {
        "format": "answerable-trust/1",
        "origin": ORIGIN,
        "log_key": pem(LOG),
        "gate_key": pem(GATE),
        **more,
    }
    lines = (f'{name} = "{value}"\n'.replace("\n", "\\n", value.count("\n")) for name, value in said.items() if value)
    return "".join(lines)


def tree_root(entries: Sequence[bytes]) -> bytes:
    """RFC 6962 §2.1, word for word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\x01" + tree_root(entries[:k]) + tree_root(entries[k:])).digest()


def tree_path(index: int, entries: Sequence[bytes]) -> list[bytes]:
    """RFC 6962 §2.1.1, word for word."""
    if len(entries) == 1:
        return []
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if index < k:
        return [*tree_path(index, entries[:k]), tree_root(entries[k:])]
    return [*tree_path(index - k, entries[k:]), tree_root(entries[:k])]


def shared_nodes(entries: Sequence[bytes], chosen: Sequence[int]) -> dict[str, dict[str, str]]:
    """The nodes that do not follow from the chosen leaves."""
    level, known, found = 0, set(chosen), dict[str, dict[str, str]]()
    size = len(entries)
    while size > 1:
        for index in sorted(known):
            beside = index ^ 1
            if beside < size and beside not in known:
                node = tree_root(entries[beside << level : (beside + 1) << level])
                found.setdefault(str(level), {})[str(beside)] = node.hex()
        known, size, level = {index >> 1 for index in known}, (size + 1) >> 1, level + 1
    return found


class Run:
    """Predicates of one run, numbered, chained and signed as they are added."""

    def __init__(self, number: int = 1, *, starts: bool = True, **opened: Any) -> None:
        self.number = number
        self.name = f"run_{number:024x}"
        self.said: list[Said] = []
        if starts:
            control = {"agent": "clerk", "environment": "development", **opened}
            self.add("run.open", onBehalfOf="party_ada", control=control)

    def add(self, phase: str, **members: Any) -> str:
        number = len(self.said)
        predicate: Said = {
            "id": f"rcpt_{(self.number - 1) * 4096 + number:024x}",
            "tenant": TENANT,
            "run": self.name,
            "seq": number,
            "boundary": {"id": "gate_1", "boot": "boot_1", "n": number, "isolation": "separate-user"},
            "phase": phase,
            "at": f"2026-11-21T04:00:00.{number:06d}Z",
            "agent": {"id": "clerk"},
            **members,
        }
        if phase == "run.close" and "control" not in members:
            predicate["control"] = {"state": "done", "count": number}
        self.said.append(predicate)
        return str(predicate["id"])

    def action(self, step: int, *, effect: str = "write", minor: int = 0, name: str = "refund") -> Said:
        """The members that every receipt of an action has."""
        key = f"{step:032x}"
        given = "sha256:" + sha256(b"\x05" * 32 + b'{"order":"1001"}')
        action: Said = {"kind": "tool", "name": name, "effect": effect, "target": "order:1001", "idempotencyKey": key}
        if minor:
            action["amount"] = {"minor": minor, "currency": "EUR"}
        named = {**action, "amount": action.get("amount", {}), "run": self.name, "step": key, "input": given}
        action["digest"] = "sha256:" + sha256(canonical(named))
        return {"step": key, "action": action, "commitments": {"input": given}}

    def intent(self, step: int, attempt: int = 1, *, minor: int = 0, **members: Any) -> str:
        authority = {"decision": "permit", "rules": ["allow"], **members.pop("authority", {})}
        return self.add("intent", attempt=attempt, authority=authority, **{**self.action(step, minor=minor), **members})

    def outcome(self, number: int, intent: str = "", attempt: int = 1, *, minor: int = 0, **members: Any) -> str:
        said = {
            "effect": {"status": "ok", "observedBy": "gate"},
            **({"intentRef": intent} if intent else {}),
            **self.action(number, minor=minor),
            **members,
        }
        return self.add("outcome", attempt=attempt, **said)

    def read(self, number: int, **members: Any) -> str:
        return self.outcome(number, **{**self.action(number, effect="read"), **members})

    def denied(self, step: int) -> str:
        authority = {"decision": "deny"}
        return self.add("denied", authority=authority, effect={"status": "refused"}, **self.action(step))

    def held(self, step: int, *, minor: int = 0, **terms: Any) -> str:
        control = {"approval": f"appr_{step}", "role": "lead", "n": 1, "notInitiator": True, "onTimeout": "deny"}
        return self.add(
            "held", authority={"decision": "hold"}, control={**control, **terms}, **self.action(step, minor=minor)
        )

    def approval(self, step: int, by: str = "party_grace", *, minor: int = 0, **control: Any) -> str:
        digest = self.action(step, minor=minor)["action"]["digest"]
        said = {
            "approval": f"appr_{step}",
            "decision": "approve",
            "by": by,
            "role": "lead",
            "digest": digest,
            **control,
        }
        return self.add("approval", step=f"{step:032x}", control=said)

    def erased(self, spans: str, *, texts: int, name: str = "era_1", **told: Any) -> str:
        """An erasure of texts of this run, or told of in the control run."""
        control: Said = {"do": "erase", "erasure": name, "texts": texts, **told}
        return self.add("erasure", control={**control, "erased": spans} if spans else control)

    def signed(self, step: int, *, passkey: Said | None = None, key: Any = GRACE, **control: Any) -> str:
        """An approval that a person signed; what `control` says is changed after the signature."""
        receipt = self.approval(step)
        said = self.said[-1]["control"]
        named = sha256(person_der(key))
        answer = {
            "format": "answerable-answer/1",
            "tenant": TENANT,
            "run": self.name,
            "key": named,
            "scope": said.get("scope", "action"),
        }
        answer |= {name: said.get(name, "") for name in ("approval", "decision", "digest", "edited", "reason", "role")}
        message = canonical(answer)
        signature: Said = {"kind": "file", "key": named, "publicKey": b64(person_der(key))}
        if passkey is not None:
            challenge = base64.urlsafe_b64encode(hashlib.sha256(message).digest()).rstrip(b"=").decode()
            client = canonical({"type": "webauthn.get", "challenge": challenge, "origin": f"https://{SITE}"})
            flags = passkey.get("flags", 0x05)
            data = hashlib.sha256(SITE.encode()).digest() + bytes([flags]) + (7).to_bytes(4, "big")
            client = passkey.get("client", client)
            signature |= {"kind": "passkey", "rp": passkey.get("rp", SITE)}
            signature |= {"clientData": b64(client), "authenticatorData": b64(data)}
            message = data + hashlib.sha256(client).digest()
        signature["sig"] = b64(key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True)))
        said |= {"signature": signature, **control}
        return receipt

    def envelopes(self, change: Callable[[list[Said]], object] | None = None, key: SigningKey = GATE) -> list[str]:
        """All receipts, chained; `change` has the last word on what they say."""
        if change:
            change(self.said)
        found: list[str] = []
        for said in self.said:
            if found and "prev" not in said:
                said["prev"] = "sha256:" + sha256(found[-1].encode())
            if said["phase"] == "run.close":
                said["control"].setdefault("last", said["prev"])
            found.append(envelope(canonical(statement(said)), key))
        return found


def entry(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def bundle(
    log: list[str],
    *,
    chosen: Sequence[int] | None = None,
    note: str = "",
    complete: Said | None = None,
    spoil: Callable[[Said], None] | None = None,
    disclosed: bool = False,
    changed: Mapping[str, str | bytes] | None = None,
) -> Said:
    """The members of a bundle of a log, or of the entries chosen of it.

    Args:
        changed: members to add or replace; the manifest lists them as they are then.
        spoil: has the last word, on the manifest too.
    """
    picked = range(len(log)) if chosen is None else chosen
    names = [f"receipts/{number:06d}.json" for number in range(1, len(picked) + 1)]
    entries = [entry(text) for text in log]
    members: Said = {name: log[place] for name, place in zip(names, picked, strict=True)}
    members["checkpoint.txt"] = note or checkpoint(len(log), tree_root(entries))
    leaves = dict(zip(names, picked, strict=True))
    nodes = shared_nodes(entries, picked)
    members["proofs.json"] = canonical({"size": len(log), "leaves": leaves, "nodes": nodes}).decode()
    gate = {"keyid": sha256(bytes(GATE.verify_key)), "pem": pem(GATE)}
    members["keys.json"] = canonical({"gate": [gate], "log": {"origin": ORIGIN, "pem": pem(LOG)}}).decode()
    members |= changed or {}
    runs = sorted({predicate_of(log[place])["run"] for place in picked})
    manifest = {
        "format": "answerable-bundle/1",
        "tenant": TENANT,
        "runs": runs,
        "receipts": len(names),
        "disclosed": disclosed,
        "members": {name: sha256(_bytes(content)) for name, content in members.items()},
        **({"complete": complete} if complete else {}),
    }
    members["manifest.json"] = canonical(manifest).decode()
    if spoil:
        spoil(members)
    return members


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def predicate_of(text: str) -> Said:
    """What an envelope's receipt says."""
    found: Said = json.loads(base64.b64decode(json.loads(text)["payload"]))["predicate"]
    return found
