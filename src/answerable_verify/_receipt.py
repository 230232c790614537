"""Receipts: from an envelope's exact bytes to what it says.

Format: `docs/formats/receipt.md`; in-toto Statement v1; DSSE v1.
"""

import hashlib
import marshal
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from answerable_verify._json import NotCanonical, canonical, of_base64, read_base64, read_canonical

__all__ = [
    "BadReceipt",
    "Receipt",
    "Signed",
    "name_of",
    "pae",
    "read_envelope",
    "read_receipt",
    "read_statement",
]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:answerable:receipt:v1"
PHASES = frozenset(
    {"run.open", "intent", "held", "denied", "approval", "outcome", "compensation", "observation"}
    | {"signal", "timer", "version", "control", "erasure", "key", "run.close"}
)
_BETWEEN = re.compile(
    rb'","payloadType":"application/vnd\.in-toto\+json","signatures":\[\{"keyid":"([0-9a-f]{64})","sig":"'
)
_SIG = 88 + len(b'"}]}')
_REST = len(b'","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"","sig":"') + 64 + _SIG
_HEX64 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"sha256:[0-9a-f]{64}")
_ID = re.compile(r"[a-z0-9_]{1,64}")
_LABEL = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_NOTHING: dict[str, Any] = {}
_STEP_PHASES = frozenset({"intent", "held", "denied", "outcome"})
_ATTEMPT_PHASES = frozenset({"intent", "outcome"})
_REQUIRED = {"id": str, "tenant": str, "run": str, "seq": int, "boundary": dict, "phase": str, "at": str, "agent": dict}
_OPTIONAL = {
    "step": str,
    "branch": str,
    "prev": str,
    "attempt": int,
    "intentRef": str,
    "onBehalfOf": str,
    "action": dict,
    "authority": dict,
    "basis": dict,
    "effect": dict,
    "commitments": dict,
    "labels": list,
    "usage": dict,
    "control": dict,
}
_KINDS = {**_REQUIRED, **_OPTIONAL}
_CONTROL: Mapping[str, tuple[str, ...]] = {
    "run.open": ("origin", "chain"),
    "run.close": ("count", "last", "state"),
    "held": ("approval", "role", "n", "notInitiator", "signed", "mayEdit", "mayRepeat"),
    "approval": ("approval", "by", "decision", "digest", "edited", "reason", "role", "scope", "signature", "to"),
    "control": ("do", "intent"),
    "erasure": ("erased", "erasure", "kind", "runs", "texts"),
    "key": ("id", "role", "state"),
}
_AUTHORITY = ("decision", "approvals", "obligations", "request", "policy")
_ACTION = ("effect", "idempotencyKey", "target", "kind", "name", "amount")
"""`held` and what relies on answers need all of them."""


class BadReceipt(ValueError):
    """Bytes that are not a receipt.

    Args:
        check: which check refuses them: `envelope` or `statement`.
        receipt: the id it claims, where one can be read.
    """

    def __init__(self, check: str, what: str, receipt: str = "") -> None:
        super().__init__(what)
        self.check = check
        self.receipt = receipt


@dataclass(slots=True, eq=False)  # not frozen: MEASURED, freezing its fields costs 2 µs a receipt
class Receipt:
    """One receipt, well formed: as much of it as checks ask for after it was read. Its signature is checked elsewhere.

    INVARIANT: values of the types that `marshal` writes, in a fixed order: helpers hand receipts over as they are.

    Args:
        member: the bundle member it came in.
        digest: SHA-256 of the envelope, 32 bytes.
        key_id: of the key that it names as its signer.
        prev: digest of the receipt before, empty at seq 0.
        gate: id and boot of the gate that wrote it, and how far agents were kept from it; `n` is its number there.
        texts: the digests of its inputs and outputs, 32 bytes each, one behind the other.
        follows: whether its action digest follows from the action; None where that cannot be told.
        kept: what else checks ask for, by section. SECURITY: written by `marshal` here and nowhere else.
    """

    member: str
    digest: bytes
    key_id: str
    id: str
    tenant: str
    run: str
    seq: int
    phase: str
    at: str
    prev: bytes
    step: str
    attempt: int
    action_digest: str
    gate: tuple[str, str, str]
    n: int
    texts: bytes
    follows: bool | None
    kept: bytes

    def section(self, name: str) -> Mapping[str, Any]:
        """A member that is an object, as far as it is kept; empty where it is absent."""
        section: Mapping[str, Any] = self.said().get(name, _NOTHING)
        return section

    def said(self) -> Mapping[str, Any]:
        """What is kept of what it says."""
        return marshal.loads(self.kept) if self.kept else _NOTHING  # noqa: S302

    def inputs_and_outputs(self) -> Iterator[bytes]:
        """The digests of the texts that erasures are about."""
        return (self.texts[at : at + 32] for at in range(0, len(self.texts), 32))

    def commitments(self) -> Iterator[bytes]:
        """Every text it commits to: inputs, outputs, the request decided, the policy in force, specs."""
        yield from self.inputs_and_outputs()
        said = self.said()
        if authority := said.get("authority"):
            yield from (_raw(authority[name]) for name in ("request", "policy") if authority.get(name))
        yield from said.get("specs", ())


class Signed(NamedTuple):
    """An envelope taken apart: who is said to have signed which body."""

    key_id: str
    body: bytes
    signature: bytes


def pae(body: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """What a signature covers.

    Source: DSSE v1, "PAE definition".
    """
    if payload_type is PAYLOAD_TYPE:
        return b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(body), body)
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def name_of(digest: bytes) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return "sha256:" + digest.hex()


def read_receipt(envelope: bytes, member: str = "") -> Receipt:
    """The receipt in an envelope.

    Raises:
        BadReceipt: envelope or statement are not of their format.
    """
    return read_statement(read_envelope(envelope), hashlib.sha256(envelope).digest(), member)


def read_envelope(envelope: bytes) -> Signed:
    """What an envelope holds; its signature is not checked.

    Raises:
        BadReceipt: it is not of its format.
    """
    return _written(envelope) or _outer(envelope)


def read_statement(signed: Signed, digest: bytes, member: str) -> Receipt:
    """The receipt that an envelope with this digest holds.

    Raises:
        BadReceipt: the statement is not of its format.
    """
    try:
        statement = read_canonical(signed.body)
    except NotCanonical as error:
        raise BadReceipt("statement", f"the statement is {error}") from None
    said = _predicate(statement)
    phase, boundary, texts = said["phase"], said["boundary"], said.get("commitments", _NOTHING)
    action = said.get("action", _NOTHING)
    kept = _kept(said, phase)
    return Receipt(
        member,
        digest,
        signed.key_id,
        said["id"],
        said["tenant"],
        said["run"],
        said["seq"],
        phase,
        said["at"],
        _raw(said["prev"]) if "prev" in said else b"",
        said.get("step", ""),
        said.get("attempt", 0),
        str(action.get("digest", "")),
        (boundary["id"], boundary["boot"], boundary["isolation"]),
        boundary["n"],
        b"".join(map(_raw, texts.values())),
        _follows(said, action, texts.get("input")) if action else None,
        marshal.dumps(kept) if kept else b"",
    )


def _raw(name: str) -> bytes:
    """The digest behind a name."""
    return bytes.fromhex(name[7:])


def _any_raw(name: str) -> bytes:
    """The same for what need not be such a name: then it is like no digest."""
    return _raw(name) if _NAME.fullmatch(name) else b"\x00" + name.encode("utf-8")


def _kept(said: Mapping[str, Any], phase: str) -> dict[str, Any]:
    """What the checks of runs ask for of a receipt, and no more: a bundle may hold 100,000s."""
    kept: dict[str, Any] = {}
    if control := said.get("control"):
        if wanted := _CONTROL.get(phase):
            kept["control"] = {name: control[name] for name in wanted if name in control}
        if isinstance(specs := control.get("specs"), dict):
            kept["specs"] = [_any_raw(name) for name in specs.values() if isinstance(name, str)]
    authority = said.get("authority", _NOTHING)
    if authority:
        kept["authority"] = {name: value for name in _AUTHORITY if (value := authority.get(name))}
        if "request" in kept["authority"]:
            kept["agent"] = {"id": said["agent"].get("id")}
    if action := said.get("action"):
        wanted = _ACTION if phase == "held" or authority.get("approvals") else _ACTION[:3]
        kept["action"] = {name: action[name] for name in wanted if name in action}
        kept["effect"] = {"status": said.get("effect", _NOTHING).get("status")}
    for name in ("intentRef", "onBehalfOf"):
        if name in said:
            kept[name] = said[name]
    return kept


def _follows(said: Mapping[str, Any], action: Mapping[str, Any], commitment: str | None) -> bool | None:
    """Whether the action digest is that of the action; None where the receipt does not carry all it is made of."""
    # A read that concerns further people commits to its input anew, under their keys.
    if not str(action.get("digest", "")) or not commitment or "subjects" in said.get("control", _NOTHING):
        return None
    body = canonical(
        {
            "amount": action.get("amount", {}),
            "effect": action.get("effect", ""),
            "idempotencyKey": action.get("idempotencyKey", ""),
            "input": commitment,
            "kind": action.get("kind", ""),
            "name": action.get("name", ""),
            "run": said["run"],
            "step": said.get("step", ""),
            "target": action.get("target", ""),
        }
    )
    return bool(action["digest"] == name_of(hashlib.sha256(body.encode("utf-8")).digest()))


def _written(envelope: bytes) -> Signed | None:
    """Key id, body and signature of an envelope as gates write it; None where it is of any other form.

    MEASURED: what stands around payload, key and signature is always the same, so comparing it is as strict as
    parsing, in a tenth of the time.
    """
    end = len(envelope) - _REST
    key_id, sig = _named(envelope[end:-_SIG]), envelope[-_SIG:-4]
    if not key_id or end < 12 or not envelope.startswith(b'{"payload":"') or not envelope.endswith(b'"}]}'):
        return None
    body, signature = of_base64(envelope[12:end]), of_base64(sig)
    return Signed(key_id, body, signature) if body is not None and signature is not None else None


@lru_cache(maxsize=64)
def _named(between: bytes) -> str:
    """The key id in what stands between payload and signature; empty where anything else stands there."""
    found = _BETWEEN.fullmatch(between)
    return found[1].decode("ascii") if found else ""


def _outer(envelope: bytes) -> Signed:
    """Key id, body and signature of any envelope, or what is wrong with it."""
    try:
        outer = read_canonical(envelope)
    except NotCanonical as error:
        raise BadReceipt("envelope", f"the envelope is {error}") from None
    match outer:
        case {
            "payload": str(payload),
            "payloadType": str(kind),
            "signatures": [{"keyid": str(key), "sig": str(sig), **none}],
            **rest,
        } if not rest and not none:
            pass
        case _:
            raise BadReceipt("envelope", "the envelope has not exactly payload, payloadType and one signature")
    if kind != PAYLOAD_TYPE:
        raise BadReceipt("envelope", "the payload type is not in-toto's")
    if not _HEX64.fullmatch(key):
        raise BadReceipt("envelope", "the key id is not 64 hexadecimal digits")
    try:
        return Signed(key, read_base64(payload), read_base64(sig))
    except NotCanonical as error:
        raise BadReceipt("envelope", f"payload or signature: {error}") from None


def _predicate(statement: Any) -> dict[str, Any]:
    if not isinstance(statement, dict) or not isinstance(predicate := statement.get("predicate"), dict):
        raise BadReceipt("statement", "the statement has no predicate")
    shown = predicate.get("id")
    receipt = shown if isinstance(shown, str) and _ID.fullmatch(shown) else ""

    def refuse(what: str) -> BadReceipt:
        return BadReceipt("statement", what, receipt)

    if statement.get("_type") != STATEMENT_TYPE or statement.get("predicateType") != PREDICATE_TYPE:
        raise refuse("the statement or its predicate is of another type")
    if what := _misfit(tuple(predicate), tuple(map(type, predicate.values()))):
        raise refuse(what)
    if not receipt:
        raise refuse("`id` is not an id")
    if what := _fault(predicate):
        raise refuse(what)
    subjects = statement.get("subject")
    if not isinstance(subjects, list) or not subjects or subjects[0] != _subject(predicate["run"]):
        raise refuse("the first subject is not the run")
    return predicate


@lru_cache(maxsize=256)  # MEASURED: receipts have a few dozen shapes, and this is asked of each
def _misfit(names: tuple[str, ...], kinds: tuple[type, ...]) -> str:
    """Which member is missing or of the wrong type; empty for none."""
    if missing := _REQUIRED.keys() - set(names):
        return f"`{min(missing)}` is missing"
    for name, kind in zip(names, kinds, strict=True):
        if kind is not _KINDS.get(name, kind):
            return f"`{name}` is of the wrong type"
    return ""


@lru_cache(maxsize=1024)
def _subject(run: str) -> dict[str, Any]:
    return {"name": run, "digest": {"sha256": hashlib.sha256(run.encode()).hexdigest()}}


def _fault(said: dict[str, Any]) -> str:
    """What is wrong with a predicate whose members have the right types; empty for nothing."""
    phase, boundary, seq = said["phase"], said["boundary"], said["seq"]
    if not _is_label(said["run"]) or not _is_label(said["tenant"]):
        return "`run` or `tenant` is not a name"
    if phase not in PHASES:
        return "the phase is unknown"
    if not _is_time(said["at"]):
        return "`at` is not RFC 3339 UTC with six decimals"
    if not (type(boundary.get("id")) is type(boundary.get("boot")) is type(boundary.get("isolation")) is str):
        return "`boundary` lacks id, boot or isolation"
    if type(boundary.get("n")) is not int or boundary["n"] < 0 or seq < 0:
        return "`seq` or `boundary.n` is not a whole number"
    if (seq == 0) != ("prev" not in said):
        return "`prev` must be absent exactly at seq 0"
    if seq and not _NAME.fullmatch(said["prev"]):
        return "`prev` is not a digest"
    if phase in _STEP_PHASES:
        if not said.get("step"):
            return f"a receipt of phase `{phase}` names no step"
        if not _NAME.fullmatch(str(said.get("action", {}).get("digest"))):
            return f"a receipt of phase `{phase}` names no action digest"
        if phase in _ATTEMPT_PHASES and said.get("attempt", 0) < 1:
            return f"a receipt of phase `{phase}` names no attempt"
    for name in said.get("commitments", _NOTHING).values():
        if type(name) is not str or not _NAME.fullmatch(name):
            return "a commitment is not a digest"
    return _authority_fault(said["authority"]) if "authority" in said else ""


def _authority_fault(authority: dict[str, Any]) -> str:
    for part in ("request", "policy"):
        if part in authority and (type(name := authority[part]) is not str or not _NAME.fullmatch(name)):
            return "a commitment is not a digest"
    for part in ("approvals", "obligations"):
        items = authority.get(part, [])
        if type(items) is not list or not all(type(item) is str for item in items):
            return "`authority` is not of its format"
    return ""


@lru_cache(maxsize=1024)
def _is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


@lru_cache(maxsize=1024)  # those that were committed together have one time
def _is_time(text: str) -> bool:
    if not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
