"""Receipts: from an envelope's exact bytes to what it says.

Format: `docs/formats/receipt.md`; in-toto Statement v1; DSSE v1.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from answerable_verify._json import NotCanonical, read_base64, read_canonical

__all__ = ["BadReceipt", "Receipt", "pae", "read_receipt", "sha256_name"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:answerable:receipt:v1"
PHASES = frozenset(
    {"run.open", "intent", "held", "denied", "approval", "outcome", "compensation", "observation"}
    | {"signal", "timer", "version", "control", "erasure", "key", "run.close"}
)
_HEX64 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"sha256:[0-9a-f]{64}")
_ID = re.compile(r"[a-z0-9_]{1,64}")
_LABEL = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One receipt, well formed. Its signature is checked elsewhere.

    Args:
        member: the bundle member it came in.
        digest: `sha256:` name of the envelope.
        predicate: what it says.
    """

    member: str
    digest: str
    key_id: str
    signature: bytes
    body: bytes
    predicate: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.predicate["id"])

    @property
    def run(self) -> str:
        return str(self.predicate["run"])

    @property
    def seq(self) -> int:
        return int(self.predicate["seq"])

    @property
    def phase(self) -> str:
        return str(self.predicate["phase"])

    @property
    def step(self) -> str:
        return str(self.predicate.get("step", ""))

    @property
    def attempt(self) -> int:
        return int(self.predicate.get("attempt", 0))

    @property
    def action_digest(self) -> str:
        return str(self.predicate.get("action", {}).get("digest", ""))

    def section(self, name: str) -> Mapping[str, Any]:
        """A member that is an object; empty where it is absent."""
        section: Mapping[str, Any] = self.predicate.get(name, {})
        return section

    def commitments(self) -> Iterator[str]:
        """Every text it commits to: inputs, outputs, the request decided, the policy in force, specs."""
        yield from self.section("commitments").values()
        for name in ("request", "policy"):
            if said := self.section("authority").get(name):
                yield said
        specs = self.section("control").get("specs")
        if isinstance(specs, dict):
            yield from (digest for digest in specs.values() if isinstance(digest, str))


def pae(body: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """What a signature covers.

    Source: DSSE v1, "PAE definition".
    """
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def sha256_name(body: bytes) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


def read_receipt(envelope: bytes, member: str = "") -> Receipt:
    """The receipt in an envelope.

    Raises:
        BadReceipt: envelope or statement are not of their format.
    """
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
        body, signature = read_base64(payload), read_base64(sig)
    except NotCanonical as error:
        raise BadReceipt("envelope", f"payload or signature: {error}") from None
    try:
        statement = read_canonical(body)
    except NotCanonical as error:
        raise BadReceipt("statement", f"the statement is {error}") from None
    return Receipt(
        member=member,
        digest=sha256_name(envelope),
        key_id=key,
        signature=signature,
        body=body,
        predicate=_predicate(statement),
    )


def _predicate(statement: Any) -> dict[str, Any]:
    if not isinstance(statement, dict) or not isinstance(predicate := statement.get("predicate"), dict):
        raise BadReceipt("statement", "the statement has no predicate")
    shown = predicate.get("id")
    receipt = shown if isinstance(shown, str) and _ID.fullmatch(shown) else ""

    def refuse(what: str) -> BadReceipt:
        return BadReceipt("statement", what, receipt)

    if statement.get("_type") != STATEMENT_TYPE or statement.get("predicateType") != PREDICATE_TYPE:
        raise refuse("the statement or its predicate is of another type")
    for name, kind in _REQUIRED.items():
        if type(predicate.get(name)) is not kind:
            raise refuse(f"`{name}` is missing or of the wrong type")
    for name, kind in _OPTIONAL.items():
        if name in predicate and type(predicate[name]) is not kind:
            raise refuse(f"`{name}` is of the wrong type")
    if not receipt:
        raise refuse("`id` is not an id")
    if what := _fault(predicate):
        raise refuse(what)
    run = predicate["run"]
    subject = {"name": run, "digest": {"sha256": hashlib.sha256(run.encode()).hexdigest()}}
    subjects = statement.get("subject")
    if not isinstance(subjects, list) or not subjects or subjects[0] != subject:
        raise refuse("the first subject is not the run")
    return predicate


def _fault(said: dict[str, Any]) -> str:
    """What is wrong with a predicate whose members have the right types; empty for nothing."""
    phase, boundary = said["phase"], said["boundary"]
    if not _LABEL.fullmatch(said["run"]) or not _LABEL.fullmatch(said["tenant"]):
        return "`run` or `tenant` is not a name"
    if phase not in PHASES:
        return "the phase is unknown"
    if not _TIME.fullmatch(said["at"]) or not _is_date(said["at"]):
        return "`at` is not RFC 3339 UTC with six decimals"
    if any(type(boundary.get(name)) is not str for name in ("id", "boot", "isolation")):
        return "`boundary` lacks id, boot or isolation"
    if type(boundary.get("n")) is not int or boundary["n"] < 0 or said["seq"] < 0:
        return "`seq` or `boundary.n` is not a whole number"
    if (said["seq"] == 0) != ("prev" not in said):
        return "`prev` must be absent exactly at seq 0"
    if "prev" in said and not _NAME.fullmatch(said["prev"]):
        return "`prev` is not a digest"
    if phase in _STEP_PHASES and not said.get("step"):
        return f"a receipt of phase `{phase}` names no step"
    if phase in _ATTEMPT_PHASES and said.get("attempt", 0) < 1:
        return f"a receipt of phase `{phase}` names no attempt"
    if phase in ("intent", "outcome", "held", "denied") and not _NAME.fullmatch(
        str(said.get("action", {}).get("digest"))
    ):
        return f"a receipt of phase `{phase}` names no action digest"
    names = list(said.get("commitments", {}).values())
    names += [said.get("authority", {}).get(name, "sha256:" + "0" * 64) for name in ("request", "policy")]
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        return "a commitment is not a digest"
    approvals = said.get("authority", {}).get("approvals", [])
    obligations = said.get("authority", {}).get("obligations", [])
    for items in (approvals, obligations):
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            return "`authority` is not of its format"
    return ""


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
