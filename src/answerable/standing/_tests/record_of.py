"""Receipts made by hand, in the shape of `docs/formats/receipt.md`, and a record that holds them."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from answerable.core import RunId, TenantId, canonical_json, format_time, sha256_name
from answerable.ledger import Receipt

__all__ = ["LEAD", "OPENER", "HandMade", "Texts", "Writer"]

OPENER = "party_00000000000000aa"
LEAD = "party_00000000000000bb"
_START = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Texts:
    input: bytes | None = None
    output: bytes | None = None


@dataclass
class HandMade:
    """A record in memory."""

    written: list[Receipt] = field(default_factory=list)
    texts: dict[str, Texts] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)

    def receipts(self, *, run: RunId | None = None, tenant: TenantId = TenantId("default")) -> list[Receipt]:
        return [
            r for r in self.written if r.predicate["tenant"] == tenant and (run is None or r.predicate["run"] == run)
        ]

    def text(self, receipt: Receipt) -> Texts:
        return self.texts.get(receipt.predicate["id"], Texts())

    def stored(self, digest: str) -> tuple[bytes, bytes] | None:
        return (self.objects[digest], b"") if digest in self.objects else None

    def store(self, body: bytes) -> str:
        digest = sha256_name(b"salt" + body)
        self.objects[digest] = body
        return digest

    def without(self, *receipt_ids: str) -> list[Receipt]:
        return [r for r in self.written if r.predicate["id"] not in receipt_ids]


def _receipt_id(position: int) -> str:
    return f"rcpt_{hashlib.sha256(str(position).encode()).hexdigest()[:24]}"


class Writer:
    """Writes the receipts of one run; each call returns the new receipt's id."""

    def __init__(
        self,
        record: HandMade,
        run: str = "run_1",
        *,
        agent: str = "support",
        initiator: str = OPENER,
        resources: Iterable[str] = ("order:1001",),
        specs: dict[str, str] | None = None,
    ) -> None:
        self.record = record
        self.run = run
        self.agent = agent
        self.initiator = initiator
        self.seq = 0
        control: dict[str, Any] = {"agent": agent, "environment": "demo", "resources": list(resources), "limits": {}}
        self.opened = self.write("run.open", control=control | ({"specs": specs} if specs else {}))

    def id_after_next(self) -> str:
        """The id of the receipt that will be written after the next one."""
        return _receipt_id(len(self.record.written) + 1)

    def write(self, phase: str, **members: Any) -> str:
        position = len(self.record.written)
        receipt_id = _receipt_id(position)
        predicate: dict[str, Any] = {
            "id": receipt_id,
            "tenant": "default",
            "run": self.run,
            "seq": self.seq,
            "boundary": {"id": "gate", "boot": "boot_1", "n": position, "isolation": "same-process"},
            "phase": phase,
            "at": format_time(_START + timedelta(seconds=position)),
            "agent": {"id": self.agent},
            **members,
        }
        if self.initiator:
            predicate["onBehalfOf"] = self.initiator
        self.seq += 1
        names = [self.run, *filter(None, [members.get("action", {}).get("target")])]
        subject = [{"name": n, "digest": {"sha256": hashlib.sha256(n.encode()).hexdigest()}} for n in names]
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subject,
            "predicateType": "urn:answerable:receipt:v1",
            "predicate": predicate,
        }
        body = canonical_json(statement)
        self.record.written.append(
            Receipt(position=position + 1, body=body, signature=b"", key_id="", digest=sha256_name(body))
        )
        return receipt_id

    def action(
        self,
        name: str,
        *,
        target: str = "",
        minor: int | None = None,
        currency: str = "EUR",
        effect: str = "irreversible",
    ) -> dict[str, Any]:
        said: dict[str, Any] = {
            "kind": "tool",
            "name": name,
            "effect": effect,
            "digest": f"sha256:{name}{target}{minor}",
        }
        if target:
            said["target"] = target
        if minor is not None:
            said["amount"] = {"minor": minor, "currency": currency}
        return said

    def held(self, step: str, action: dict[str, Any], *, role: str = "support-lead") -> str:
        approval = f"appr_{step}"
        control = {"approval": approval, "role": role, "n": 1, "notInitiator": True}
        authority = {"decision": "hold", "rules": ["refund-limit"], "policy": "sha256:feedfacefeedface"}
        self.write("held", step=step, action=action, authority=authority, control=control)
        return approval

    def approval(
        self,
        approval: str,
        action: dict[str, Any],
        *,
        by: str = LEAD,
        role: str = "support-lead",
        decision: str = "approve",
        name: str = "",
    ) -> str:
        control = {"approval": approval, "decision": decision, "by": by, "role": role, "digest": action["digest"]}
        receipt_id = self.write("approval", control=control)
        if name:
            self.record.texts[receipt_id] = Texts(input=canonical_json({"by": name}))
        return receipt_id

    def intent(self, step: str, action: dict[str, Any], *, approvals: Iterable[str] = (), attempt: int = 1) -> str:
        authority: dict[str, Any] = {
            "decision": "permit",
            "rules": ["refund-small"],
            "policy": "sha256:feedfacefeedface",
        }
        if approvals:
            authority["approvals"] = list(approvals)
        basis = {"specs": ["REFUND-1", "REFUND-2", "REFUND-3"]}
        return self.write("intent", step=step, attempt=attempt, action=action, authority=authority, basis=basis)

    def outcome(
        self, step: str, intent: str, action: dict[str, Any], *, status: str = "ok", observed_by: str = "gate"
    ) -> str:
        effect = {"status": status, "observedBy": observed_by}
        return self.write("outcome", step=step, attempt=1, intentRef=intent, action=action, effect=effect)

    def refund(self, step: str, *, target: str = "order:1001", minor: int = 5000, approvals: Iterable[str] = ()) -> str:
        """A refund that was done; its intent's id."""
        action = self.action("shop.refund", target=target, minor=minor)
        intent = self.intent(step, action, approvals=approvals)
        self.outcome(step, intent, action)
        return intent

    def approved_refund(self, step: str, *, minor: int = 25_000, **approval: Any) -> tuple[str, str]:
        """A refund that was held and approved: the approval's and the intent's id."""
        action = self.action("shop.refund", target="order:1001", minor=minor)
        approval_id = self.approval(self.held(step, action), action, **approval)
        return approval_id, self.refund(step, minor=minor, approvals=[approval_id])

    def model(self, step: str = "m1") -> str:
        action = {"kind": "model", "name": "scripted:support", "effect": "read", "digest": "sha256:m"}
        basis = {"model": {"provider": "scripted", "id": "support"}}
        return self.write(
            "outcome", step=step, action=action, basis=basis, effect={"status": "ok", "observedBy": "gate"}
        )

    def close(self) -> str:
        return self.write("run.close", control={"state": "done"})
